"""The service's SQLite file: its tables, and how it is opened.

WAL lets the page read while the engine writes. `synchronous=FULL` makes each commit survive a power cut: after the
answer the engine deletes its copy of the records. Writers of this process queue on a Python lock; SQLite's own waiting
is slow and unfair, and serves only against other processes.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import groupby
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
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    create_engine,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from engine.files import make_private
from service.errors import ServiceError
from service.opinions import pack

SCHEMA_VERSION = 5

metadata = MetaData()

media = Table(
    "media",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False, unique=True),  # posix-relative to the library: the contract's storageUrl
    Column("present", Boolean, nullable=False),  # false: the file has vanished; its id and tags are kept
    Column("size", Integer),  # bytes, of the file as it was last seen; null: not since this was kept
    Column("changed", Integer),  # its modification time, ns
    Column("content", LargeBinary),  # its SHA-256, by which it is known again when it is moved; null: it was not read
    Column("requests", Integer, nullable=False, server_default="0"),  # how often somebody asked to tag it again
    Column("revision", Integer, nullable=False, server_default="0"),  # of the library, when this was last changed
    sqlite_autoincrement=True,  # an id is never given twice
)
Index("media_vanished", media.c.id, sqlite_where=~media.c.present)
Index("media_revision", media.c.revision)

tag = Table(
    "tag",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("category", Text, nullable=False),
    Column("threshold", Float),  # the score from which it counts, as verdicts have shown; null: whatever was stored
)

model = Table(
    "model",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

UNNAMED = ""
"""The model of what came by a call that does not say which gave it."""

opinion = Table(  # what a model scored; a blob a picture and model
    "opinion",
    metadata,
    Column("media_id", ForeignKey(media.c.id), primary_key=True),
    Column("model_id", ForeignKey(model.c.id), primary_key=True),
    Column("tags", LargeBinary, nullable=False),  # opinions.pack
    sqlite_with_rowid=False,
)

edit = Table(  # the journal: what people decided, a row each time
    "edit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Integer, nullable=False),  # ms since 1970
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),  # a sentence
    Column("undoes", ForeignKey("edit.id"), unique=True),  # the edit that this one takes back
    # Whether its pictures were chosen for what a model scored, and nothing else: then they stand for the others.
    Column("sampled", Boolean, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

verdict = Table(  # what a person said of a picture and a tag
    "verdict",
    metadata,
    Column("media_id", ForeignKey(media.c.id), primary_key=True),
    Column("tag_id", ForeignKey(tag.c.id), primary_key=True),
    Column("yes", Boolean, nullable=False),
    Column("edit_id", ForeignKey(edit.c.id), nullable=False),
    Index("verdict_by_tag", "tag_id", "media_id"),
    sqlite_with_rowid=False,
)

change = Table(  # of a verdict, by an edit; null: there is none
    "change",
    metadata,
    Column("edit_id", ForeignKey(edit.c.id), primary_key=True),
    Column("media_id", ForeignKey(media.c.id), primary_key=True),
    Column("tag_id", ForeignKey(tag.c.id), primary_key=True),
    Column("before", Boolean),
    Column("after", Boolean),
    Column("before_edit", Integer),  # the edit that had given the verdict before
    Column("after_edit", Integer),  # the one that gives it now: this one, or, where it undoes, the one before
    Index("change_by_picture", "media_id", "tag_id"),
    sqlite_with_rowid=False,
)

library = Table(  # one row
    "library",
    metadata,
    Column("identity", Text, nullable=False),  # of this database, whatever it and the folder are called
    Column("root", Text),  # where the folder was when it was last looked through
    Column("revision", Integer, nullable=False, server_default="0"),  # one more with each change of media or tags
    Column("tags_revision", Integer, nullable=False, server_default="0"),  # when a category or threshold was changed
)


def touch(connection: Connection, media_ids: Iterable[int] = (), *, tags: bool = False) -> None:
    """Marks what a transaction has changed, so that the index of every process finds it.

    `tags`: the category or the threshold of a tag, which may concern any picture.
    """
    renewed = update(library).values(revision=library.c.revision + 1).returning(library.c.revision)
    revision = connection.execute(renewed).scalar_one()
    changed = [{"medium": media_id, "now": revision} for media_id in media_ids]
    if changed:
        connection.execute(_mark, changed)
    if tags:
        connection.execute(update(library).values(tags_revision=revision))


_mark = update(media).where(media.c.id == bindparam("medium")).values(revision=bindparam("now"))


def _blobs_for_rows(connection: Connection) -> None:
    """From version 2, which kept a row for each tag of a picture."""
    for table in (edit, opinion, verdict, change):
        table.create(connection)
    connection.exec_driver_sql("INSERT OR IGNORE INTO model (name) VALUES (?)", (UNNAMED,))
    unnamed = connection.execute(select(model.c.id).where(model.c.name == UNNAMED)).scalar_one()
    rows = connection.exec_driver_sql(
        f"SELECT media_id, coalesce(model_id, {unnamed:d}), tag_id, similarity FROM media_tag ORDER BY 1, 2"  # noqa: S608
    )
    for (media_id, model_id), group in groupby(rows, key=lambda row: (row[0], row[1])):
        tags = {tag_id: score for _, _, tag_id, score in group}
        connection.execute(insert(opinion).values(media_id=media_id, model_id=model_id, tags=pack(tags)))
    connection.exec_driver_sql("DROP TABLE media_tag")


def _sampled_edits(connection: Connection) -> None:
    """From version 4; where an older one was brought up just now, the table was made with the column."""
    if "sampled" not in {row[1] for row in connection.exec_driver_sql("PRAGMA table_info(edit)")}:
        connection.exec_driver_sql("ALTER TABLE edit ADD COLUMN sampled BOOLEAN NOT NULL DEFAULT 0")


_MIGRATIONS: dict[int, tuple[str | Callable[[Connection], None], ...]] = {
    # From version 1.
    2: (
        "ALTER TABLE media ADD COLUMN size INTEGER",
        "ALTER TABLE media ADD COLUMN changed INTEGER",
        "ALTER TABLE media ADD COLUMN requests INTEGER NOT NULL DEFAULT 0",
        "CREATE TABLE model (id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        "ALTER TABLE media_tag ADD COLUMN model_id INTEGER REFERENCES model (id)",
        "CREATE TABLE library (identity TEXT NOT NULL, root TEXT)",
    ),
    3: (
        "ALTER TABLE media ADD COLUMN revision INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX media_revision ON media (revision)",
        "ALTER TABLE tag ADD COLUMN threshold FLOAT",
        "ALTER TABLE library ADD COLUMN revision INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE library ADD COLUMN tags_revision INTEGER NOT NULL DEFAULT 0",
        _blobs_for_rows,
    ),
    4: ("ALTER TABLE media ADD COLUMN content BLOB",),
    5: (_sampled_edits,),
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
            for step in _MIGRATIONS[newer]:
                if callable(step):
                    step(connection)
                else:
                    connection.exec_driver_sql(step)
    if version < SCHEMA_VERSION:
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
    if not connection.execute(select(library.c.identity)).first():
        connection.execute(insert(library).values(identity=uuid4().hex))
