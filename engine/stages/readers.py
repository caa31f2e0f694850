"""How many files are read at once: as many as pay, fewer where the storage suffers."""

import threading
import time
from collections.abc import Callable

FEWEST, FIRST, MOST = 1, 8, 64
"""The bounds of the number, and where it begins."""
_WINDOW, _AFTER_TROUBLE, _LONGEST = 0.25, 1.0, 4.0  # seconds; one trouble shows in several reads and halves once
_ENOUGH = 4  # reads a reader, which make a window's rate comparable with that of the one before
_REST, _LONGEST_REST = 1.0, 16.0  # seconds without another reader after one that did not pay; doubled each time
_STARVED = 0.1  # of the decoders' time spent waiting: from here on more reading would be of use
_FAILING = 0.05  # of a window's reads: from here on failures are the storage's trouble, and not a file's


class Readers:
    """The number of readers, by a plain rule: one more while it pays, half on trouble.

    At the end of each window: if reads failed for the moment (503, timeouts), half as many. If the decoders starved and
    no reader lacked work, one more. One pays if the storage gave at least a quarter more than its share would be (of 10
    readers, 2.5 % more); one that did not is taken back. After either, no more are tried for a while: a short one at
    first, as rates vary by chance, and a longer one each time that it is in vain.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = FIRST
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._reads = self._bytes = self._failures = 0
        self._before: float | None = None  # bytes/s before the last reader was added; None: none is on trial
        self._rests_until, self._rest = self._began, _REST
        self._window = _WINDOW

    def read(self, size: int) -> None:
        """A file of `size` bytes was read."""
        with self._lock:
            self._reads += 1
            self._bytes += size

    def failed(self) -> None:
        """A read failed for the moment, or was given up."""
        with self._lock:
            self._failures += 1

    @property
    def window_is_over(self) -> bool:
        """Whether `adapt` is due."""
        lasts = self._clock() - self._began
        enough = self._failures or self._reads >= _ENOUGH * self.number or lasts >= _LONGEST
        return bool(enough) and lasts >= self._window

    def adapt(self, *, starved: float, idle: float) -> int:
        """The number for the next window.

        Args:
            starved: the share of their time, 0..1, that the decoders waited for files in this window.
            idle: the same of the readers, waiting for something to read.
        """
        now = self._clock()
        with self._lock:
            reads, failures, rate = self._reads, self._failures, self._bytes / max(1e-9, now - self._began)
            self._reads = self._bytes = self._failures = 0
            self._began = now
        self._window = _WINDOW
        if failures > max(1, _FAILING * (reads + failures)):
            self.number = max(FEWEST, self.number // 2)
            self._window = _AFTER_TROUBLE
            self._take_a_rest(now, _LONGEST_REST / 2)
        elif not reads or starved < _STARVED or idle >= _STARVED:
            self._before = None  # whether the last one paid cannot be told, nor is another needed
        elif self._before is not None and rate < self._before * (1 + 0.25 / (self.number - 1)):
            self.number -= 1
            self._take_a_rest(now, self._rest)
        elif now >= self._rests_until and self.number < MOST:
            if self._before is not None:
                self._rest = _REST
            self.number += 1
            self._before = rate
        else:
            self._before = None
        return self.number

    def _take_a_rest(self, now: float, seconds: float) -> None:
        self._before = None
        self._rests_until = now + seconds
        self._rest = min(2 * seconds, _LONGEST_REST)
