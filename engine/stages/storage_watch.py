"""Watching over reads: a root that vanished and a storage that fails are waited for, a read that hangs is given up."""

import threading
import time
from collections.abc import Callable

from engine.api.backoff import Backoff
from engine.config import WAITS, Waits
from engine.errors import StorageError, Unreadable
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


class StormWatch:
    """Pauses reading while the storage fails for the moment, read after read: no file is at fault then.

    Readers ask after a read that failed so. From `in_a_row` failures without a success between them on, they wait here.
    One reader at a time tries again, less and less often (`Backoff`, or what the storage asked for), until a read
    succeeds. A storm that lasts longer than `Waits.storm_longest` is none: the files are taken for broken then.
    """

    def __init__(self, in_a_row: int, stop: Stop, say: Callable[[str], None], waits: Waits = WAITS) -> None:
        self._in_a_row, self._stop, self._say, self._waits = in_a_row, stop, say, waits
        self._backoff = Backoff(base_s=waits.storm, cap_s=15 * waits.storm)
        self._lock = threading.Lock()  # held by the one who waits to try again
        self._count = threading.Lock()
        self._failures = self._successes = self._good = 0  # failures and good reads: since the other kind came
        self._since: float | None = None  # in a storm: when it began, or the last read that succeeded in it

    def passed(self) -> None:
        """A read succeeded. The storm is over when as many have in a row as had failed at its beginning."""
        with self._count:
            self._successes += 1
            self._failures = 0
            if self._since is None:
                return
            self._good += 1
            over = self._good >= self._in_a_row
            self._since = None if over else time.monotonic()
        if over:
            self._say("the storage can be read again")

    def wait_until_over(self, error: Unreadable) -> bool:
        """After a read that failed for the moment: True if it is worth another try, for the storage is at fault."""
        with self._count:
            self._failures += 1
            self._good = 0
            seen = self._successes
            if self._since is None and self._failures < self._in_a_row:
                return False
            first, self._since = self._since is None, self._since or time.monotonic()
            attempt, lasts = max(0, self._failures - self._in_a_row), time.monotonic() - self._since
        if lasts > self._waits.storm_longest:
            return False
        if first:
            self._say(f"the storage fails, read after read: reading pauses; nothing is marked as failed ({error})")
        with self._lock:
            if self._successes == seen:  # else it is over already
                delay = max(self._waits.storm, self._backoff.delay(attempt, error.retry_after))
                self._stop.event.wait(delay)
        return True


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
