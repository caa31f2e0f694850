"""A file of a storage that is open: its size is known before its body is read."""

from collections.abc import Callable
from io import BytesIO
from types import TracebackType
from typing import Self

HEAD = 1 << 16
"""Bytes that tell whether a file is a picture at all."""
_PIECE = 1 << 18  # bytes asked for at a time: what arrived counts as progress


class Reading:
    """An open file, read from its beginning to its end by one thread; a context manager that closes it.

    Attributes:
        size: bytes of the whole file.
    """

    def __init__(self, size: int, read: Callable[[int], bytes], close: Callable[[], object] = lambda: None) -> None:
        """`read(n)` gives the next bytes, at most n, and b"" at the end; it raises `Unreadable`."""
        self.size = size
        self._read, self._close = read, close
        self._head = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def head(self) -> bytes:
        """The first `HEAD` bytes of the file, or all of a smaller one; to be asked before `whole`."""
        while len(self._head) < min(HEAD, self.size) and (piece := self._read(HEAD - len(self._head))):
            self._head += piece
        return self._head

    def whole(self, progress: Callable[[], object] = lambda: None) -> bytes:
        """The whole file; `progress` is called whenever some of it has arrived."""
        data, self._head = self._head, b""
        if not data:
            data = self._read(min(self.size, _PIECE))
        if len(data) >= self.size or not data:
            return data
        progress()
        # BytesIO takes the buffer as its own and gives it away in the end: a large file is never in memory twice, and
        # not in blocks that grow.
        body = BytesIO(bytes(self.size))
        body.write(data)
        del data
        while body.tell() < self.size and (piece := self._read(min(self.size - body.tell(), _PIECE))):
            body.write(piece)
            progress()
        body.truncate()  # where it has become shorter
        return body.getvalue()
