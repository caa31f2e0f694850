"""Watching over reads: a storage root that vanished is waited for, a read that hangs is given up."""

import threading
import time
from collections.abc import Callable

from engine.errors import StorageError
from engine.flow import Stop
from engine.storage import Storage
from engine.types import Media

LOOK_S = 0.5
"""One look at the root in this time is enough for a thousand missing files."""


class RootWatch:
    """Tells "this file is missing" from "the share is not mounted", and waits for the share to come back.

    Readers ask after a failed read. One of them looks; while the root is away all wait here, and nothing fails.
    """

    def __init__(self, storage: Storage, stop: Stop, say: Callable[[str], None], every_s: float = 5.0) -> None:
        self._storage, self._stop, self._say, self._every_s = storage, stop, say, every_s
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self.away = 0  # how often the root was away in this run

    def wait_until_there(self, seen: int) -> bool:
        """After a failed read: True if the root was away since, so that the read is worth another try.

        `seen` is `away` as it was when the read began.
        """
        with self._lock:
            now = time.monotonic()
            if self.away == seen and now - self._looked > LOOK_S:
                self._looked = now
                if not self._storage.root_alive():
                    self._wait()
            return self.away != seen

    def _wait(self) -> None:
        self.away += 1
        self._say("the storage root is not there: waiting for it; nothing is marked as failed")
        while not self._stop.event.wait(self._every_s):
            if self._storage.root_alive():
                self._say("the storage root is back")
                return


class ReadWatch:
    """Which thread reads what since when, so that a read that never ends can be given up.

    A file system call cannot be interrupted: the thread is left to its fate and another takes its place.
    """

    def __init__(self, timeout_s: float, most_given_up: int) -> None:
        self._timeout_s, self._most = timeout_s, most_given_up
        self._lock = threading.Lock()
        self._reading: dict[threading.Thread, tuple[Media, float]] = {}
        self._given_up = 0

    def begin(self, media: Media) -> None:
        with self._lock:
            self._reading[threading.current_thread()] = (media, time.monotonic())

    def end(self) -> bool:
        """False if the read was given up meanwhile: its result is nobody's any more."""
        with self._lock:
            return self._reading.pop(threading.current_thread(), None) is not None

    def give_up(self) -> list[tuple[threading.Thread, Media]]:
        """Take out the reads that have lasted too long. Raises `StorageError` when nearly everything hangs."""
        now = time.monotonic()
        with self._lock:
            late = [
                (thread, media) for thread, (media, since) in self._reading.items() if now - since > self._timeout_s
            ]
            for thread, _ in late:
                del self._reading[thread]
            self._given_up += len(late)
            if self._given_up > self._most:
                raise StorageError(
                    f"{self._given_up} reads got no answer from the storage within {self._timeout_s:.0f} s: is the "
                    "share still connected? The same command goes on when it is"
                )
        return late
