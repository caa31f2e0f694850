"""What lies between threads: bounded channels, a semaphore, a shared stop, and meters that say where the time goes.

Nothing here knows pictures. A stage takes from one channel, works, and puts into the next. A channel that is full makes
the stage before it wait, so memory is bounded by the sum of the channels, whatever the size of the catalogue.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from engine.errors import Stopped

T = TypeVar("T")


class Closed(Exception):
    """A channel has given its last item."""


class Stop:
    """The end of a run, shared by all its threads: who asked, why, and who has to wake up for it.

    `error` is the first exception that stopped the run, or None when it was asked to end (Ctrl-C).
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], None]] = []

    def on_stop(self, wake: Callable[[], None]) -> None:
        """Register something that must wake up; called at once if the run is already stopping."""
        with self._lock:
            if not self.event.is_set():
                self._wakers.append(wake)
                return
        wake()

    def set(self, error: BaseException | None = None) -> None:
        """Stop the run. The first error is kept; later ones are only echoes of it."""
        with self._lock:
            if self.error is None:
                self.error = error
            first = not self.event.is_set()
            self.event.set()
            wakers = list(self._wakers) if first else []
        for wake in wakers:
            wake()

    def is_set(self) -> bool:
        return self.event.is_set()


Listener = Callable[[str, float, float, float], None]
"""Told, on the stage's thread, of each span that a meter adds: its name; seconds busy, waiting in, waiting out."""


class Meter:
    """Where the time of a stage's threads goes, in seconds summed over its threads.

    Busy is only what `working` timed, or what was added as such; reading the clock twice an item costs 0.1 µs.

    Attributes:
        of_sink: whether this is a sink's. A sink works beside the stages, which wait for it only when the outbox is
            full. The pipeline sets it.
        threads: how many there are now.
        adapts: whether their number follows the throughput by itself.
        setbacks: how often the work failed for the moment, or was given up: more threads would make that worse.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.threads = 0
        self.of_sink = False
        self.adapts = False
        self.setbacks = 0
        self.items = 0
        self.busy = 0.0
        self.waiting_in = 0.0
        self.waiting_out = 0.0
        self.depth: Callable[[], int] = lambda: 0  # items queued before the stage
        self.listener: Listener | None = None
        self._looks = self._depths = self._threads_seen = 0
        self._lock = threading.Lock()

    def add(self, *, busy: float = 0.0, waiting_in: float = 0.0, waiting_out: float = 0.0, items: int = 0) -> None:
        with self._lock:
            self.busy += busy
            self.waiting_in += waiting_in
            self.waiting_out += waiting_out
            self.items += items
        if self.listener:
            self.listener(self.name, busy, waiting_in, waiting_out)

    def look(self) -> None:
        """Take note of the threads and the queue before them; called a few times a second, by one thread."""
        self._looks += 1
        self._depths += self.depth()
        self._threads_seen += self.threads

    @property
    def queued(self) -> float:
        """Items in the queue before the stage, on average over the looks."""
        return self._depths / self._looks if self._looks else 0.0

    @property
    def mean_threads(self) -> float:
        """Threads, on average over the looks."""
        return self._threads_seen / self._looks if self._looks else self.threads

    def working(self, items: int = 1) -> "_Working":
        """Time the block as busy; its items count even when it raises, for they took the time."""
        return _Working(self, items)


class _Working:
    """A class and no generator: it is made for each item, and Python's lock is what the threads wait for."""

    __slots__ = ("_items", "_meter", "_start")

    def __init__(self, meter: Meter, items: int) -> None:
        self._meter, self._items = meter, items

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._meter.add(busy=time.perf_counter() - self._start, items=self._items)


