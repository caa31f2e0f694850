"""The state file as anyone may read it: its tables, its errors, and a view that never writes and never locks."""

import json
import math
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self, TypeVar
from urllib.parse import quote

from engine.errors import LedgerError
from engine.ledger.kept import JUDGED, PAGE, TAGGED_WITHOUT, Judged, Scorer, read_scorer
from engine.types import Entry, FileState, Media, Outcome

MIGRATIONS = (
    # From version 0, an empty file, to 1; a change of the tables is one more script here, and none of these is changed.
    """
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
INSERT INTO meta VALUES ('identity', lower(hex(randomblob(16))));
""",
    # To 2: several sinks, each with entries of its own. Until then there was one, the media API.
    """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    media_id INTEGER NOT NULL REFERENCES media (id),
    entry BLOB NOT NULL,              -- in the sink's own form; the media API's is a line a tag
    sent INTEGER NOT NULL DEFAULT 0,  -- how many of its records the API has answered (single mode)
    UNIQUE (media_id, sink)
);
INSERT INTO entries (seq, sink, media_id, entry, sent) SELECT seq, 'media API', media_id, records, sent FROM outbox;
DROP TABLE outbox;
ALTER TABLE entries RENAME TO outbox;
CREATE INDEX outbox_by_sink ON outbox (sink, seq);
""",
    # To 3: at how many deaths of the process a medium was being decoded.
    """
CREATE TABLE deaths (media_id INTEGER PRIMARY KEY REFERENCES media (id), count INTEGER NOT NULL);
""",
    # To 4: the version of the file that the catalogue told, to notice that it was replaced.
    "ALTER TABLE media ADD COLUMN version TEXT",
    # To 5: scores below the threshold too, so that it can change without the pictures; and thresholds of single tags.
    """
CREATE TABLE scorer (                 -- a model whose scores are kept
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    tags_sha256 TEXT NOT NULL,
    tags TEXT NOT NULL,               -- JSON: [[tag, category], ...] in the model's order
    floor REAL NOT NULL,              -- all scores of at least this are kept
    UNIQUE (sha256, tags_sha256)
);
CREATE TABLE score (
    media_id INTEGER NOT NULL REFERENCES media (id),
    scorer_id INTEGER NOT NULL,
    kept BLOB NOT NULL,               -- of engine/scores.py
    PRIMARY KEY (media_id, scorer_id)
);
CREATE TABLE given (                  -- tags that the media API has of a medium, or will when the outbox is empty
    media_id INTEGER PRIMARY KEY REFERENCES media (id),
    tags BLOB NOT NULL                -- their numbers, ascending
);
INSERT INTO meta SELECT 'tag thresholds', '' FROM meta WHERE key = 'threshold';
""",
)
SCHEMA_VERSION = len(MIGRATIONS)

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}  # a sweep looks up each medium: a call of Outcome is dear
T = TypeVar("T")


class OutboxItem(NamedTuple):
    """What one sink has still to take of one medium; the first `sent` records of it have arrived already."""

    seq: int
    media: Media
    entry: Entry
    sent: int


class Known(NamedTuple):
    """What the ledger knows of one medium."""

    storage_url: str
    outcome: Outcome
    version: str | None

    def is_other_file(self, media: Media) -> bool:
        """Whether the catalogue tells of another file now, or of another place for one that failed.

        Where it tells the version, that alone says what is another file: one that was moved keeps it.
        """
        elsewhere = self.storage_url != media.storage_url
        if self.version is not None and media.version is not None:
            return self.version != media.version or (elsewhere and self.outcome is Outcome.FAILED)
        return elsewhere


