"""`engine status`: what it knows, and of how much of the catalogue."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from engine.errors import LedgerError
from engine.ledger.ledger import Ledger
from engine.ledger.schema import LedgerView
from engine.types import Media, Outcome
from tests.engine.runs.test_run import catalogue, pictures
from tests.support.media_server import MediaServer
from tests.support.runs import ENGINE, command, run

__all__ = ["pictures"]  # the fixture


def status(state: Path, *more: str) -> str:
    result = run([*ENGINE, "status", "--state", str(state), *more])
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_it_says_whether_it_knows_the_whole_catalogue(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    with MediaServer(catalogue(pictures)[:6]) as server:
        arguments = command(server, tiny_model, pictures, state)
        assert run([*arguments, "--limit", "3"]).returncode == 0
        assert "the part of the catalogue that was listed so far" in status(state)
        assert json.loads(status(state, "--json"))["catalogue_listed"] is None
        assert run(arguments).returncode == 0
        assert "The whole catalogue was last listed on 2" in status(state)
        when = datetime.fromisoformat(json.loads(status(state, "--json"))["catalogue_listed"])
        assert abs(when.timestamp() - state.stat().st_mtime) < 60


def test_a_time_that_is_nonsense_is_one_sentence(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        for nonsense in ("yesterday", "inf", "nan", "1e300"):
            ledger.set_meta({"listed": nonsense})
            with pytest.raises(LedgerError, match="damaged"):
                ledger.listed()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a user who is not root can reach."""
    made = Path(tempfile.mkdtemp())
    try:
        yield made
    finally:
        made.chmod(0o700)
        shutil.rmtree(made)


@pytest.mark.skipif(os.name != "posix", reason="there a folder's rights are another matter")
@pytest.mark.parametrize("in_use", [False, True], ids=["at rest", "in use"])
def test_a_folder_that_takes_no_files(folder: Path, in_use: bool) -> None:
    state = folder / "a b%20ü#?.db"
    ledger = Ledger(state)
    ledger.admit([Media(1, "1.jpg", 1)])
    if not in_use:
        ledger.close()
    nobody = 65534 if os.geteuid() == 0 else os.geteuid()  # root may write everywhere
    for path in (folder, *folder.iterdir()):
        os.chown(path, nobody, -1)
    folder.chmod(0o500)
    me = os.geteuid()
    os.seteuid(nobody)
    try:
        with pytest.raises(OSError, match="denied"):
            (folder / "new").touch()
        with LedgerView(state) as view:
            assert view.counts()[Outcome.PENDING] == 1
    finally:
        os.seteuid(me)
        folder.chmod(0o700)
        if in_use:
            ledger.close()
