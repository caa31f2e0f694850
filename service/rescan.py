"""Looks for changes in the library while the service runs: at once where the system tells of them, and periodically.

The system tells (inotify, FSEvents, ReadDirectoryChangesW) if the package watchfiles is installed. A network share
tells nothing of what other machines do, and a system may lose events: so the period stays, whatever is told.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.pictures.sniff import CONTENT_TYPES
from service.catalogue import SETTLE_SECONDS, Catalogue

_REST = 20
"""After a scan it rests so many times as long as that took, however much is told meanwhile."""
_READING = 1 / 4
"""The share of its time in which it reads pictures of which people said anything, to know them when they are moved."""
_SLICE = 1.0
"""Seconds of such reading at once."""
_GATHER_MS = 200  # events that come together are told together

_log = logging.getLogger(__name__)


class Rescan:
    """Looks, listens to the system, and reads what people judged, each in a thread, for the length of a block."""

    def __init__(self, catalogue: Catalogue, seconds: float) -> None:
        """`seconds`: the period; 0 never looks."""
        self._catalogue, self._seconds = catalogue, seconds
        self._listeners: list[Callable[[], None]] = []
        self._ending = threading.Event()
        self._told = threading.Event()
        self._lock = threading.Lock()
        self._paths: set[str] = set()

    def on_change(self, call: Callable[[], None]) -> None:
        """Have something called after each scan that found a change."""
        self._listeners.append(call)

    @contextmanager
    def looking(self) -> Iterator[None]:
        if self._seconds <= 0:
            yield
            return
        threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("rescan", self._look), ("watch", self._listen), ("contents", self._read))
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ending.set()
            self._told.set()
            for thread in threads:
                thread.join(timeout=5)  # a scan that hangs on a network share must not keep the service from ending

    def _look(self) -> None:
        wait = self._seconds
        while True:
            self._told.wait(wait)
            if self._ending.is_set():
                return
            self._told.clear()
            with self._lock:
                paths, self._paths = self._paths, set()
            began = time.monotonic()
            try:
                changed = self._catalogue.changes
                self._catalogue.scan(SETTLE_SECONDS, paths)
                if self._catalogue.changes != changed:
                    for call in self._listeners:
                        call()
            except Exception as error:  # the next scan may succeed
                _log.warning("looking for new pictures failed: %s", error)
            rest = min(_REST * (time.monotonic() - began), self._seconds)
            wait = self._seconds - rest
            if self._catalogue.unsettled:
                self._tell(paths, wake=False)
                wait = min(max(SETTLE_SECONDS - rest, 0.0), wait)
            if self._ending.wait(rest):
                return

    def _read(self) -> None:
        pause = self._seconds
        while not self._ending.wait(pause):
            began = time.monotonic()
            try:
                read = self._catalogue.read_contents(began + _SLICE)
            except Exception as error:
                _log.warning("reading pictures to know them again failed: %s", error)
                read = 0
            pause = (time.monotonic() - began) * (1 / _READING - 1) if read else self._seconds

    def _listen(self) -> None:
        try:
            from watchfiles import watch
        except ImportError:
            return
        root = self._catalogue.root
        try:
            for changes in watch(
                root,
                watch_filter=lambda _, path: _concerns(Path(path)),
                debounce=10 * _GATHER_MS,
                step=_GATHER_MS,
                stop_event=self._ending,
                rust_timeout=500,  # how long it takes to end
                raise_interrupt=False,
                force_polling=False,  # that would be a scan of the whole folder several times a second
                ignore_permission_denied=True,
            ):
                paths = (Path(text) for _, text in changes)
                self._tell({path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)})
        except Exception as error:  # the system watches no more folders, or the root is gone
            _log.warning("the system tells of no changes (%s): looking every %g s", error, self._seconds)

    def _tell(self, paths: set[str], *, wake: bool = True) -> None:
        with self._lock:
            self._paths |= paths
        if wake:
            self._told.set()


def _concerns(path: Path) -> bool:
    """Whether a change there may be one of pictures: of a picture, of a folder, or of what is not there any more."""
    if path.name.startswith("."):
        return False
    return path.suffix.lower() in CONTENT_TYPES or not path.is_file()