class LedgerView:
    """Reads a state file, beside a run that may be writing it. Raises `LedgerError`; never makes the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_lock = threading.Lock()
        must_exist(path)
        with explained(path):
            self._reader = connect_to_read(path)
            try:
                check_version(path, self._reader)
            except BaseException:
                self._reader.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._read_lock:
            self._reader.close()

    def meta(self, key: str) -> str | None:
        rows = self._read("SELECT value FROM meta WHERE key = ?", (key,), str)
        return rows[0] if rows else None

    def models(self) -> tuple[str, ...]:
        """The names of the models that gave tags to this ledger's media, in order: the last one is in use."""
        try:
            return tuple(json.loads(self.meta("models") or "[]"))
        except (ValueError, TypeError) as error:
            raise damaged(self.path, error) from error

    def find(self, ids: Iterable[int]) -> dict[int, Known]:
        """The media that are known, by id."""
        return dict(
            self._read(
                "SELECT id, storage_url, outcome, version FROM media WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(ids)),),  # a list of parameters would be limited, and a service's page is not
                lambda number, url, outcome, version: (
                    number,
                    Known(url, _OUTCOMES.get(outcome) or Outcome(outcome), version),
                ),
            )
        )

    def failed_media(
        self, after: int = -1, limit: int = 500, before: float = math.inf
    ) -> list[tuple[Media, FileState | None]]:
        """Media that failed before a Unix time, with id > after, ascending; and the state of the file, if there was
        one."""
        return self._read(
            "SELECT id, storage_url, wire_id, file_size, file_time FROM media "
            "WHERE outcome = 'failed' AND id > ? AND changed < ? ORDER BY id LIMIT ?",
            (after, before, limit),
            lambda i, url, wire, size, time: (_media(i, url, wire), None if size is None else FileState(size, time)),
        )

    def settled(self, start: int = 0, but: Collection[Outcome] = ()) -> int:
        """How many media with id >= start are at an outcome that is not to be tagged: neither pending nor in `but`."""
        return self._read(
            "SELECT count(*) FROM media WHERE id >= ? AND outcome NOT IN (SELECT value FROM json_each(?))",
            (start, json.dumps([Outcome.PENDING, *but])),
            int,
        )[0]

    def outbox(self, sink: str, after: int, limit: int) -> list[OutboxItem]:
        """What waits for this sink, in the order it was tagged, with seq > after."""
        return self._read(
            "SELECT m.id, m.storage_url, m.wire_id, o.seq, o.entry, o.sent FROM outbox o "
            "JOIN media m ON m.id = o.media_id WHERE o.sink = ? AND o.seq > ? ORDER BY o.seq LIMIT ?",
            (sink, after, limit),
            lambda i, url, wire, seq, entry, sent: OutboxItem(seq, _media(i, url, wire), entry, sent),
        )

    def outbox_sample(self, sink: str, count: int, without: Iterable[int]) -> list[OutboxItem]:
        """Up to `count` entries of this sink from as many parts of the outbox, each the first of its part.

        `without`: sequence numbers that are passed over.
        """
        return self._read(
            "SELECT m.id, m.storage_url, m.wire_id, o.seq, o.entry, o.sent FROM outbox o "
            "JOIN media m ON m.id = o.media_id WHERE o.seq IN (SELECT min(seq) FROM ("
            "SELECT seq, ntile(?) OVER (ORDER BY seq) AS part FROM outbox "
            "WHERE sink = ? AND seq NOT IN (SELECT value FROM json_each(?))) GROUP BY part) ORDER BY o.seq",
            (count, sink, json.dumps(list(without))),
            lambda i, url, wire, seq, entry, sent: OutboxItem(seq, _media(i, url, wire), entry, sent),
        )

    def in_outbox(self) -> int:
        """How many media have something in the outbox."""
        return self._read("SELECT count(DISTINCT media_id) FROM outbox", (), int)[0]

    def counts(self) -> dict[Outcome, int]:
        """How many media stand at each outcome; outcomes without media are there with 0."""
        rows = self._read(
            "SELECT outcome, count(*) FROM media GROUP BY outcome", (), lambda name, count: (Outcome(name), count)
        )
        return dict.fromkeys(Outcome, 0) | dict(rows)

    def listed(self) -> float | None:
        """When the whole catalogue was last listed, in Unix time; None if it never was."""
        text = self.meta("listed")
        try:
            return None if text is None else datetime.fromtimestamp(float(text)).timestamp()
        except (ValueError, OverflowError, OSError):
            raise damaged(self.path, f"{text!r} is no time") from None

    def reasons(self, outcome: Outcome, limit: int = 10) -> list[tuple[int, str, str]]:
        """(id, storageUrl, reason) of the latest media at this outcome."""
        return self._read(
            "SELECT id, storage_url, coalesce(reason, '') FROM media WHERE outcome = ? "
            "ORDER BY changed DESC, id LIMIT ?",
            (outcome, limit),
            lambda number, url, reason: (number, url, reason),
        )

    def refused(self, limit: int = 10) -> list[tuple[int, str, str]]:
        """(id, tag, reason) of single records that the API gave up on, while the rest of the medium was stored."""
        return self._read(
            "SELECT media_id, tag, reason FROM refused ORDER BY media_id, tag LIMIT ?", (limit,), lambda *row: row
        )

    def count_refused(self) -> int:
        """How many single records the API gave up on."""
        return self._read("SELECT count(*) FROM refused", (), int)[0]

    def scorers(self) -> list[Scorer]:
        """The models of which scores are kept, in the order in which they came."""
        return self._read("SELECT id, name, sha256, tags_sha256, tags, floor FROM scorer ORDER BY id", (), read_scorer)

    def scored(self, scorer: Scorer) -> Iterator[list[tuple[int, str, bytes]]]:
        """What is kept of this model's scores, ascending by id, a page at a time: (id, storageUrl, blob)."""
        after = -1
        while page := self._read(
            "SELECT m.id, m.storage_url, s.kept FROM media m JOIN score s ON s.media_id = m.id AND s.scorer_id = ? "
            "WHERE m.id > ? ORDER BY m.id LIMIT ?",
            (scorer.id, after, PAGE),
            lambda *row: row,
        ):
            yield page
            after = page[-1][0]

    def judged(self, scorer: Scorer, sink: str) -> Iterator[list[Judged]]:
        """The media whose tags are given and whose scores of this model are kept, a page at a time."""
        after = -1
        while page := self._read(JUDGED, (scorer.id, sink, after, PAGE), Judged):
            yield page
            after = page[-1].media_id

    def without_scores(self, scorer: Scorer) -> int:
        """How many media were tagged and have no scores of this model."""
        return self._read(f"SELECT count(*) {TAGGED_WITHOUT}", (scorer.id,), int)[0]

    def _read(self, sql: str, values: Sequence[object], shape: Callable[..., T]) -> list[T]:
        """The rows, each as `shape` makes it of its columns; a row that `shape` cannot read means a damaged file."""
        try:
            with self._read_lock, explained(self.path):
                rows = self._reader.execute(sql, values).fetchall()
            return [shape(*row) for row in rows]
        except (ValueError, TypeError) as error:
            raise damaged(self.path, error) from error


