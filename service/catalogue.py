"""The catalogue: the pictures in a library folder. Each has an id that never changes and is never given again."""

import logging
import math
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from engine.pictures.sniff import CONTENT_TYPES
from service.database import Database, media
from service.errors import ServiceError

SETTLE_SECONDS = 2.0
"""A new file that changed less than this ago may not be complete yet: a rescan leaves it for the next one."""

_JUNCTION = 0xA0000003  # Windows' IO_REPARSE_TAG_MOUNT_POINT: a folder that leads elsewhere without being a symlink
_UNSENDABLE = re.compile("[\ud800-\udfff\\\\]")  # lone surrogates (a name that is not UTF-8), backslash

_turn = update(media).where(media.c.path == bindparam("of")).values(present=bindparam("now"))
_log = logging.getLogger(__name__)


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

        Returns the number of pictures present. New files that changed less than `settle_seconds` ago are left out; only
        new ones are asked for their time, for on a network share each such question is a round trip.
        Raises ServiceError, and changes nothing, if a network share is away: the folder cannot be listed, or it is the
        empty one that a share is mounted on, though pictures were known.
        """
        newest = time.time() - settle_seconds if settle_seconds else None
        try:
            found = dict(_pictures(self.root))
        except OSError as error:
            raise ServiceError(f"the library folder {self.root} cannot be read: {error.strerror}") from error
        with self._database.writing() as connection:
            known = {row.path: row.present for row in connection.execute(select(media.c.path, media.c.present))}
            if not found and any(known.values()) and _is_empty(self.root):
                raise ServiceError(
                    f"the library folder {self.root} is empty, but {sum(known.values())} pictures were in it: is its "
                    "share mounted? If they were deleted on purpose, put any file into the folder"
                )
            new = sorted(p for p in found.keys() - known.keys() if newest is None or _changed(found[p]) <= newest)
            if new:
                rows = [{"path": path, "present": True} for path in new]
                connection.execute(insert(media).on_conflict_do_nothing(), rows)
            turned = [{"of": p, "now": p in found} for p, present in known.items() if present != (p in found)]
            if turned:
                connection.execute(_turn, turned)
        return self.count()

    def count(self) -> int:
        """The number of pictures present."""
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).where(media.c.present)).scalar_one()

    def segment(self, start: int, limit: int) -> list[tuple[int, str]]:
        """(id, path) of at most `limit` present pictures with id >= start, ascending."""
        rows = select(media.c.id, media.c.path).where(media.c.present, media.c.id >= start)
        with self._database.reading() as connection:
            return [(row.id, row.path) for row in connection.execute(rows.order_by(media.c.id).limit(limit))]

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


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _changed(entry: os.DirEntry[str]) -> float:
    """When the file changed last; never (infinity) if it vanished after it was listed."""
    try:
        return entry.stat().st_mtime
    except OSError as error:
        _log.info("%r is passed over: %s", entry.path, error.strerror)
        return math.inf


def _pictures(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(posix-relative path, entry) of every picture; only an unreadable root raises."""
    folders = [root]
    while folders:
        for entry in _listing(folders.pop(), root):
            try:
                if entry.is_dir(follow_symlinks=False):
                    if not _is_junction(entry):
                        folders.append(Path(entry.path))
                elif _is_picture(entry, root):
                    yield Path(entry.path).relative_to(root).as_posix(), entry
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
    # On Windows the listing has brought what stat returns; elsewhere there are no junctions and stat is a round trip.
    return os.name == "nt" and getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0) == getattr(
        stat, "IO_REPARSE_TAG_MOUNT_POINT", _JUNCTION
    )


def _can_travel(entry: os.DirEntry[str]) -> bool:
    """Whether a storageUrl can carry this name: JSON needs Unicode, and the contract reads a backslash as a slash."""
    travels = not _UNSENDABLE.search(entry.name)
    if not travels:
        _log.warning("%r is passed over: the media API cannot carry its name; rename it", entry.path)
    return travels
