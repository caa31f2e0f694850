"""A process that died while it decoded: the next one knows what it was at."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.ledger.deaths import ALONE_FROM, GIVEN_UP_AT
from engine.ledger.ledger import Ledger
from engine.types import Media, Outcome
from tests.support.ledgers import store, tagged
from tests.support.pipelines import Catalogue, Wrapped, build, draw

ROOT = Path(__file__).parents[3]
DYING = """
import contextlib, os, sys
from pathlib import Path
from engine.ledger.ledger import Ledger
from engine.types import Media
ledger = Ledger(Path(sys.argv[1]))
ledger.admit([Media(10 + 3 * i, f"{i}.png", 10 + 3 * i) for i in range(4)])
with ledger.decoding(Media(999, "unknown.png", 999)), contextlib.ExitStack() as decoding:
    for i in sys.argv[2:]:
        decoding.enter_context(ledger.decoding(Media(int(i), "", int(i))))
    with ledger.decoding(Media(19, "", 19)):
        pass  # this one is through
    os._exit(9)
"""


def die(state: Path, *decoding: int) -> None:
    """A process that dies while it decodes these media."""
    arguments = [sys.executable, "-c", DYING, str(state), *map(str, decoding)]
    assert subprocess.run(arguments, cwd=ROOT, timeout=60).returncode == 9


def medium(number: int) -> Media:
    return Media(number, f"{(number - 10) // 3}.png", number)


def deaths(state: Path) -> dict[int, int]:
    with Ledger(state) as ledger:
        return {number: ledger.deaths(medium(number)) for number in (10, 13, 16, 19)}


def test_what_was_being_decoded_is_counted_once(tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    die(state, 10, 13)
    for _ in range(2):
        assert deaths(state) == {10: 1, 13: 1, 16: 0, 19: 0}
    die(state, 13)
    assert deaths(state) == {10: 1, 13: 2, 16: 0, 19: 0}


def test_a_run_that_ends_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    with Ledger(state) as ledger:
        ledger.admit([medium(10)])
        hanging = ledger.decoding(medium(10))
        hanging.__enter__()
    hanging.__exit__(None, None, None)  # a decoder that comes back when all is over
    assert deaths(state)[10] == 0
    assert [path.name for path in tmp_path.iterdir() if "decoding" in path.name] == []


def test_a_medium_that_lives_is_no_suspect(tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    die(state, 10)
    with Ledger(state) as ledger:
        store(ledger, [tagged(medium(10)), tagged(medium(13))]).result()
        assert ledger.deaths(medium(10)) == 0
    assert deaths(state)[10] == 0


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 8192, b"\x07" * 100_000])
def test_a_file_that_is_nonsense_accuses_nobody(tmp_path: Path, content: bytes) -> None:
    state = tmp_path / "s.db"
    with Ledger(state) as ledger:
        ledger.admit([medium(10)])
    (tmp_path / "s.db.decoding").write_bytes(content)
    assert deaths(state) == {10: 0, 13: 0, 16: 0, 19: 0}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(4):
        draw(folder / f"{i}.png", i)
    return folder


class Watched:
    """A run that notes what is read, and how many media are under way then."""

    def __init__(self, library: Path, ledger: Ledger, **settings) -> None:
        self.read: list[tuple[str, int]] = []
        storage = Wrapped(library, lambda key: self.read.append((key, len(pipeline.in_flight))))
        pipeline = build(Catalogue([f"{i}.png" for i in range(4)]), storage, ledger, **settings)
        pipeline.run()
        self.tally = pipeline.tally


def test_after_two_deaths_it_is_done_last_and_alone(tmp_path: Path, library: Path) -> None:
    state = tmp_path / "s.db"
    for _ in range(ALONE_FROM):
        die(state, 10, 13)
    with Ledger(state) as ledger:
        run = Watched(library, ledger)
        assert run.read[-2:] == [("0.png", 1), ("1.png", 1)]
        assert run.tally.images == 4 and ledger.deaths(medium(10)) == 0


def test_after_three_deaths_it_has_failed_until_somebody_asks(tmp_path: Path, library: Path) -> None:
    state = tmp_path / "s.db"
    for _ in range(GIVEN_UP_AT):
        die(state, 10)
    with Ledger(state) as ledger:
        run = Watched(library, ledger)
        assert "0.png" not in dict(run.read)
        [(number, _, reason)] = ledger.reasons(Outcome.FAILED)
        assert number == 10 and "the process died 3 times" in reason
        assert (run.tally.images, run.tally.failed) == (3, 1)
        assert Watched(library, ledger).read == []
    die(state, 10)  # what --retry-failed, or another file, begins: one death more is enough
    with Ledger(state) as ledger:
        Watched(library, ledger, retry_failed=True)
        assert ledger.counts()[Outcome.FAILED] == 1
        assert Watched(library, ledger, retry_failed=True).read == [("0.png", 1)]
        assert ledger.counts()[Outcome.FAILED] == 0


def test_another_file_in_its_place_is_tried(tmp_path: Path, library: Path) -> None:
    state = tmp_path / "s.db"
    for _ in range(GIVEN_UP_AT):
        die(state, 10)
    with Ledger(state) as ledger:
        Watched(library, ledger)
        draw(library / "0.png", 7)
        os.utime(library / "0.png", (1, 1))
        assert Watched(library, ledger).read == [("0.png", 1)]
        assert ledger.counts()[Outcome.OUTBOX] == 4


def test_a_limit_counts_what_is_given_up_and_what_is_alone(tmp_path: Path, library: Path) -> None:
    state = tmp_path / "s.db"
    for _ in range(GIVEN_UP_AT):
        die(state, 10)
    with Ledger(state) as ledger:
        run = Watched(library, ledger, limit=3)
        assert (run.tally.images, run.tally.failed) == (3, 0)
        run = Watched(library, ledger, limit=3)
        assert (run.tally.images, run.tally.failed) == (0, 1)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a folder's rights decide")
def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        ledger.admit([medium(10)])
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {"s.db", "s.db-wal", "s.db-shm", "s.db.lock", "s.db.decoding"} <= set(files)
    assert set(files.values()) == {0o600}
