"""A stage: threads that run the same work until it ends, none of which dies unseen."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from engine.errors import Stopped
from engine.flow.channels import Closed, Meter, Stop

T = TypeVar("T")


def in_thread(call: Callable[[], T]) -> Future[T]:
    """Start a call in a daemon thread of its own: one that may hang in the operating system is not waited for."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="call", daemon=True).start()
    return future


class Stage:
    """A group of daemon threads that each run `work` until it returns.

    `Closed` and `Stopped` are the ordinary ways out. Any other exception stops the whole run and is kept there: no
    thread dies unseen. `at_end` runs once, in the last thread to leave (it closes the next channel).
    """

    def __init__(
        self,
        meter: Meter,
        threads: int,
        work: Callable[[], None],
        stop: Stop,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        meter.threads = threads
        self.meter = meter
        self._work, self._stop, self._at_end = work, stop, at_end
        self._lock = threading.Lock()
        self._threads = {self._new() for _ in range(threads)}

    def start(self) -> None:
        for thread in tuple(self._threads):
            thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for some thread of the stage to end; True once all have left."""
        thread = next(iter(tuple(self._threads)), None)
        if thread:
            thread.join(timeout)
        return not self._threads

    def replace(self, thread: threading.Thread) -> None:
        """Give up a thread that hangs in the operating system, and start another in its place."""
        with self._lock:
            if thread not in self._threads:
                return
            new = self._new()
            self._threads.add(new)
            self._threads.discard(thread)
        new.start()

    def _new(self) -> threading.Thread:
        return threading.Thread(target=self._run, name=self.meter.name, daemon=True)

    def _run(self) -> None:
        try:
            self._work()
        except (Closed, Stopped):
            pass
        except BaseException as error:
            self._stop.set(error)
        finally:
            with self._lock:
                mine = threading.current_thread() in self._threads
                self._threads.discard(threading.current_thread())
                last = mine and not self._threads
            if last:
                self._at_end()
