"""The state file as anyone may read it: its tables, its errors, and a view that never writes and never locks."""

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from engine.errors import LedgerError
from engine.types import FileState, Media, Outcome, Record

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE media (
    id INTEGER PRIMARY KEY,
    wire_id TEXT NOT NULL,            -- JSON: the id as the API wrote it
    storage_url TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    file_size INTEGER,                -- of the file that failed, to notice that it was replaced
    file_time REAL,
    changed REAL NOT NULL             -- Unix time of the last change of outcome
);
CREATE INDEX media_by_outcome ON media (outcome);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    media_id INTEGER NOT NULL UNIQUE REFERENCES media (id),
    records TEXT NOT NULL,            -- JSON: [[tag, similarity], ...] in posting order
    sent INTEGER NOT NULL DEFAULT 0   -- how many of them the API has answered (single mode)
);
CREATE TABLE refused (                -- single records the API gave a reason against
    media_id INTEGER NOT NULL, tag TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (media_id, tag)
);
"""


class OutboxItem(NamedTuple):
    """A medium whose records wait for the API; the first `sent` of them are already answered."""

    seq: int
    media: Media
    records: tuple[Record, ...]
    sent: int


class LedgerView:
    """Reads a state file, beside a run that may be writing it. Raises `LedgerError`; never makes the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_lock = threading.Lock()
        if not path.is_file():
            raise LedgerError(f"there is no state file {path}: `engine run` makes it; --state says where")
        with explained(path):
            self._reader = connect(path)
            check_version(path, self._reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._read_lock:
            self._reader.close()

    def meta(self, key: str) -> str | None:
        rows = self._read("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def find(self, ids: Iterable[int]) -> dict[int, tuple[str, Outcome]]:
        """The storageUrl and outcome of the media that are known, by id."""
        wanted = list(ids)
        marks = ",".join("?" * len(wanted))
        rows = self._read(f"SELECT id, storage_url, outcome FROM media WHERE id IN ({marks})", wanted)  # noqa: S608
        return {row[0]: (row[1], Outcome(row[2])) for row in rows}

    def failed(self, after: int = -1, limit: int = 500) -> list[tuple[Media, FileState | None]]:
        """Failed media with id > after, ascending, with the state of the file that failed, if there was one."""
        rows = self._read(
            "SELECT id, storage_url, wire_id, file_size, file_time FROM media "
            "WHERE outcome = 'failed' AND id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
        return [(_media(r), FileState(r[3], r[4]) if r[3] is not None else None) for r in rows]

    def outbox(self, after: int, limit: int) -> list[OutboxItem]:
        """Media whose records wait for the API, in the order they were tagged, with seq > after."""
        rows = self._read(
            "SELECT m.id, m.storage_url, m.wire_id, o.seq, o.records, o.sent FROM outbox o "
            "JOIN media m ON m.id = o.media_id WHERE o.seq > ? ORDER BY o.seq LIMIT ?",
            (after, limit),
        )
        return [OutboxItem(r[3], _media(r), tuple(Record(*pair) for pair in json.loads(r[4])), r[5]) for r in rows]

    def counts(self) -> dict[Outcome, int]:
        """How many media stand at each outcome; outcomes without media are there with 0."""
        rows = dict(self._read("SELECT outcome, count(*) FROM media GROUP BY outcome", ()))
        return {outcome: rows.get(outcome.value, 0) for outcome in Outcome}

    def reasons(self, outcome: Outcome, limit: int = 10) -> list[tuple[int, str, str]]:
        """(id, storageUrl, reason) of the latest media at this outcome."""
        return self._read(
            "SELECT id, storage_url, coalesce(reason, '') FROM media WHERE outcome = ? "
            "ORDER BY changed DESC, id LIMIT ?",
            (outcome, limit),
        )

    def _read(self, sql: str, values: Sequence[object]) -> list[tuple]:  # type: ignore[type-arg]
        with self._read_lock, explained(self.path):
            return self._reader.execute(sql, values).fetchall()


def connect(path: Path) -> sqlite3.Connection:
    """Open the file for use by one thread at a time; transactions are begun and ended by hand."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def create(path: Path) -> None:
    """Make the tables, unless they are there."""
    connection = connect(path)
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0]:
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))
    finally:
        connection.close()


def check_version(path: Path, connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the state file {path} was written by a newer engine (version {version}, this one knows "
            f"{SCHEMA_VERSION}): update the engine, or give another file with --state"
        )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into the sentence for the user."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(path, error) from error
    except OSError as error:
        raise LedgerError(
            f"the state file {path} cannot be used: {error.strerror}; give another with --state"
        ) from error


def explain(path: Path, error: sqlite3.Error) -> LedgerError:
    """The sentence for what SQLite says about a state file."""
    text = str(error).lower()
    if "full" in text:
        return LedgerError(f"the disk that holds the state file {path} is full: make room, then run the same command")
    if "readonly" in text or "unable to open" in text:
        return LedgerError(f"the state file {path} cannot be written: check its folder, or give another with --state")
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return LedgerError(
            f"the state file {path} is damaged ({error}): move it away and run again; "
            "all media are then tagged anew, which the API takes as repeats"
        )
    if "locked" in text:
        return LedgerError(f"the state file {path} is in use by another program ({error})")
    return LedgerError(f"the state file {path} cannot be used: {error}")


def _media(row: Sequence[object]) -> Media:
    """A medium from the columns id, storage_url, wire_id."""
    return Media(id=row[0], storage_url=row[1], wire_id=json.loads(str(row[2])))  # type: ignore[arg-type]