class Channel(Generic[T]):
    """A bounded queue between two stages.

    `capacity` is in the unit of `weight` (items by default, bytes where pictures differ in size). One item heavier
    than the whole capacity still passes, alone: a limit must not become a dead end.
    """

    def __init__(self, capacity: int, stop: Stop, weight: Callable[[T], int] = lambda _: 1) -> None:
        self.capacity = capacity
        self._weight = weight
        self._stop = stop
        self._items: deque[T] = deque()
        self._load = 0
        self._closed = False
        self._lock = threading.Lock()
        self._readable = threading.Condition(self._lock)
        self._writable = threading.Condition(self._lock)
        stop.on_stop(self._wake)

    def put(self, item: T, meter: Meter | None = None) -> None:
        """Hand an item over; waits while the channel is full. Raises `Stopped` when the run ends."""
        weight = self._weight(item)
        with self._lock:
            if self._items and self._load + weight > self.capacity:
                start = time.perf_counter()
                while self._items and self._load + weight > self.capacity and not self._stop.is_set():
                    self._writable.wait()
                if meter:
                    meter.add(waiting_out=time.perf_counter() - start)
            if self._stop.is_set():
                raise Stopped
            self._items.append(item)
            self._load += weight
            self._readable.notify()

    def get(self, meter: Meter | None = None) -> T:
        """Take the next item; waits for one. Raises `Closed` after the last, `Stopped` when the run ends."""
        with self._lock:
            if not self._items:
                start = time.perf_counter()
                while not self._items and not self._closed and not self._stop.is_set():
                    self._readable.wait()
                if meter:
                    meter.add(waiting_in=time.perf_counter() - start)
            if self._stop.is_set():
                raise Stopped
            if not self._items:
                raise Closed
            item = self._items.popleft()
            self._load -= self._weight(item)
            if self._load <= 3 * self.capacity // 4:  # not at each item: a full channel would switch threads for it
                self._writable.notify_all()
            return item

    def close(self) -> None:
        """No more items will come; what is queued can still be taken."""
        with self._lock:
            self._closed = True
            self._readable.notify_all()

    def __len__(self) -> int:
        return len(self._items)

    def _wake(self) -> None:
        with self._lock:
            self._readable.notify_all()
            self._writable.notify_all()


class WeightedSemaphore:
    """A share of something limited, taken before work begins and given back when it has ended.

    `capacity` is in units of the caller's choice (places, pixels, bytes). A request for more than the whole capacity
    is granted when nothing else is taken: a limit must not become a dead end. Requests are granted in the order in
    which they come, so that a large one is not passed by small ones for ever; who gives back wakes only those that
    have their share now.
    """

    def __init__(self, capacity: int, stop: Stop, taken: int = 0) -> None:
        """`taken` is in use from the beginning, be it more than the capacity."""
        self.capacity = capacity
        self._stop = stop
        self._taken = taken
        self._queue: deque[tuple[int, threading.Event]] = deque()
        self._lock = threading.Lock()
        stop.on_stop(self._wake)

    def acquire(self, amount: int = 1, meter: Meter | None = None) -> None:
        """Wait until `amount` is free, and take it. Raises `Stopped` when the run ends."""
        with self._lock:
            if self._stop.is_set():
                raise Stopped
            if not self._queue and self._has(amount):
                self._taken += amount
                return
            granted = threading.Event()
            self._queue.append((amount, granted))
        start = time.perf_counter()
        granted.wait()
        if meter:
            meter.add(waiting_out=time.perf_counter() - start)
        if self._stop.is_set():
            raise Stopped

    def release(self, amount: int = 1) -> None:
        """Give `amount` back."""
        with self._lock:
            self._taken -= amount
            self._grant()

    def resize(self, capacity: int) -> None:
        """Another capacity from now on. What is taken stays taken, be it more than that: see `exceeded`."""
        with self._lock:
            self.capacity = capacity
            self._grant()

    @property
    def taken(self) -> int:
        """How much is in use."""
        return self._taken

    @property
    def exceeded(self) -> bool:
        """Whether more is in use than the capacity is now."""
        return self._taken > self.capacity

    def _has(self, amount: int) -> bool:
        return not self._taken or self._taken + amount <= self.capacity

    def _grant(self) -> None:
        while self._queue and self._has(self._queue[0][0]):
            amount, granted = self._queue.popleft()
            self._taken += amount
            granted.set()

    def _wake(self) -> None:
        with self._lock:
            for _, granted in self._queue:
                granted.set()
