"""The service's SQLite file: its tables, and how it is opened.

WAL lets the page read while the engine writes. `synchronous=FULL` makes each commit survive a power cut: after the
answer the engine deletes its copy of the records. Writers of this process queue on a Python lock; SQLite's own waiting
is slow and unfair, and serves only against other processes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from os.path import normcase
from pathlib import Path
from typing import Any
from uuid import uuid4

from platformdirs import user_data_path
from sqlalchemy import (
    URL,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.exc import DBAPIError

from engine.files import make_private
from service.errors import ServiceError

SCHEMA_VERSION = 2

metadata = MetaData()

media = Table(
    "media",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False, unique=True),  # posix-relative to the library: the contract's storageUrl
    Column("present", Boolean, nullable=False),  # false: the file has vanished; its id and tags are kept
    Column("size", Integer),  # bytes, of the file as it was last seen; null: not since this was kept
    Column("changed", Integer),  # its modification time, ns
    Column("requests", Integer, nullable=False, server_default="0"),  # how often somebody asked to tag it again
    sqlite_autoincrement=True,  # an id is never given twice
)
Index("media_vanished", media.c.id, sqlite_where=~media.c.present)

tag = Table(
    "tag",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("category", Text, nullable=False),
)

model = Table(
    "model",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

media_tag = Table(
    "media_tag",
    metadata,
    Column("media_id", ForeignKey(media.c.id), primary_key=True),
    Column("tag_id", ForeignKey(tag.c.id), primary_key=True),
    Column("similarity", Float, nullable=False),
    Column("model_id", ForeignKey(model.c.id)),  # which one gave it; null: it came by a call that does not say
    Index("media_tag_by_tag", "tag_id", "media_id", "similarity"),
    sqlite_with_rowid=False,
)


library = Table(  # one row
    "library",
    metadata,
    Column("identity", Text, nullable=False),  # of this database, whatever it and the folder are called
    Column("root", Text),  # where the folder was when it was last looked through
)

_MIGRATIONS = {
    # From version 1.
    2: (
        "ALTER TABLE media ADD COLUMN size INTEGER",
        "ALTER TABLE media ADD COLUMN changed INTEGER",
        "ALTER TABLE media ADD COLUMN requests INTEGER NOT NULL DEFAULT 0",
        "CREATE TABLE model (id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        "ALTER TABLE media_tag ADD COLUMN model_id INTEGER REFERENCES model (id)",
        "CREATE TABLE library (identity TEXT NOT NULL, root TEXT)",
    ),
}


def default_path(folder: Path) -> Path:
    """A library's database by default: in the user's data folder, because the library may be on a network share."""
    digest = sha256(normcase(str(folder.resolve())).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return user_data_path("deepdanbooru-engine", appauthor=False) / "libraries" / f"{digest}.db"


class Database:
    """An open database; `reading()` and `writing()` give a connection in a transaction.

    Attributes:
        identity: of the library, for the engine's ledger; it stays when folder and database are renamed.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it and its folder.

        Raises:
            ServiceError: the file is no database of this service, comes from a newer version, or cannot be written.
        """
        self.path = path
        self._engine = _connect(path)
        self._write_lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            make_private(path)
            with self.writing() as connection:
                _migrate(connection, path)
                self.identity: str = connection.execute(select(library.c.identity)).scalar_one()
        except (OSError, DBAPIError) as error:
            self.close()
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise ServiceError(f"cannot use the database {path}: {reason}; choose another with --db") from error
        except ServiceError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database throughout."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The one writing connection of this process; commits at the end, rolls back on an exception."""
        with self._write_lock, self._engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()


def _connect(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": 30, "isolation_level": None},  # None: not the driver but `begin` starts transactions
        pool_size=8,
        max_overflow=64,  # more than the server's threads, so that no request waits for a connection
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own signature
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Writers begin with BEGIN IMMEDIATE: a transaction that reads first and then writes fails at once if another
        # process wrote in between.
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _migrate(connection: Connection, path: Path) -> None:
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > SCHEMA_VERSION:
        raise ServiceError(
            f"the database {path} was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION}): "
            "update the engine or choose another file with --db"
        )
    if version == 0:
        if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one():
            raise ServiceError(f"{path} is another program's database: choose another file with --db")
        metadata.create_all(connection)
    else:
        for newer in range(version + 1, SCHEMA_VERSION + 1):
            for statement in _MIGRATIONS[newer]:
                connection.exec_driver_sql(statement)
    if version < SCHEMA_VERSION:
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
    if not connection.execute(select(library.c.identity)).first():
        connection.execute(insert(library).values(identity=uuid4().hex))
