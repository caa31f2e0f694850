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

    def __init__(
        self,
        size: int,
        read: Callable[[int], bytes],
        close: Callable[[], object] = lambda: None,
        read_into: Callable[[memoryview], int] | None = None,
    ) -> None:
        """`read(n)` gives the next bytes, at most n, and b"" at the end; it raises `Unreadable`.

        `read_into(view)` writes them to the view's beginning and says how many: without new memory for each piece.
        """
        self.size = size
        self._read, self._close, self._read_into = read, close, read_into
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
        if self._read_into is not None:
            return self._filled(data, self._read_into, progress)
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

    def _filled(self, begin: bytes, read_into: Callable[[memoryview], int], progress: Callable[[], object]) -> bytes:
        """The whole file after its beginning, in memory that is taken once; shorter where it ends before its size."""
        if len(begin) >= self.size:
            return begin
        body = BytesIO(bytes(self.size))
        with body.getbuffer() as view:
            at = len(begin)
            view[:at] = begin
            while at < self.size and (came := read_into(view[at : at + _PIECE])):
                at += came
                progress()
        body.truncate(at)
        return body.getvalue()
