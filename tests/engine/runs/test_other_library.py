"""A library whose database was deleted, and one picture of it tagged again: what the ledger may conclude."""

import json
import os
import stat
from pathlib import Path

import pytest

from engine.ledger.schema import LedgerView
from tests.engine.runs.test_retag import Home, default_path_of, home
from tests.engine.runs.test_run import catalogue, pictures
from tests.support.media_server import MediaServer
from tests.support.runs import command, run

__all__ = ["home", "pictures"]  # the fixtures


@pytest.mark.parametrize("more", [[], pytest.param(["--moved"], marks=pytest.mark.full)])
def test_another_database_is_not_taken_for_the_ledgers(home: Home, more: list[str]) -> None:
    home.tag("run")
    tags = home.exported()
    database = default_path_of(home)
    if os.name == "posix":
        assert {stat.S_IMODE(path.stat().st_mode) for path in database.parent.glob("*.db*")} == {0o600}
    ledger = database.with_suffix(".ledger.db")
    database.unlink()
    ended = home.engine("run", "--library", home.library, "--model", home.model, *more)
    assert ended.returncode == 1 and "belongs to another database of tags" in ended.stderr
    ledger.unlink()
    home.tag("run")
    assert home.exported() == tags != {}


def test_media_that_are_named_are_not_taken_for_the_whole_catalogue(
    pictures: Path, tiny_model: Path, tmp_path: Path
) -> None:
    media = catalogue(pictures)[:6]
    with MediaServer(media) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--json")
        assert json.loads(run([*arguments, "--limit", "2"]).stdout)["images"] == 2
        again = [*arguments, str(media[0][0])]
        again[again.index("run")] = "retag"
        assert json.loads(run(again).stdout)["images"] == 1
    with LedgerView(tmp_path / "s.db") as view:
        assert view.listed() is None
