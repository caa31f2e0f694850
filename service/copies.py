"""Groups of pictures that are copies of each other, to be looked at side by side."""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import select

from service.database import Database, media
from service.search.index import Index
from service.similar import Similar


class Copy(NamedTuple):
    """A picture of a group; `size` of its file in bytes, None where it is not known."""

    media_id: int
    path: str
    size: int | None


class Copies:
    """The groups of one library, without pictures that have vanished. Its methods may be called by any thread."""

    def __init__(self, database: Database, index: Index, similar: Similar) -> None:
        self._database, self._index, self._similar = database, index, similar
        self._lock = threading.Lock()
        self._of: tuple[Any, Any] = (None, None)  # what the groups were made from
        self._groups: list[list[int]] = []

    def page(self, offset: int, limit: int) -> tuple[int, list[list[Copy]]]:
        """How many groups there are, and some of them, the largest first; within one the largest file first."""
        groups = self._now()
        some = groups[offset : offset + limit]
        rows = select(media.c.id, media.c.path, media.c.size).where(media.c.present)
        with self._database.reading() as connection:
            known = {
                row.id: Copy(row.id, row.path, row.size)
                for group in some
                for row in connection.execute(rows.where(media.c.id.in_(group[:MOST])))
            }
        found = [[known[one] for one in group if one in known] for group in some]
        return len(groups), [sorted(group, key=lambda copy: (-(copy.size or 0), copy.media_id)) for group in found]

    def _now(self) -> Sequence[list[int]]:
        copies = self._similar.copies()  # the same list as long as nothing changed
        with self._index.fresh() as index:
            there = index.ids[index.present]
        with self._lock:
            if self._of[0] is not copies or not np.array_equal(self._of[1], there):
                known = frozenset(there.tolist())
                groups = [left for group in copies if len(left := [one for one in group if one in known]) > 1]
                self._groups = sorted(groups, key=lambda group: (-len(group), group[0]))
                self._of = copies, there
            return self._groups


MOST = 1_000
"""Pictures of a group that are listed."""
