"""What reading_speed measures: real folders, a storage that takes its time, and one that hangs."""

import threading
import time
from pathlib import Path

import pytest

from engine.errors import Kind, Unreadable
from engine.storage import open_storage
from engine.storage.speed import reading_speed


def test_files_of_a_folder_are_counted_with_their_bytes(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(bytes(1000))
    storage = open_storage(str(tmp_path))

    def read(key: str) -> int:
        with storage.open(key, max_bytes=10_000) as reading:
            return len(reading.whole())

    found = reading_speed(read, [f"{number}.jpg" for number in range(6)], readers=2, seconds=0.3)
    assert found.files_per_second > 10 and found.hanging == 0
    assert found.bytes_per_second == pytest.approx(1000 * found.files_per_second)
    assert found.failed > 0  # the sixth is not there


def test_readers_hide_the_time_that_each_file_takes() -> None:
    def read(key: str) -> int:
        time.sleep(0.05)
        return 1

    one = reading_speed(read, ["a"], readers=1, seconds=0.5)
    eight = reading_speed(read, ["a"], readers=8, seconds=0.5)
    assert 5 < one.files_per_second <= 20
    assert eight.files_per_second > 3 * one.files_per_second


def test_readers_that_hang_are_left_to_themselves() -> None:
    release = threading.Event()

    def read(key: str) -> int:
        if key == "hangs":
            release.wait()
            raise Unreadable("given up", Kind.TRANSIENT)
        return 1

    began = time.monotonic()
    found = reading_speed(read, ["hangs", "good"], readers=2, seconds=0.2, patience_s=0.3)
    assert time.monotonic() - began < 5
    assert found.hanging == 2  # each met the one that hangs, one after the other
    assert found.files_per_second > 0
    release.set()
