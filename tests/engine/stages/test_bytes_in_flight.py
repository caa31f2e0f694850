"""How much of files is in memory, and how much of them is read: in real processes, with large files."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import MB
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.storage import Reading
from engine.storage.reading import HEAD
from engine.types import Outcome
from tests.support.pipelines import Catalogue, Wrapped, build, draw

SIZE = 20 * MB
AHEAD = 25 * MB

PROCESS = """
import sys, threading
from pathlib import Path
import psutil
from engine.ledger.ledger import Ledger
from engine.machine import peak_rss_mb
from tests.support.pipelines import Catalogue, build

folder, ledger, readers, ahead = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with Ledger(ledger) as books:
    names = sorted(path.name for path in folder.iterdir())
    idle = build(Catalogue(names[:1]), folder, books, read_threads=readers, max_failures=None)
    idle.run()  # what is loaded and started once
    before = psutil.Process().memory_info().rss / 1e6
    pipeline = build(Catalogue(names), folder, books, read_threads=readers, read_ahead=ahead, max_failures=None)
    pipeline.run()
    print(before, peak_rss_mb(), pipeline.tally.images + pipeline.tally.failed)
"""


class Watched(Wrapped):
    """Counts the bytes that are read of bodies; `before` is called with the size of each read."""

    def __init__(self, root: Path, before: Callable[[int], object] = lambda _: None) -> None:
        super().__init__(root, lambda _: None)
        self.read = 0
        self._before_read = before

    def open(self, key: str, *, max_bytes: int) -> Reading:
        reading = super().open(key, max_bytes=max_bytes)

        def read(size: int) -> bytes:
            self._before_read(size)
            data = inside(size)
            self.read += len(data)
            return data

        inside, reading._read = reading._read, read
        return reading


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Pictures that are found broken by their decoder, after all of each was read."""
    folder = tmp_path / "library"
    folder.mkdir()
    draw(folder / "0.png", 0)
    for i in range(24):
        with (folder / f"{i} large.jpg").open("wb") as file:
            file.write(b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0")
            file.truncate(SIZE)
    return folder


@pytest.mark.parametrize("readers", [8, 32])
def test_files_that_are_read_have_a_share_of_the_read_ahead(large: Path, tmp_path: Path, readers: int) -> None:
    command = [sys.executable, "-c", PROCESS, str(large), str(tmp_path / "s.db"), str(readers), str(AHEAD)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    idle, peak, settled = map(float, done.stdout.split())
    assert settled == 24
    assert peak - idle < 1.25 * (AHEAD + SIZE) / 1e6


def test_a_file_larger_than_the_read_ahead_passes_alone(large: Path, tmp_path: Path) -> None:
    """And others that are as large, all of them at the same time; none waits for ever."""
    with Ledger(tmp_path / "s.db") as ledger:
        names = sorted(path.name for path in large.iterdir())
        pipeline = build(Catalogue(names), large, ledger, read_ahead=MB, read_threads=8, max_failures=None)
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed) == (1, 24)


def test_readers_that_wait_for_a_share_end_with_the_run(large: Path, tmp_path: Path) -> None:
    stop, release, holds = Stop(), threading.Event(), threading.Event()

    def hold(size: int) -> None:
        if size > HEAD:  # more than the beginning: the file has its share
            holds.set()
            release.wait(60)

    ticks: list[int] = []

    def tick() -> None:
        ticks.append(holds.is_set())
        if sum(ticks) == 10:
            stop.set()
            release.set()

    with Ledger(tmp_path / "s.db") as ledger:
        names = [f"{i} large.jpg" for i in range(24)]
        storage = Watched(large, hold)
        pipeline = build(Catalogue(names), storage, ledger, stop, read_ahead=MB, read_threads=8)
        pipeline.run(tick)
        reading = next(meter for meter in pipeline.meters if meter.name == "read")
        assert ledger.counts()[Outcome.FAILED] == 0 and stop.error is None
    assert reading.waiting_out > 0


def test_a_read_that_is_given_up_gives_its_share_back(large: Path, tmp_path: Path) -> None:
    """Else all others would wait for it for ever: their files are larger than what is left."""
    release = threading.Event()
    first = threading.Lock()

    def hang(size: int) -> None:
        if size > HEAD and first.acquire(blocking=False):
            release.wait(60)

    with Ledger(tmp_path / "s.db") as ledger:
        names = sorted(path.name for path in large.iterdir())
        pipeline = build(
            Catalogue(names), Watched(large, hang), ledger, read_ahead=MB, read_timeout=0.5, max_failures=None
        )
        pipeline.run()
        reasons = [reason for _, _, reason in ledger.reasons(Outcome.FAILED, 99)]
    release.set()
    assert (pipeline.tally.images, pipeline.tally.failed) == (1, 24)
    assert sum("--read-timeout" in reason for reason in reasons) == 1


@pytest.mark.parametrize("start", [b"\x1aE\xdf\xa3", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", b"PK\x03\x04"])
def test_what_is_no_picture_is_known_by_its_beginning(start: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(10):
        with (folder / f"{i}.bin").open("wb") as file:
            file.write(start)
            file.truncate(200 * MB)
    draw(folder / "last.png", 1)
    storage = Watched(folder)
    with Ledger(tmp_path / "s.db") as ledger:
        names = sorted(path.name for path in folder.iterdir())
        pipeline = build(Catalogue(names), storage, ledger, max_failures="0")
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.skipped) == (1, 10)
    assert storage.read < 1 * MB
