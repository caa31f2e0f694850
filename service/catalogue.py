"""The catalogue: the pictures in a library folder. Each has an id that never changes and is never given again."""

import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from engine.pictures.sniff import CONTENT_TYPES
from service.database import Database, library, media
from service.errors import ServiceError

SETTLE_SECONDS = 2.0
"""A new file that changed less than this ago may not be complete yet: a rescan leaves it for the next one."""

_JUNCTION = 0xA0000003  # Windows' IO_REPARSE_TAG_MOUNT_POINT: a folder that leads elsewhere without being a symlink
_UNSENDABLE = re.compile("[\ud800-\udfff\\\\]")  # lone surrogates (a name that is not UTF-8), backslash

_turn = update(media).where(media.c.path == bindparam("of")).values(present=bindparam("now"))
_renew = update(media).where(media.c.path == bindparam("of")).values(size=bindparam("s"), changed=bindparam("c"))
_log = logging.getLogger(__name__)


class Listed(NamedTuple):
    """A picture of the catalogue.

    Attributes:
        path: below the library, with slashes.
        version: another one when the file is another, or when somebody asked to tag the picture again.
    """

    id: int
    path: str
    version: str


class _File(NamedTuple):
    """Size in bytes and modification time in ns of a file."""

    size: int
    changed: int


class Catalogue:
    """The library folder, mirrored in the `media` table."""

    def __init__(self, database: Database, library: Path) -> None:
        """Raises ServiceError if `library` is not a folder."""
        self.check(library)
        self.root = library.resolve()
        self._database = database

    @staticmethod
    def check(library: Path) -> None:
        """Raises ServiceError if `library` is not a folder. Can be called before there is a database."""
        if not library.exists():
            raise ServiceError(f"the library folder {library} does not exist")
        if not library.is_dir():
            raise ServiceError(f"the library {library} is a file: give the folder that holds the pictures")

    def scan(self, settle_seconds: float = 0.0) -> int:
        """Brings the table up to date: new files get new ids, vanished and returned ones are marked so.

        Returns the number of pictures present. New and replaced files that changed less than `settle_seconds` ago are
        left as they were. Raises ServiceError, and changes nothing, if the folder cannot be listed (a network share
        that is away).
        """
        newest = time.time_ns() - int(settle_seconds * 1e9) if settle_seconds else None
        try:
            found = dict(_pictures(self.root))
        except OSError as error:
            raise ServiceError(f"the library folder {self.root} cannot be read: {error.strerror}") from error
        with self._database.writing() as connection:
            rows = connection.execute(select(media.c.path, media.c.present, media.c.size, media.c.changed))
            known = {row.path: (row.present, _File(row.size, row.changed)) for row in rows}
            settled = {p: file for p, file in found.items() if newest is None or file.changed <= newest}
            new = [
                {"path": path, "present": True, "size": settled[path].size, "changed": settled[path].changed}
                for path in sorted(settled.keys() - known.keys())
            ]
            if new:
                connection.execute(insert(media).on_conflict_do_nothing(), new)
            turned = [{"of": p, "now": p in found} for p, (present, _) in known.items() if present != (p in found)]
            if turned:
                connection.execute(_turn, turned)
            replaced = [
                {"of": p, "s": file.size, "c": file.changed}
                for p, file in settled.items()
                if p in known and known[p][1] != file
            ]
            if replaced:
                connection.execute(_renew, replaced)
            root = str(self.root)
            connection.execute(update(library).where(library.c.root.is_distinct_from(root)).values(root=root))
        return self.count()

    def tag_again(self, media_id: int) -> bool:
        """Give a picture another version, so that the engine tags it once more; False if it is not there."""
        asked = update(media).where(media.c.id == media_id, media.c.present).values(requests=media.c.requests + 1)
        with self._database.writing() as connection:
            return connection.execute(asked).rowcount > 0

    def count(self) -> int:
        """The number of pictures present."""
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).where(media.c.present)).scalar_one()

    def segment(self, start: int, limit: int) -> list[Listed]:
        """At most `limit` present pictures with id >= start, ascending."""
        rows = select(media).where(media.c.present, media.c.id >= start).order_by(media.c.id).limit(limit)
        with self._database.reading() as connection:
            return [
                Listed(row.id, row.path, f"{row.size}-{row.changed}-{row.requests}") for row in connection.execute(rows)
            ]

    def locate(self, media_id: int) -> Path | None:
        """The picture's file, or None if there is no such id, no such file, or it now lies outside the library."""
        with self._database.reading() as connection:
            path = connection.execute(select(media.c.path).where(media.c.id == media_id)).scalar_one_or_none()
        return None if path is None else self.resolve(path)

    def resolve(self, path: str) -> Path | None:
        """The file behind a catalogued path, or None if it is missing or a link now leads out of the library."""
        try:
            file = (self.root / path).resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        return file if file.is_relative_to(self.root) and file.is_file() else None


def _pictures(root: Path) -> Iterator[tuple[str, _File]]:
    """(posix-relative path, file) of every picture; only an unreadable root raises."""
    folders = [root]
    while folders:
        for entry in _listing(folders.pop(), root):
            try:
                if entry.is_dir(follow_symlinks=False):
                    if not _is_junction(entry):
                        folders.append(Path(entry.path))
                elif _is_picture(entry, root):
                    status = entry.stat()
                    yield Path(entry.path).relative_to(root).as_posix(), _File(status.st_size, status.st_mtime_ns)
            except OSError as error:  # it vanished after it was listed
                _log.info("%r is passed over: %s", entry.path, error.strerror)


def _listing(folder: Path, root: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, without hidden ones (file managers' thumbnails) and those whose name cannot be sent."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and _can_travel(entry)]
    except OSError as error:
        if folder == root:
            raise
        _log.warning("folder %r is passed over: %s", str(folder), error.strerror)
        return []


def _is_picture(entry: os.DirEntry[str], root: Path) -> bool:
    if Path(entry.name).suffix.lower() not in CONTENT_TYPES or not entry.is_file():
        return False
    return not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)


def _is_junction(entry: os.DirEntry[str]) -> bool:
    return getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0) == getattr(
        stat, "IO_REPARSE_TAG_MOUNT_POINT", _JUNCTION
    )


def _can_travel(entry: os.DirEntry[str]) -> bool:
    """Whether a storageUrl can carry this name: JSON needs Unicode, and the contract reads a backslash as a slash."""
    travels = not _UNSENDABLE.search(entry.name)
    if not travels:
        _log.warning("%r is passed over: the media API cannot carry its name; rename it", entry.path)
    return travels
