"""How many files a second a storage gives to a number of readers: what is measured before a long run."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from engine.errors import Unreadable


@dataclass(frozen=True)
class Speed:
    """What some readers read in a time.

    Attributes:
        files_per_second: of files read whole within the time.
        bytes_per_second: of the same files.
        failed: files that could not be read.
        hanging: readers that were still at a file a while after the time was over, and were left to themselves.
    """

    files_per_second: float
    bytes_per_second: float
    failed: int = 0
    hanging: int = 0


def reading_speed(
    read: Callable[[str], int], keys: Sequence[str], readers: int, seconds: float, patience_s: float = 2.0
) -> Speed:
    """Reads the files in turns, again from the first after the last, by so many threads, for so long.

    Args:
        read: reads the file of a key whole and says how many bytes it has, or raises `Unreadable`.
        patience_s: how long after the time a reader may take for the file that it is at.
    """
    numbers = count()
    done: list[tuple[float, int]] = []  # when a file had been read, and its bytes; appending needs no lock
    failed: list[str] = []
    end = time.monotonic() + seconds

    def work() -> None:
        while time.monotonic() < end:
            key = keys[next(numbers) % len(keys)]
            try:
                size = read(key)
            except Unreadable:
                failed.append(key)
            else:
                done.append((time.monotonic(), size))

    threads = [threading.Thread(target=work, name=f"speed-{n}", daemon=True) for n in range(readers)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end + patience_s - time.monotonic()))
    read_whole = list(done)
    spent = max([seconds, *(at - began for at, _ in read_whole)])
    return Speed(
        len(read_whole) / spent,
        sum(size for _, size in read_whole) / spent,
        len(failed),
        sum(thread.is_alive() for thread in threads),
    )
