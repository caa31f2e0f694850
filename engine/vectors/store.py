"""The file of vectors: SQLite, one row a picture. A kill at any moment leaves the rows of whole commits.

It lies beside the state file. One process writes; any may read at the same time. Each row knows the number of the
change that wrote it, so a reader takes up what is new without reading all again. A picture that was deleted stays as a
row without a vector, so that readers learn of it.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.errors import EngineError
from engine.files import make_private

Vector = npt.NDArray[np.float32]
"""[D]: the pooled features of a picture, all of them finite."""
Kept = npt.NDArray[np.int8]
"""[D]: a vector in 127 steps either way; times its scale it is the vector again."""

_VERSION = 1
_TABLES = """
CREATE TABLE model (name TEXT NOT NULL, sha256 TEXT NOT NULL, dimensions INTEGER NOT NULL);
CREATE TABLE picture (
    media_id INTEGER PRIMARY KEY,
    change INTEGER NOT NULL,
    hash INTEGER,         -- of hash.py, as a signed number. Null: the picture was deleted
    scale REAL,
    vector BLOB           -- int8 [D]
);
CREATE INDEX picture_by_change ON picture (change);
"""


class VectorError(EngineError):
    """The file of vectors cannot be used; the sentence says why and what would do."""


class Features(NamedTuple):
    """What is kept of one picture; `vector` is None for one that was deleted."""

    media_id: int
    hash: int
    vector: Vector | None


class Row(NamedTuple):
    """A picture as it is kept; `kept` is None for one that was deleted."""

    media_id: int
    hash: int
    scale: float
    kept: Kept | None


class VectorStore:
    """The vectors that one model gave to the pictures of one catalogue."""

    def __init__(self, path: Path, model: str, sha256: str, dimensions: int) -> None:
        """Opens the file, or makes it.

        Args:
            path: of the file.
            model: its name, for people.
            sha256: of the model; vectors of another one cannot be compared, so they are not mixed.
            dimensions: of a vector.

        Raises:
            VectorError: it holds another model's vectors, is no such file, or cannot be read or written.
        """
        self.path, self.dimensions = path, dimensions
        self._lock = threading.Lock()
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            make_private(path)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            try:
                self._begin(model, sha256)
            except BaseException:
                self._connection.close()
                raise

    def _begin(self, model: str, sha256: str) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        with self._transaction():
            [version] = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise VectorError(f"{self.path} is another program's database: move it away")
                for statement in filter(str.strip, _TABLES.split(";")):
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO model VALUES (?, ?, ?)", (model, sha256, self.dimensions))
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise VectorError(f"{self.path} was written by another version of the engine: update it")
        name, known, dimensions = self._connection.execute("SELECT name, sha256, dimensions FROM model").fetchone()
        if (known, dimensions) != (sha256, self.dimensions):
            raise VectorError(
                f"{self.path} holds the vectors of {name}, which cannot be compared with those of {model}: "
                "delete the file, and `engine retag` makes them anew"
            )

    def put(self, features: Iterable[Features]) -> None:
        """Keep these in one transaction, in place of what was kept of the same pictures. It is on the disk after."""
        rows = list(features)
        with self._lock, _explained(self.path), self._transaction():
            [change] = self._connection.execute("SELECT coalesce(max(change), 0) + 1 FROM picture").fetchone()
            self._connection.executemany(
                "INSERT OR REPLACE INTO picture VALUES (?, ?, ?, ?, ?)", [self._row(one, change) for one in rows]
            )

    def remove(self, media_ids: Iterable[int]) -> None:
        """Forget these pictures."""
        self.put(Features(media_id, 0, None) for media_id in media_ids)

    def changed(self, since: int) -> tuple[int, Iterator[Row]]:
        """The number of the last change, and the rows of the changes after `since`, by media id; 0 gives all."""
        with self._lock, _explained(self.path):
            [last] = self._connection.execute("SELECT coalesce(max(change), 0) FROM picture").fetchone()
        return last, self._changed(since, last)

    def _changed(self, since: int, last: int) -> Iterator[Row]:
        if last <= since:
            return
        at = -(2**63)
        while True:
            with self._lock, _explained(self.path):
                rows = self._connection.execute(
                    "SELECT media_id, hash, scale, vector FROM picture "
                    "WHERE change > ? AND change <= ? AND media_id > ? ORDER BY media_id LIMIT 2000",
                    (since, last, at),
                ).fetchall()
            if not rows:
                return
            at = rows[-1][0]
            yield from map(self._read, rows)

    def first(self, number: int) -> list[Row]:
        """The pictures with the lowest ids, without those that were deleted."""
        with self._lock, _explained(self.path):
            rows = self._connection.execute(
                "SELECT media_id, hash, scale, vector FROM picture WHERE vector IS NOT NULL ORDER BY media_id LIMIT ?",
                (number,),
            ).fetchall()
        return [self._read(row) for row in rows]

    def get(self, media_ids: Sequence[int]) -> Mapping[int, Row]:
        """What is kept of these pictures; those that are not known or were deleted are left out."""
        found: dict[int, Row] = {}
        for first in range(0, len(media_ids), 500):
            some = media_ids[first : first + 500]
            marks = ",".join("?" * len(some))
            with self._lock, _explained(self.path):
                rows = self._connection.execute(
                    f"SELECT media_id, hash, scale, vector FROM picture WHERE media_id IN ({marks})",  # noqa: S608
                    some,
                ).fetchall()
            found.update((row[0], self._read(row)) for row in rows if row[3] is not None)
        return found

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _row(self, one: Features, change: int) -> tuple[object, ...]:
        if one.vector is None:
            return one.media_id, change, None, None, None
        if one.vector.shape != (self.dimensions,) or not np.isfinite(one.vector).all():
            raise VectorError(
                f"the vector of medium {one.media_id} has {one.vector.size} numbers, and {self.dimensions} that are "
                "finite are kept: it is another model's"
            )
        scale = float(np.abs(one.vector).max()) / 127 or 1.0
        kept = np.rint(one.vector / scale).astype(np.int8)
        signed = one.hash - 2**64 if one.hash >= 2**63 else one.hash
        return one.media_id, change, signed, scale, kept.tobytes()

    def _read(self, row: tuple[int, int | None, float | None, bytes | None]) -> Row:
        media_id, signed, scale, blob = row
        if blob is None or signed is None or scale is None:
            return Row(media_id, 0, 0.0, None)
        kept = np.frombuffer(blob, np.int8)
        if len(kept) != self.dimensions:
            raise VectorError(f"{self.path} is damaged: delete it, and `engine retag` makes it anew")
        return Row(media_id, signed % 2**64, scale, kept)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise VectorError(f"the file of vectors {path} cannot be used: {error}") from error
