"""Watching over reads: a storage root that vanished is waited for, a read that hangs is given up."""

import threading
import time
from collections.abc import Callable

from engine.config import WAITS, Waits
from engine.errors import StorageError
from engine.flow.channels import Stop
from engine.stages.ticket import Ticket
from engine.storage import Storage


class RootWatch:
    """Tells "this file is missing" from "the share is not mounted", and waits for the share to come back.

    Readers ask after a failed read. One of them looks; while the root is away all wait here, and nothing fails.
    """

    def __init__(self, storage: Storage, stop: Stop, say: Callable[[str], None], waits: Waits = WAITS) -> None:
        self._storage, self._stop, self._say, self._waits = storage, stop, say, waits
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self.away = 0  # how often the root was away in this run

    def wait_until_there(self, seen: int, *, final: bool) -> bool:
        """After a failed read: True if the root was away since, so that the read is worth another try.

        `seen` is `away` as it was when the read began. With `final` the medium would now fail for good, so the root is
        looked at again; otherwise a look of the last `Waits.root_look` seconds will do.
        """
        failed = time.monotonic()
        with self._lock:
            if self.away == seen and self._looked < (failed if final else failed - self._waits.root_look):
                self._looked = time.monotonic()
                if (trouble := self._trouble()) is not None:
                    self._wait(trouble)
            return self.away != seen

    def _trouble(self) -> str | None:
        try:
            self._storage.check()
        except StorageError as error:
            return str(error)
        return None

    def _wait(self, trouble: str) -> None:
        self.away += 1
        self._say(f"the storage root is not there: waiting for it; nothing is marked as failed ({trouble})")
        while not self._stop.event.wait(self._waits.root_away):
            if self._trouble() is None:
                self._say("the storage root is back")
                return


class ReadWatch:
    """Which thread reads what since when, so that a read that never ends can be given up.

    A file system call cannot be interrupted: the thread is left to its fate and another takes its place.
    """

    def __init__(self, timeout_s: float, most_given_up: int) -> None:
        self._timeout_s, self._most = timeout_s, most_given_up
        self._lock = threading.Lock()
        self._reading: dict[threading.Thread, tuple[Ticket, float]] = {}
        self._hanging: set[threading.Thread] = set()  # given up, and not back

    def begin(self, ticket: Ticket) -> None:
        with self._lock:
            self._reading[threading.current_thread()] = (ticket, time.monotonic())

    def progress(self) -> None:
        """Some of the file has arrived: the time begins anew."""
        with self._lock:
            if reading := self._reading.get(threading.current_thread()):
                self._reading[threading.current_thread()] = (reading[0], time.monotonic())

    def end(self) -> bool:
        """False if the read was given up meanwhile: its result is nobody's any more."""
        with self._lock:
            self._hanging.discard(threading.current_thread())
            return self._reading.pop(threading.current_thread(), None) is not None

    def give_up(self, replace: Callable[[threading.Thread], None]) -> list[Ticket]:
        """Take out the reads that have lasted too long, and `replace` their threads before any of them can return.

        Raises `StorageError` when more hang than is bearable: it is not these files, and each costs a thread.
        """
        now = time.monotonic()
        with self._lock:
            late = [
                (thread, ticket) for thread, (ticket, since) in self._reading.items() if now - since > self._timeout_s
            ]
            for thread, _ in late:
                del self._reading[thread]
                self._hanging.add(thread)
                replace(thread)
            if len(self._hanging) > self._most:
                raise StorageError(
                    f"{len(self._hanging)} reads got no answer from the storage within {self._timeout_s:.0f} s: is "
                    "the share still connected? The same command goes on when it is"
                )
        return [ticket for _, ticket in late]
