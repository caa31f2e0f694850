"""Sorted texts in memory, packed: one bytes object and arrays instead of an object a text.

400,000 names take some 20 MB so, are read from the file in half a second, and are searched by bisection.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Rows = NDArray[np.intp]
_ROWS = 20_000
"""Rows that are read at once."""


class Terms:
    """Texts in order, each with the numbers of the row it came from.

    Attributes:
        numbers: int64 [texts, columns], the numbers of each text's row.
    """

    def __init__(self, rows: Iterable[tuple[str, tuple[int, ...]]], columns: int) -> None:
        """`rows`: (text, numbers) in the order of the texts' code points; no text holds a line feed."""
        parts: list[bytes] = []
        lengths = array("q")
        numbers = array("q")
        texts: list[str] = []
        for text, of_row in rows:
            texts.append(text)
            numbers.extend(of_row)
            if len(texts) == _ROWS:
                _pack(texts, parts, lengths)
        _pack(texts, parts, lengths)
        self.blob = b"".join(parts)
        self.numbers: Numbers = np.array(numbers, dtype=np.int64).reshape(-1, columns)
        ends = np.cumsum(np.array(lengths, dtype=np.int64))
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


def _pack(texts: list[str], parts: list[bytes], lengths: array) -> None:  # type: ignore[type-arg]
    encoded = [text.encode("utf-8") for text in texts]
    lengths.extend(len(one) + 1 for one in encoded)
    parts.append(b"".join(b"%b\n" % one for one in encoded))
    texts.clear()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace").replace(b"\n", b" ")


def in_pieces(cursor: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Rows of a statement, whose first column is the text and whose others are numbers."""
    for text, *numbers in cursor:
        yield text, tuple(int(n) for n in numbers)
