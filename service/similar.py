"""Pictures of the library that look like one, by the vectors that a run keeps beside the library's ledger."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.vectors.index import Alike, VectorIndex
from engine.vectors.store import VectorStore, vectors_of
from service.errors import ServiceError
from service.libraries import ledger_of

MOST = 500
"""Pictures that are found at most."""


class Match(NamedTuple):
    """A picture that was found; `likeness` in 0..1, `bits` of 64 in which its hash differs."""

    media_id: int
    likeness: float
    bits: int


class Similar:
    """Searches the file of vectors; there may be none yet. Its methods may be called by any thread.

    It may hold pictures that have vanished from the library: who asks leaves them out.
    """

    def __init__(self, database: Path) -> None:
        """`database`: the library's."""
        self._path = vectors_of(ledger_of(database))
        self._lock = threading.Lock()
        self._store: VectorStore | None = None
        self._index: VectorIndex | None = None

    def to(self, media_id: int, limit: int = MOST) -> list[Match]:
        """Pictures like one of the library, best first; none where that has no vector yet."""
        index = self._opened()
        return _matches(index.like_picture(media_id, limit)) if index else []

    def like(self, vector: npt.NDArray[np.float32], picture_hash: int, model: str, limit: int = MOST) -> list[Match]:
        """Pictures like one of which the model with this SHA-256 gave this vector.

        Raises ServiceError if the library's vectors are another model's: one of the same length fits none of them.
        """
        index = self._opened()
        if index is None or self._store is None:
            return []
        if model != self._store.of.sha256:
            raise ServiceError(
                f"the library's vectors are of the model {self._store.of.name}: serve it with that --model, or tag the "
                "library with this one (`engine retag`)"
            )
        return _matches(index.like(vector, picture_hash, limit))

    def copies(self) -> list[list[int]]:
        """Groups of pictures that are copies of each other or nearly so."""
        index = self._opened()
        return index.copies() if index else []

    def around(self, media_id: int, limit: int) -> list[int]:
        """The nearest pictures of one, copies of it left out; none where that has no vector yet."""
        index = self._opened()
        return index.neighbours(media_id, limit) if index else []

    def kept(self) -> bool:
        """Whether any vectors are kept for this library."""
        return self._opened() is not None

    def ids(self) -> set[int]:
        """The pictures that have a vector."""
        index = self._opened()
        return index.ids() if index else set()

    def neighbours(self, media_id: int) -> Mapping[int, float] | None:
        """For a query's `similar:`: likeness by id, of the picture itself too; empty where nothing like it is known.

        None where no vectors are kept.
        """
        if not self.kept():
            return None
        found = {one.media_id: one.likeness for one in self.to(media_id) if one.likeness > 0}
        return {media_id: 1.0, **found} if found else {}

    def close(self) -> None:
        with self._lock:
            if self._store:
                self._store.close()
            self._store = self._index = None

    def _opened(self) -> VectorIndex | None:
        """The index, once a run has made the file; made anew when another model began the file anew."""
        with self._lock:
            if self._store and not self._store.is_still():
                self._store.close()
                self._store = self._index = None
            if self._index is None and self._path.is_file():
                self._store = VectorStore(self._path)
                self._index = VectorIndex(self._store)
            return self._index


def _matches(found: Sequence[Alike]) -> list[Match]:
    return [Match(one.media_id, max(0.0, one.likeness), one.bits) for one in found]
