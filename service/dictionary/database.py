"""The dictionary's SQLite file: its tables, and how it is opened.

Only `changes.Change` writes the tables of `ROWS`, for each of its rows is journalled. `reading` and `closure` follow
from them.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.dictionary.errors import DictionaryError

APPLICATION_ID = 0x54414753  # "TAGS": tells the file from another program's
_MIGRATIONS = (
    # Version 1.
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE concept (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        category TEXT NOT NULL,
        count INTEGER NOT NULL,      -- uses in the world
        hidden INTEGER NOT NULL      -- 1: not suggested
    );
    CREATE TABLE name (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        concept INTEGER NOT NULL REFERENCES concept (id),
        text TEXT NOT NULL,
        lang TEXT NOT NULL,
        kind TEXT NOT NULL,
        source TEXT NOT NULL,
        weight REAL NOT NULL,
        folded TEXT NOT NULL,
        words TEXT NOT NULL,
        UNIQUE (concept, text, lang)
    );
    CREATE INDEX name_folded ON name (folded, concept, words);
    CREATE INDEX name_key ON name (text, concept) WHERE kind IN ('key', 'former key', 'community key');
    CREATE TABLE reading (
        text TEXT NOT NULL,
        kind TEXT NOT NULL,
        name INTEGER NOT NULL REFERENCES name (id) ON DELETE CASCADE,
        PRIMARY KEY (text, kind, name)
    ) WITHOUT ROWID;
    CREATE INDEX reading_name ON reading (name);
    CREATE TABLE implies (
        concept INTEGER NOT NULL REFERENCES concept (id),
        broader INTEGER NOT NULL REFERENCES concept (id),
        source TEXT NOT NULL,
        PRIMARY KEY (concept, broader)
    ) WITHOUT ROWID;
    CREATE INDEX implies_broader ON implies (broader);
    CREATE TABLE closure (
        concept INTEGER NOT NULL,
        broader INTEGER NOT NULL,
        PRIMARY KEY (broader, concept)
    ) WITHOUT ROWID;
    CREATE TABLE browse (path TEXT PRIMARY KEY, names TEXT NOT NULL, place INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE member (
        concept INTEGER NOT NULL REFERENCES concept (id),
        path TEXT NOT NULL REFERENCES browse (path),
        source TEXT NOT NULL,
        PRIMARY KEY (concept, path)
    ) WITHOUT ROWID;
    CREATE INDEX member_path ON member (path);
    CREATE TABLE weight (
        concept INTEGER NOT NULL REFERENCES concept (id),
        kind TEXT NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (concept, kind)
    ) WITHOUT ROWID;
    CREATE TABLE qualifier (
        text TEXT PRIMARY KEY,       -- what stands in brackets behind the characters of a series
        concept INTEGER NOT NULL REFERENCES concept (id)
    ) WITHOUT ROWID;
    CREATE INDEX qualifier_concept ON qualifier (concept);
    CREATE TABLE pin (
        concept INTEGER NOT NULL REFERENCES concept (id),
        what TEXT NOT NULL,          -- what a person decided, so that no import changes it
        PRIMARY KEY (concept, what)
    ) WITHOUT ROWID;
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        action TEXT NOT NULL,
        summary TEXT NOT NULL,
        undone_by INTEGER,
        changes BLOB NOT NULL        -- zlib: JSON, a list of [table, key, row before, row after]
    );
    CREATE TABLE touched (
        entry INTEGER NOT NULL REFERENCES journal (id),
        concept INTEGER NOT NULL,
        key TEXT NOT NULL,
        PRIMARY KEY (concept, entry)
    ) WITHOUT ROWID;
    CREATE INDEX touched_entry ON touched (entry);
    """,
)
SCHEMA_VERSION = len(_MIGRATIONS)
ROWS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "concept": (("id",), ("key", "category", "count", "hidden")),
    "name": (("id",), ("concept", "text", "lang", "kind", "source", "weight")),
    "implies": (("concept", "broader"), ("source",)),
    "browse": (("path",), ("names", "place")),
    "member": (("concept", "path"), ("source",)),
    "weight": (("concept", "kind"), ("value",)),
    "qualifier": (("text",), ("concept",)),
    "pin": (("concept", "what"), ()),
}
"""The tables that people and imports change: their key columns and the others."""


def beside(library: Path) -> Path:
    """The dictionary's file of a library, by the library's database file."""
    return library.with_suffix(".tags.db")


class Database:
    """An open file. Threads read side by side, each by a connection of its own; one writes at a time."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        """Opens the file, or makes it and its folder.

        Raises:
            DictionaryError: the file is no dictionary, comes from a newer version, or cannot be written.
        """
        self.path = path
        self.read_only = read_only
        self._threads = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._writing = threading.RLock()
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    with suppress(FileExistsError):
                        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                with self.writing() as connection:
                    _migrate(connection, path)
                self.reading().execute("PRAGMA journal_mode=WAL").close()
            elif self.reading().execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
                raise DictionaryError(f"the dictionary {path} is of another version")
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise DictionaryError(f"cannot use the dictionary {path}: {error}; choose another with --db") from error
        except DictionaryError:
            self.close()
            raise

    def reading(self) -> sqlite3.Connection:
        """This thread's connection for reading."""
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = self._connected()
        return connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction of its own; commits at the end, rolls back on an exception."""
        if self.read_only:
            raise DictionaryError("the shipped dictionary cannot be changed: name a file of your own with --db")
        with self._writing:
            connection = self.reading()
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise DictionaryError(f"the dictionary {self.path} is being changed ({error}): try again") from error
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()
            self._threads = threading.local()

    def _connected(self) -> sqlite3.Connection:
        # The thread that closes all may be another one than that which opened this.
        name = f"{self.path.absolute().as_uri()}?mode={'ro' if self.read_only else 'rw'}"
        connection = sqlite3.connect(name, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
        with self._lock:
            self._open.append(connection)
        if not self.read_only:
            connection.execute("PRAGMA synchronous=FULL").close()
        connection.execute("PRAGMA foreign_keys=ON").close()
        return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    foreign = connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID
    if foreign and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise DictionaryError(f"{path} is no dictionary but another program's database: choose another with --db")
    if version > SCHEMA_VERSION:
        raise DictionaryError(
            f"the dictionary {path} was written by a newer version (schema {version}, not {SCHEMA_VERSION}): "
            "update the engine or choose another file with --db"
        )
    for script in _MIGRATIONS[version:]:
        for statement in script.split(";"):
            if statement.strip():
                connection.execute(statement)
    if version < SCHEMA_VERSION:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
