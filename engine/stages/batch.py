"""Fixed-size batches, filled by many threads without stacking and without holes."""

import threading
import time

import numpy as np

from engine.errors import Stopped
from engine.flow.channels import Closed, Meter, Stop
from engine.model.runners import Pixels
from engine.stages.ticket import InFlight, Ticket
from engine.types import Preprocessing, Row


class Batch:
    """A preallocated block for the session, and the tickets of the media whose rows are in it.

    Attributes:
        pixels: [size, height, width, 3], RGB, of the model's dtype. Rows from `len(tickets)` on are padding, left over.
        tickets: of the first rows, in row order.
        filled: how many of them are copied.
    """

    def __init__(self, size: int, shape: Preprocessing) -> None:
        self.pixels: Pixels = np.zeros((size, shape.height, shape.width, 3), shape.dtype)
        self.tickets: list[Ticket] = []
        self.filled = 0

    @property
    def size(self) -> int:
        return len(self.pixels)


class Batcher:
    """Collects fitted pictures into batches; a pool of `buffers` batches goes round.

    A row is claimed only when its picture is fitted, so a picture that fails leaves no hole. When nothing is on its way
    to a batch any more (`InFlight.loading`), a partial batch goes; so does one that got no row for a while, as its rows
    wait for a slow read.
    """

    def __init__(
        self,
        size: int,
        shape: Preprocessing,
        in_flight: InFlight,
        stop: Stop,
        *,
        buffers: int = 3,
        partial_wait_s: float = 0.05,
        slow_read_s: float = 2.0,
    ) -> None:
        """`partial_wait_s`: `Waits.partial_batch`; `slow_read_s`: `Waits.slow_read`."""
        self._free = [Batch(size, shape) for _ in range(buffers)]
        self._open: Batch | None = None
        self._sealed: list[Batch] = []  # full, or partial and to go; some rows perhaps still being copied
        self._in_flight = in_flight
        self._stop = stop
        self._partial_wait_s, self._slow_read_s = partial_wait_s, slow_read_s
        self._last_row = 0.0  # when the open batch got its last one
        self._changed = threading.Condition()
        in_flight.on_quiet(self._wake)
        stop.on_stop(self._wake)

    def add(self, ticket: Ticket, row: Row, meter: Meter | None = None) -> None:
        """Copy `row` into the next free row; waits for a buffer."""
        with self._changed:
            batch, index = self._claim(ticket, meter)
            if not index:
                self._changed.notify_all()  # `take` looks from now on how long its next row takes
        batch.pixels[index] = row  # 1.6 MB at 512x512: outside the lock
        # Outside our lock: it may call `_wake`, which takes it. Before `filled` is raised: a batch must not go while a
        # ticket in it is still loading.
        ticket.in_batch()
        with self._changed:
            batch.filled += 1
            if batch is not self._open and batch.filled == len(batch.tickets):
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
            batch.tickets = []
            batch.filled = 0
            self._free.append(batch)
            self._changed.notify_all()

    def __len__(self) -> int:
        """Batches that are full, or partial and to go; the last rows of some are perhaps still being copied."""
        return len(self._sealed)

    def _claim(self, ticket: Ticket, meter: Meter | None) -> tuple[Batch, int]:
        if self._open is None and not self._free:
            start = time.perf_counter()
            while self._open is None and not self._free and not self._stop.is_set():
                self._changed.wait()
            if meter:
                meter.add(waiting_out=time.perf_counter() - start)
        if self._stop.is_set():
            raise Stopped
        batch = self._open or self._free.pop()
        batch.tickets.append(ticket)
        self._open, self._last_row = batch, time.monotonic()
        if len(batch.tickets) == batch.size:
            self._seal(batch)
        return batch, len(batch.tickets) - 1

    def _seal(self, batch: Batch) -> None:
        self._sealed.append(batch)
        self._open = None

    def _next(self) -> Batch:
        while not self._stop.is_set():
            for batch in self._sealed:
                if batch.filled == len(batch.tickets):
                    self._sealed.remove(batch)
                    return batch
            if self._in_flight.loading:
                self._wait_for_rows()
            elif self._open is not None:
                # Nothing is on its way. Unless the source goes on within the wait, the partial batch goes.
                if self._source_rests() or not self._changed.wait_for(self._moved, self._partial_wait_s):
                    self._seal(self._open)
            elif self._in_flight.closed and not self._sealed:
                raise Closed
            else:
                self._changed.wait()
        raise Stopped

    def _wait_for_rows(self) -> None:
        """Rows are on their way, but the open batch goes without them if the next one takes too long."""
        if self._open is None:
            self._changed.wait()
        elif (left := self._last_row + self._slow_read_s - time.monotonic()) > 0:
            self._changed.wait(left)
        else:
            self._seal(self._open)

    def _source_rests(self) -> bool:
        return self._in_flight.paused or self._in_flight.closed

    def _moved(self) -> bool:
        return self._in_flight.loading > 0 or self._open is None or self._source_rests() or self._stop.is_set()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
