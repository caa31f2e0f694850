"""Finds pictures that look like one, among all that a `VectorStore` keeps.

Two pictures are as alike as the cosine between their vectors, each less the median of all vectors: features are never
negative, and without that every picture is rather like every other. The search has two steps. For each picture one bit
a dimension is in memory, whether the feature lies above its median; those whose bits differ least are candidates. Of
these the whole vectors are read from the file and compared. So 4,096 dimensions take 512 bytes a picture.
"""

import threading
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.vectors.hash import COPY
from engine.vectors.store import Row, Vector, VectorStore

CANDIDATES = 500
"""Pictures whose whole vectors are compared."""
SAMPLE = 2_000
"""The median is that of so many pictures, those with the lowest ids."""
_GROW = 1.25
_REMEMBERED = 20_000  # pictures
_AT_ONCE = 250  # pictures, or columns: larger arrays of float32 stay with the process after they are freed


class Alike(NamedTuple):
    """A picture that was found; `likeness` is the cosine, -1..1; `bits` in how many of 64 its hash differs."""

    media_id: int
    likeness: float
    bits: int


class VectorIndex:
    """The pictures of one store, searched in memory. Takes up what the store was given since, before each search."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._change = 0
        self._median: Vector = np.zeros(store.dimensions, np.float32)
        self._sampled = 0  # pictures of which the median was taken
        words = -(-store.dimensions // 64)
        self._bits: npt.NDArray[np.uint64] = np.zeros((0, words), np.uint64)
        self._ids: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._hashes: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._count = 0  # rows in use; there are some to spare
        self._rows: dict[int, int] = {}  # by media id; what is not in here was deleted
        self._alive: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._copies: tuple[int, int, list[list[int]]] = (-1, -1, [])  # of which change, and with how many bits
        self._near: tuple[int, dict[tuple[int, int], list[int]]] = (-1, {})  # of which change, by id and number

    def __len__(self) -> int:
        """How many pictures there are."""
        with self._lock:
            self._refresh()
            return len(self._rows)

    def ids(self) -> set[int]:
        """The pictures' media ids."""
        with self._lock:
            self._refresh()
            return set(self._rows)

    def like(self, vector: Vector, picture_hash: int, limit: int) -> list[Alike]:
        """The `limit` pictures that are most alike, the best first; equal ones by id."""
        with self._lock:
            self._refresh()
            return self._like(vector, picture_hash, limit)

    def like_picture(self, media_id: int, limit: int) -> list[Alike]:
        """The same for a picture that is kept, which is not among them; none for one that is not kept."""
        with self._lock:
            self._refresh()
            own = self._store.get([media_id]).get(media_id) if media_id in self._rows else None
            if own is None or own.kept is None:
                return []
            found = self._like(own.kept * np.float32(own.scale), own.hash, limit + 1)
            return [one for one in found if one.media_id != media_id][:limit]

    def copies(self, most_bits: int = COPY) -> list[list[int]]:
        """Groups of pictures whose hashes differ in at most `most_bits`, each by id, the largest group first.

        Two are in one group if a chain of such pairs leads from one to the other. While nothing changes, the very same
        list is returned: it is not to be changed.
        """
        with self._lock:
            self._refresh()
            if self._copies[:2] != (self._change, most_bits):
                rows = np.flatnonzero(self._alive[: self._count])
                self._copies = self._change, most_bits, _groups(self._ids[rows], self._hashes[rows], most_bits)
            return self._copies[2]

    def neighbours(self, media_id: int, limit: int) -> list[int]:
        """The ids of the `limit` pictures whose bits differ least, without itself and its copies; nearest first.

        Rougher than `like_picture`, for it reads no vectors from the file. None for a picture that is not kept.
        """
        with self._lock:
            self._refresh()
            if self._near[0] != self._change or len(self._near[1]) > _REMEMBERED:
                self._near = self._change, {}
            known = self._near[1]
            if (media_id, limit) not in known:
                known[media_id, limit] = self._neighbours(media_id, limit)
            return known[media_id, limit]

    def _neighbours(self, media_id: int, limit: int) -> list[int]:
        row = self._rows.get(media_id)
        if row is None:
            return []
        count = self._count
        differ = np.bitwise_count(self._bits[:count] ^ self._bits[row]).sum(axis=1, dtype=np.int32)
        copy = np.bitwise_count(self._hashes[:count] ^ self._hashes[row]) <= COPY  # itself too
        differ[copy | ~self._alive[:count]] = np.iinfo(np.int32).max
        most = min(limit, count)
        nearest = np.argpartition(differ, most - 1)[:most]
        nearest = nearest[np.lexsort([self._ids[nearest], differ[nearest]])]
        return [int(self._ids[i]) for i in nearest if differ[i] < np.iinfo(np.int32).max]

    def _like(self, vector: Vector, picture_hash: int, limit: int) -> list[Alike]:
        if not self._rows:
            return []
        wanted = vector - self._median
        differ = np.bitwise_count(self._bits[: self._count] ^ self._signs(wanted[None])).sum(axis=1, dtype=np.int32)
        differ[~self._alive[: self._count]] = np.iinfo(np.int32).max
        most = min(max(CANDIDATES, 2 * limit), len(self._rows))
        candidates = np.argpartition(differ, most - 1)[:most]
        kept = self._store.get(self._ids[candidates].tolist())
        found = list(kept.values())
        if not found:
            return []
        vectors = _vectors(found) - self._median
        lengths = np.linalg.norm(vectors, axis=1) * max(float(np.linalg.norm(wanted)), 1e-12)
        likeness = vectors @ wanted / np.maximum(lengths, 1e-12)
        order = np.lexsort([[row.media_id for row in found], -likeness])[:limit]
        return [
            Alike(found[i].media_id, round(float(likeness[i]), 6), (found[i].hash ^ picture_hash).bit_count())
            for i in order.tolist()
        ]

    def _refresh(self) -> None:
        last, _ = self._store.changed(self._change)
        if last == self._change:
            return
        if self._sampled < SAMPLE:
            self._centre()
        last, rows = self._store.changed(self._change)
        self._make_room(self._store.count() - self._count)  # all at once: to grow step by step leaves a quarter unused
        while some := list(islice(rows, _AT_ONCE)):
            self._take(some)
        self._change = last

    def _centre(self) -> None:
        """Take the median of the first pictures; where it is another one, all bits are to be made anew."""
        sample = self._store.first(SAMPLE)
        if len(sample) > self._sampled:
            self._median = _median(sample)
            self._sampled, self._change = len(sample), 0

    def _take(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.kept is None and (gone := self._rows.pop(row.media_id, None)) is not None:
                self._alive[gone] = False
        there = [row for row in rows if row.kept is not None]
        if not there:
            return
        new = [row.media_id for row in there if row.media_id not in self._rows]
        self._make_room(len(new))
        self._rows.update(zip(new, range(self._count, self._count + len(new)), strict=True))
        self._count += len(new)
        at = np.array([self._rows[row.media_id] for row in there])
        self._ids[at] = [row.media_id for row in there]
        self._hashes[at] = np.array([row.hash for row in there], np.uint64)
        self._alive[at] = True
        self._bits[at] = self._signs(_vectors(there) - self._median)

    def _make_room(self, more: int) -> None:
        size = len(self._ids)
        if self._count + more <= size:
            return
        grown = max(256, self._count + more, int(_GROW * size)) - size
        self._bits = np.concatenate([self._bits, np.zeros((grown, self._bits.shape[1]), np.uint64)])
        self._ids = np.concatenate([self._ids, np.zeros(grown, np.int64)])
        self._hashes = np.concatenate([self._hashes, np.zeros(grown, np.uint64)])
        self._alive = np.concatenate([self._alive, np.zeros(grown, np.bool_)])

    def _signs(self, centred: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
        """[N, D] -> [N, words]: a bit for each dimension, whether it is above 0; what is left of the last word is 0."""
        packed = np.packbits(centred > 0, axis=1)
        spare = self._bits.shape[1] * 8 - packed.shape[1]
        return np.pad(packed, ((0, 0), (0, spare))).view(np.uint64)


def _median(rows: Sequence[Row]) -> Vector:
    """float32 [D], of rows that were not deleted."""
    kept = np.stack([row.kept for row in rows if row.kept is not None])
    scales = np.array([row.scale for row in rows], np.float32)[:, None]
    columns = range(0, kept.shape[1], _AT_ONCE)
    return np.concatenate(
        [np.median(kept[:, at : at + _AT_ONCE] * scales, axis=0).astype(np.float32) for at in columns]
    )


def _vectors(rows: Sequence[Row]) -> npt.NDArray[np.float32]:
    """[N, D] of rows that were not deleted."""
    kept = np.stack([row.kept for row in rows if row.kept is not None]).astype(np.float32)
    return kept * np.array([row.scale for row in rows], np.float32)[:, None]


def _groups(ids: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64], most_bits: int) -> list[list[int]]:
    """Pictures that are the same but for so many bits, by chains.

    Hashes are cut into `most_bits` + 1 pieces: two that differ in at most `most_bits` bits are equal in one piece at
    least. So only pictures that share a piece are compared.
    """
    hashes, same = np.unique(hashes, return_inverse=True)
    leader = np.arange(len(hashes))

    def find(one: int) -> int:
        while leader[one] != one:
            leader[one] = leader[leader[one]]
            one = int(leader[one])
        return one

    width = -(-64 // (most_bits + 1))
    for piece in range(most_bits + 1):
        part = (hashes >> np.uint64(piece * width)) & np.uint64(2**width - 1)
        order = np.argsort(part, kind="stable")
        part, sorted_hashes = part[order], hashes[order]
        at = np.arange(len(order))
        for step in range(1, len(order)):  # each with the next, the one after that, and so on, within its piece
            at = at[at + step < len(order)]
            at = at[part[at] == part[at + step]]
            if not len(at):
                break
            near = at[np.bitwise_count(sorted_hashes[at] ^ sorted_hashes[at + step]) <= most_bits]
            for one, other in zip(order[near].tolist(), order[near + step].tolist(), strict=True):
                leader[find(other)] = find(one)
    groups: dict[int, list[int]] = {}
    for one in range(len(ids)):
        groups.setdefault(find(int(same[one])), []).append(int(ids[one]))
    several = [sorted(group) for group in groups.values() if len(group) > 1]
    return sorted(several, key=lambda group: (-len(group), group[0]))