def must_exist(path: Path) -> None:
    """Raises `LedgerError` where there is no state file, for commands that do not make one."""
    if not path.is_file():
        raise LedgerError(f"there is no state file {path}: `engine run` makes it; --state says where")


def connect(path: Path) -> sqlite3.Connection:
    """Open the file for use by one thread at a time; transactions are begun and ended by hand."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """The same for reading alone, in a folder that takes no files too: there SQLite cannot make those of its log."""
    connection = connect(path)
    try:
        _version(connection)
    except sqlite3.OperationalError as error:
        connection.close()
        if not _is_not_writable(error):
            raise
        log = path.with_name(path.name + "-wal")
        in_use = log.exists() and log.stat().st_size > 0  # then its files are there; else the file alone is all
        name = quote(path.absolute().as_posix())
        address = f"file://{'' if name.startswith('/') else '/'}{name}?{'mode=ro' if in_use else 'immutable=1'}"
        connection = sqlite3.connect(address, timeout=10, isolation_level=None, check_same_thread=False, uri=True)
    return connection


def create(path: Path) -> None:
    """Make the tables, or bring those of an older engine up to date: a transaction a version."""
    connection = connect(path)
    try:
        version = _version(connection)
        if version == 0:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise LedgerError(f"{path} is a database of another program: give another file with --state")
            connection.execute("PRAGMA journal_mode = WAL")
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
    finally:
        connection.close()


def check_version(path: Path, connection: sqlite3.Connection) -> None:
    """Raises `LedgerError` for a file whose tables are not those that this engine knows."""
    version = _version(connection)
    if version < SCHEMA_VERSION:
        raise LedgerError(
            f"the state file {path} was written by an older engine (version {version}, this one's is "
            f"{SCHEMA_VERSION}): `engine run` and `engine deliver` bring it up to date"
        )
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


def explain(path: Path, error: Exception) -> LedgerError:
    """The sentence for what SQLite, or Python's way to it, says about a state file."""
    text = str(error).lower()
    if "full" in text:
        return LedgerError(f"the disk that holds the state file {path} is full: make room, then run the same command")
    if _is_not_writable(error):
        return LedgerError(f"the state file {path} cannot be written: check its folder, or give another with --state")
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return damaged(path, error)
    if "i/o" in text:
        return LedgerError(
            f"the disk that holds the state file {path} fails ({error}): see to it, then run the same command"
        )
    if "locked" in text:
        return LedgerError(f"the state file {path} is in use by another program ({error})")
    return LedgerError(f"the state file {path} cannot be used: {error}")


def _is_not_writable(error: Exception) -> bool:
    text = str(error).lower()
    return "readonly" in text or "unable to open" in text


def damaged(path: Path, error: Exception | str) -> LedgerError:
    """The sentence for a file that holds what no engine writes."""
    return LedgerError(
        f"the state file {path} is damaged ({error}): move it away and run again; "
        "all media are then tagged anew and posted again (in bulk a repeat changes nothing; a service that has only "
        "the single call may store records twice)"
    )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _media(number: int, storage_url: str, wire_id: str) -> Media:
    return Media(number, storage_url, json.loads(wire_id))
