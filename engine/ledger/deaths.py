"""Media that are being decoded, kept where a dead process leaves them: one of them may have killed it.

A broken decoder, or memory that the system takes back by force, ends the whole process. The next run finds here what
was being decoded then, and the ledger counts it. What is written to a mapped file outlives the process however that
dies, and costs no more than a store to memory; a power cut may lose it, which is no picture's fault.
"""

import mmap
from collections import deque
from contextlib import suppress
from pathlib import Path

from engine.files import make_private

ALONE_FROM = 2
"""A medium that was being decoded at so many deaths is decoded after all others, with nothing beside it."""
GIVEN_UP_AT = 3
"""... and after so many it has failed: the last time it was alone."""

_PLACES = 1024  # decoders at once
_BYTES = 8  # of a media id, as SQLite keeps them
_NONE = b"\xff" * _BYTES  # -1


class UnderDecoding:
    """The file beside the ledger's own: a place for each decoder, with the id of the medium that it decodes."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it. Raises `OSError`."""
        self._path = path
        make_private(path)
        with path.open("r+b") as file:
            self.left = _ids(file.read(_PLACES * _BYTES))  # by a process that died
            file.truncate(_PLACES * _BYTES)
            self._file = mmap.mmap(file.fileno(), _PLACES * _BYTES)
        self._ids = memoryview(self._file).cast("q")
        self._free = deque(range(_PLACES))
        self._closed = False

    def begin(self) -> None:
        """Forget what is left: it is counted."""
        self._file[:] = _NONE * _PLACES
        self.left = []

    def __call__(self, media_id: int) -> "_Decoding":
        """Around the decoding of a medium."""
        return _Decoding(self, media_id)

    def enter(self, media_id: int) -> int:
        """Keep the id; the place that it has until `leave`."""
        place = self._free.pop()
        self._ids[place] = media_id
        return place

    def leave(self, place: int) -> None:
        """The decoding has ended, and the process lives."""
        if not self._closed:  # or this was a decoder that the run did not wait for
            self._ids[place] = -1
            self._free.append(place)

    def close(self) -> None:
        """This process lives to the end of its run: nothing is left for the next one."""
        self._closed = True
        self._ids.release()
        self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class _Decoding:
    """A class and no generator: it is made for each picture, and Python's lock is what the decode threads wait for."""

    __slots__ = ("_media_id", "_place", "_under")

    def __init__(self, under: UnderDecoding, media_id: int) -> None:
        self._under, self._media_id = under, media_id

    def __enter__(self) -> None:
        self._place = self._under.enter(self._media_id)

    def __exit__(self, *_: object) -> None:
        self._under.leave(self._place)


def _ids(content: bytes) -> list[int]:
    whole = len(content) - len(content) % _BYTES
    return [i for i in memoryview(content[:whole]).cast("q") if i >= 0] if whole else []
