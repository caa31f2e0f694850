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


class Of(NamedTuple):
    """Whose vectors a file holds: a model by its name and SHA-256, and how long a vector is."""

    name: str
    sha256: str
    dimensions: int


def vectors_of(state: Path) -> Path:
    """The file of vectors that belongs to a state file."""
    return state.with_suffix(".vectors.db")


def kept(features: Features) -> Row:
    """A picture as it is kept. Raises VectorError for a vector with numbers that are not finite."""
    if features.vector is None:
        return Row(features.media_id, 0, 0.0, None)
    if not np.isfinite(features.vector).all():
        raise VectorError(f"the vector of medium {features.media_id} holds numbers that are not finite")
    scale = float(np.abs(features.vector).max()) / 127 or 1.0
    return Row(features.media_id, features.hash, scale, np.rint(features.vector / scale).astype(np.int8))


class VectorStore:
    """The vectors that one model gave to the pictures of one catalogue.

    Attributes:
        of: whose vectors they are.
        dimensions: of a vector.
    """

    def __init__(self, path: Path, of: Of | None = None, *, anew: bool = False) -> None:
        """Opens the file, or makes it.

        Args:
            path: of the file.
            of: whose vectors are to be kept; those of another model cannot be compared, so they are not mixed. None
                takes a file that is there, whosever vectors it holds.
            anew: another model's vectors are forgotten, for all pictures are being tagged again.

        Raises:
            VectorError: it holds another model's vectors, is no such file, or cannot be read or written.
        """
        self.path = path
        self._lock = threading.Lock()
        with _explained(path):
            if of is None and not path.is_file():
                raise VectorError(
                    f"there is no file of vectors {path}: `engine run` makes it, if the model has features"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            make_private(path)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            try:
                self.of = self._begin(of, anew)
            except BaseException:
                self._connection.close()
                raise
        self.dimensions = self.of.dimensions

    def _begin(self, of: Of | None, anew: bool) -> Of:
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        with self._transaction():
            [version] = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise VectorError(f"{self.path} is another program's database: move it away")
                for statement in filter(str.strip, _TABLES.split(";")):
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO model VALUES (?, ?, ?)", of or Of("no model", "", 1))
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise VectorError(f"{self.path} was written by another version of the engine: update it")
            known = Of(*self._connection.execute("SELECT name, sha256, dimensions FROM model").fetchone())
            if of is None or of[1:] == known[1:]:
                return known
            if not anew:
                raise VectorError(
                    f"{self.path} holds the vectors of {known.name}, which cannot be compared with those of {of.name}: "
                    "delete the file, and `engine retag` makes them anew"
                )
            self._connection.execute("DELETE FROM picture")
            self._connection.execute("UPDATE model SET name = ?, sha256 = ?, dimensions = ?", of)
            return of

    def is_still(self) -> bool:
        """Whether the file still holds vectors of the same model: another process may have begun it anew."""
        with self._lock, _explained(self.path):
            found = self._connection.execute("SELECT name, sha256, dimensions FROM model").fetchone()
        return bool(self.of == found)

    def put(self, features: Iterable[Features]) -> None:
        """Keep these in one transaction, in place of what was kept of the same pictures. It is on the disk after."""
        self.put_rows(map(kept, features))

    def put_rows(self, kept_rows: Iterable[Row]) -> None:
        """The same for pictures as they are kept."""
        rows = list(kept_rows)
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

    def count(self) -> int:
        """How many pictures there are or were."""
        with self._lock, _explained(self.path):
            [number] = self._connection.execute("SELECT count(*) FROM picture").fetchone()
        return int(number)

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

    def _row(self, one: Row, change: int) -> tuple[object, ...]:
        if one.kept is None:
            return one.media_id, change, None, None, None
        if len(one.kept) != self.dimensions:
            raise VectorError(
                f"the vector of medium {one.media_id} has {len(one.kept)} numbers, and {self.path} keeps such of "
                f"{self.dimensions}: it is another model's"
            )
        signed = one.hash - 2**64 if one.hash >= 2**63 else one.hash
        return one.media_id, change, signed, one.scale, one.kept.tobytes()

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
