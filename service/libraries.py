"""Which database belongs to a library's folder, and how it follows when the folder is moved."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from engine.errors import ConfigError
from service.catalogue import Catalogue
from service.database import default_path
from service.errors import ServiceError

_SAMPLE = 100
"""Pictures that are looked for, to tell whether a folder is the library of a database."""
_BESIDE = (".token", ".password", ".thumbs.db", ".ledger.vectors.db", ".ledger.db", ".tags.db", ".db")
"""What is kept of a library, by suffix; the tags go last, for without them nothing is kept."""


def ledger_of(database: Path) -> Path:
    """The state file of the runs on a library."""
    return database.with_suffix(".ledger.db")


def database_of(folder: Path, db: Path | None = None) -> Path:
    """The database file of a library: the one that is named, or the folder's own in the user's data folder.

    Raises ServiceError if there is none yet, but one of a folder that is gone and held the same pictures. It was moved,
    and to begin anew in silence would look as if its tags were lost.
    """
    path = db or default_path(folder)
    if db is None and not path.exists() and (former := _moved_from(folder, path.parent)):
        raise ServiceError(
            f"{folder} seems to be the library {former}, which is not there any more: "
            f'`engine move "{former}" "{folder}"` takes its tags along; to begin anew, name a database with --db'
        )
    return path


def present(database: Path, media_ids: Iterable[int]) -> dict[int, str]:
    """The paths of those of these pictures that are in the library, as it was last looked at.

    Raises ConfigError if the database cannot be read.
    """
    sql = "SELECT id, path FROM media WHERE present AND id IN (SELECT value FROM json_each(?))"
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return dict(connection.execute(sql, (json.dumps(list(media_ids)),)).fetchall())
    except sqlite3.Error as error:
        raise ConfigError(f"the library's database {database} cannot be read: {error}") from None


def move(old: Path, new: Path) -> Path:
    """Let what is kept of the library that was at `old` belong to the folder `new`; the database's new path.

    A move that was broken off is ended by the same call. Raises ServiceError if there is nothing to move, if something
    is kept for `new` already, and while a program works on it.
    """
    Catalogue.check(new)
    source, target = default_path(old), default_path(new)
    if not source.is_file():
        raise ServiceError(f"no tags are kept for a library {old}: give its path as it was before")
    moving = [
        (source.with_suffix(suffix), target.with_suffix(suffix))
        for suffix in _BESIDE
        if source.with_suffix(suffix).is_file()
    ]
    for _, there in moving:
        if there.exists():
            raise ServiceError(f"{new} has tags of its own in {there}: move that file away first")
    databases = [pair for pair in moving if pair[0].suffix == ".db"]
    try:
        for here, _ in databases:
            _journal(here, "DELETE")  # all of it in one file that can be renamed; it fails while somebody works on it
        for here, there in moving:
            here.rename(there)
    except (OSError, sqlite3.Error) as error:
        raise ServiceError(
            f"what is kept of {old} cannot be moved ({error}): end what works on that library, then move it again"
        ) from error
    finally:
        for path in (path for pair in databases for path in pair if path.exists()):
            with suppress(sqlite3.Error):
                _journal(path, "WAL")
    return target


def _journal(path: Path, mode: str) -> None:
    with closing(sqlite3.connect(path, timeout=1)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}").fetchall()


def _moved_from(folder: Path, kept: Path) -> str | None:
    """The former path of a library that is gone from there and held at least half of its pictures as `folder` does."""
    for path in sorted(kept.glob("*.db")):
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                [(root,)] = connection.execute("SELECT root FROM library").fetchall()
                sample = connection.execute(
                    "SELECT path FROM media WHERE present ORDER BY random() LIMIT ?", (_SAMPLE,)
                ).fetchall()
        except (sqlite3.Error, ValueError):  # a ledger, or of another version
            continue
        if root and sample and not Path(root).is_dir():
            there = sum((folder / name).is_file() for (name,) in sample)
            if 2 * there >= len(sample):
                return str(root)
    return None
