"""Fixed-size batches, filled by many threads without stacking and without holes."""

import threading
import time

import numpy as np
import numpy.typing as npt

from engine.errors import Stopped
from engine.flow.channels import Closed, Meter, Stop
from engine.types import Media, Rgb

GRACE_S = 0.05
"""How long a partial batch waits, with nothing on its way, before it goes: long against the hand-over between two
threads, short against a batch on any device."""


class Batch:
    """A preallocated block for the session and the media whose rows are in it.

    Attributes:
        pixels: uint8 [size, height, width, 3], RGB. Rows from `len(media)` on are padding: left-over pixels.
        media: the media of the first rows, in row order.
    """

    def __init__(self, size: int, height: int, width: int) -> None:
        self.pixels: npt.NDArray[np.uint8] = np.zeros((size, height, width, 3), np.uint8)
        self.media: list[Media] = []
        self.filled = 0

    @property
    def size(self) -> int:
        return len(self.pixels)


class Batcher:
    """Collects fitted pictures into batches; a pool of `buffers` batches goes round.

    A row is claimed only when its picture is there, so a picture that fails leaves no hole. Every picture is announced
    (`expect`) before it is read, and ends in `add` or `drop`: when none is expected any more, a partial batch goes.
    """

    def __init__(self, size: int, height: int, width: int, stop: Stop, buffers: int = 3) -> None:
        self._free = [Batch(size, height, width) for _ in range(buffers)]
        self._open: Batch | None = None
        self._sealed: list[Batch] = []  # full or flushed, some rows perhaps still being copied
        self._expected = 0
        self._pausing = self._closed = False
        self._stop = stop
        self._changed = threading.Condition()
        stop.on_stop(self._wake)

    def expect(self, pictures: int = 1) -> None:
        with self._changed:
            self._expected += pictures
            self._pausing = False

    def drop(self) -> None:
        """An expected picture will not come: it failed or was skipped."""
        with self._changed:
            self._expected -= 1
            self._changed.notify_all()

    def add(self, media: Media, row: Rgb, meter: Meter | None = None) -> None:
        """Copy `row` (uint8 [height, width, 3]) into the next free row; waits for a buffer."""
        with self._changed:
            batch, index = self._claim(media, meter)
        batch.pixels[index] = row  # 0.8 MB at 512x512: outside the lock
        with self._changed:
            batch.filled += 1
            self._expected -= 1
            if batch.filled == batch.size or not self._expected:  # nobody waits for less
                self._changed.notify_all()

    def take(self, meter: Meter | None = None) -> Batch:
        """The next batch whose rows are all there. Raises `Closed` after the last, `Stopped` when the run ends."""
        start = time.perf_counter()
        with self._changed:
            try:
                return self._next()
            finally:
                if meter:
                    meter.add(waiting_in=time.perf_counter() - start)

    def give_back(self, batch: Batch) -> None:
        """The session is done with the batch's pixels."""
        with self._changed:
            batch.media = []
            batch.filled = 0
            self._free.append(batch)
            self._changed.notify_all()

    def pause(self) -> None:
        """Nothing more will be expected for a while: a partial batch need not wait for it."""
        with self._changed:
            self._pausing = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will be expected."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Batches ready for the session."""
        return len(self._sealed)

    def _claim(self, media: Media, meter: Meter | None) -> tuple[Batch, int]:
        if self._open is None and not self._free:
            start = time.perf_counter()
            while self._open is None and not self._free and not self._stop.is_set():
                self._changed.wait()
            if meter:
                meter.add(waiting_out=time.perf_counter() - start)
        if self._stop.is_set():
            raise Stopped
        batch = self._open or self._free.pop()
        batch.media.append(media)
        self._open = batch
        if len(batch.media) == batch.size:
            self._seal(batch)
        return batch, len(batch.media) - 1

    def _seal(self, batch: Batch) -> None:
        self._sealed.append(batch)
        self._open = None

    def _next(self) -> Batch:
        while not self._stop.is_set():
            for batch in self._sealed:
                if batch.filled == len(batch.media):
                    self._sealed.remove(batch)
                    return batch
            if self._expected == 0 and self._open is not None:
                # Nothing is on its way. Unless the source goes on within the grace, the partial batch goes.
                if self._pausing or self._closed or not self._changed.wait_for(self._moved, GRACE_S):
                    self._seal(self._open)
            elif self._expected == 0 and self._closed and not self._sealed:
                raise Closed
            else:
                self._changed.wait()
        raise Stopped

    def _moved(self) -> bool:
        return self._expected > 0 or self._open is None or self._pausing or self._closed or self._stop.is_set()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
