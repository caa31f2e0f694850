"""Sorted texts in memory, packed: one bytes object and arrays instead of an object a text.

400,000 names take some 20 MB so, are read from the file in half a second, and are searched by bisection.
"""

import re
import sqlite3
from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.signedinteger]
Rows = NDArray[np.intp]
_ROWS = 10_000
"""Rows that are read at once."""


class Terms:
    """Texts in order.

    Attributes:
        blob: the texts in UTF-8, a line feed behind each; no text holds one.
        numbers: int32 [texts, columns], the numbers of each text's row.
    """

    def __init__(self, blob: bytes, numbers: Numbers) -> None:
        self.blob = blob
        self.numbers = numbers
        ends = np.flatnonzero(np.frombuffer(blob, np.uint8) == ord("\n")) + 1
        self._starts = np.concatenate((np.zeros(1, np.int64), ends)).astype(np.uint32)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def text(self, row: int) -> str:
        return self._bytes(row).decode("utf-8")

    def exact(self, text: str) -> Rows:
        """The rows of this very text."""
        wanted = _encoded(text)
        low = bisect_left(range(len(self)), wanted, key=self._bytes)
        high = bisect_left(range(len(self)), wanted + b"\x00", low, key=self._bytes)
        return np.arange(low, high)

    def beginning(self, text: str) -> Rows:
        """The rows of the texts that begin with this one."""
        wanted = _encoded(text)
        low = bisect_left(range(len(self)), wanted, key=self._bytes)
        high = bisect_left(range(len(self)), wanted + b"\xff", low, key=self._bytes)
        return np.arange(low, high)

    def holding(self, text: str) -> Rows:
        """The rows of the texts that hold this one, not at their beginning."""
        return self._matching(re.escape(_encoded(text)), at_start=False)

    def ending(self, text: str) -> Rows:
        """The rows of the texts that end with this one."""
        return self._matching(re.escape(_encoded(text)) + b"\n", at_start=True)

    def lengths(self, rows: Rows) -> Rows:
        """The lengths of the rows' texts in bytes."""
        return self._starts[rows + 1].astype(np.intp) - self._starts[rows] - 1

    def _bytes(self, row: int) -> bytes:
        return self.blob[self._starts[row] : self._starts[row + 1] - 1]

    def _matching(self, pattern: bytes, at_start: bool) -> Rows:
        places = np.fromiter((found.start() for found in re.finditer(pattern, self.blob)), np.int64)
        rows = np.searchsorted(self._starts, places, side="right") - 1
        if not at_start:
            rows = rows[places > self._starts[rows]]
        return np.unique(rows)


def read(cursor: sqlite3.Cursor, texts: int) -> list[Terms]:
    """The rows of a statement, whose first `texts` columns are texts and whose others are numbers: Terms of each text
    column, in the rows' order, which share the numbers. Those of a column that is sorted can be searched by beginnings.
    """
    blobs: list[list[bytes]] = [[] for _ in range(texts)]
    numbers: list[Numbers] = []
    for rows in _pieces(cursor):
        columns = list(zip(*rows, strict=True))
        for blob, column in zip(blobs, columns, strict=False):
            blob.append("\n".join(chain(column, ("",))).encode("utf-8"))
        numbers.append(np.array(columns[texts:], dtype=np.int32).T)
    shared = np.concatenate(numbers) if numbers else np.empty((0, len(cursor.description or ()) - texts), np.int32)
    return [Terms(b"".join(blob), shared) for blob in blobs]


def _pieces(cursor: sqlite3.Cursor) -> Iterator[list[tuple]]:  # type: ignore[type-arg]
    while rows := cursor.fetchmany(_ROWS):
        yield rows


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace").replace(b"\n", b" ")
