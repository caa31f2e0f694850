"""How much of files is in memory, and how much of them is read: in real processes, with large files."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.config import MB
from engine.ledger.ledger import Ledger
from engine.storage import Reading
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
    from engine.flow.channels import Stop

    stop, release = Stop(), threading.Event()
    first = threading.Event()

    class Holding(Wrapped):
        """The first file to have a share holds it."""

        def open(self, key: str, *, max_bytes: int) -> Reading:
            reading = super().open(key, max_bytes=max_bytes)
            read, place = reading._read, reading._read(1 << 16)

            def slow(size: int) -> bytes:
                nonlocal place
                if place:
                    head, place = place, b""
                    return head
                if size > 1 << 16:
                    first.set()
                    release.wait(60)
                return read(size)

            return Reading(reading.size, slow, reading._close)

    with Ledger(tmp_path / "s.db") as ledger:
        names = [f"{i} large.jpg" for i in range(24)]
        pipeline = build(Catalogue(names), Holding(large, lambda _: None), ledger, stop, read_ahead=MB, read_threads=8)
        ticks = iter(range(10**9))
        pipeline.run(
            lambda: stop.set() if first.is_set() and next(ticks) > 10 else release.set() if stop.is_set() else None
        )
        assert ledger.counts()[Outcome.FAILED] == 0 and stop.error is None
    release.set()


@pytest.mark.parametrize("start", [b"\x1aE\xdf\xa3", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", b"PK\x03\x04"])
def test_what_is_no_picture_is_known_by_its_beginning(start: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(10):
        with (folder / f"{i}.bin").open("wb") as file:
            file.write(start)
            file.truncate(200 * MB)
    draw(folder / "last.png", 1)
    read = []

    class Counted(Wrapped):
        def open(self, key: str, *, max_bytes: int) -> Reading:
            reading = super().open(key, max_bytes=max_bytes)
            inner = reading._read

            def counting(size: int) -> bytes:
                data = inner(size)
                read.append(len(data))
                return data

            return Reading(reading.size, counting, reading._close)

    with Ledger(tmp_path / "s.db") as ledger:
        names = sorted(path.name for path in folder.iterdir())
        pipeline = build(Catalogue(names), Counted(folder, lambda _: None), ledger, max_failures="0")
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.skipped) == (1, 10)
    assert sum(read) < 1 * MB
