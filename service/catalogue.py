"""The catalogue: the pictures in a library folder. Each has an id that never changes and is never given again."""

import logging
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from engine.pictures.sniff import CONTENT_TYPES
from service.database import Database, library, media, touch
from service.errors import ServiceError

SETTLE_SECONDS = 2.0
"""A new file that changed less than this ago may not be complete yet: a rescan leaves it for the next one."""

_JUNCTION = 0xA0000003  # Windows' IO_REPARSE_TAG_MOUNT_POINT: a folder that leads elsewhere without being a symlink
_UNSENDABLE = re.compile("[\ud800-\udfff\\\\]")  # lone surrogates (a name that is not UTF-8), backslash

_LOOKS = 1 / 20
"""The share of its time that a service that runs spends on asking known files whether they were replaced."""
_ASKED_AT_ONCE = 16
"""On a network share each question is a round trip, and the answers come as fast as there are questions under way."""

_PATHS_AT_ONCE = 10_000  # SQLite limits the variables of a statement

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
    """Size in bytes and modification time in ns of a file; None where it was not asked yet."""

    size: int | None
    changed: int | None


class Catalogue:
    """The library folder, mirrored in the `media` table."""

    def __init__(self, database: Database, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ServiceError if `folder` is not a folder. `clock` gives seconds."""
        self.check(folder)
        self.root = folder.resolve()
        self._database = database
        self._clock = clock
        self._look_due = -math.inf

    @staticmethod
    def check(library: Path) -> None:
        """Raises ServiceError if `library` is not a folder. Can be called before there is a database."""
        if not library.exists():
            raise ServiceError(f"the library folder {library} does not exist")
        if not library.is_dir():
            raise ServiceError(f"the library {library} is a file: give the folder that holds the pictures")

    def scan(self, settle_seconds: float = 0.0) -> int:
        """Brings the table up to date: new files get new ids, vanished, returned and replaced ones are marked so.

        Returns the number of pictures present. Files that changed less than `settle_seconds` ago stay as they were.
        Known files are asked whether they were replaced at the first scan, and then as often as `_LOOKS` allows.
        Raises ServiceError, and changes nothing, if a network share is away: the folder cannot be listed, or it is the
        empty one that a share is mounted on, though pictures were known.
        """
        try:
            found = dict(_pictures(self.root))
        except OSError as error:
            raise ServiceError(f"the library folder {self.root} cannot be read: {error.strerror}") from error
        with self._database.reading() as connection:
            rows = connection.execute(select(media.c.path, media.c.present, media.c.size, media.c.changed)).all()
        known = {row.path: _File(row.size, row.changed) for row in rows}
        present = {row.path for row in rows if row.present}
        if not found and present and _is_empty(self.root):
            raise ServiceError(
                f"the library folder {self.root} is empty, but {len(present)} pictures were in it: is its "
                "share mounted? If they were deleted on purpose, put any file into the folder"
            )
        files = self._ask(found, known)
        if settle_seconds:
            newest = time.time_ns() - int(settle_seconds * 1e9)
            files = {path: file for path, file in files.items() if file.changed is None or file.changed <= newest}
        self._write(present, found.keys() & known.keys(), known, files)
        return self.count()

    def tag_again(self, media_id: int) -> bool:
        """Gives a picture another version, so that the engine tags it once more; False if it is not there."""
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

    def paths(self, media_ids: Sequence[int]) -> dict[int, str]:
        """The paths of these pictures, as far as they are there."""
        rows = select(media.c.id, media.c.path).where(media.c.id.in_(media_ids), media.c.present)
        with self._database.reading() as connection:
            return {row.id: row.path for row in connection.execute(rows)}

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

    def _ask(self, found: dict[str, os.DirEntry[str]], known: dict[str, _File]) -> dict[str, _File]:
        """The states of the new files, and of all if it is time for that."""
        began = self._clock()
        if began < self._look_due:
            return _files({path: entry for path, entry in found.items() if path not in known})
        files = _files(found)
        ended = self._clock()
        self._look_due = ended + (ended - began) / _LOOKS
        return files

    def _write(self, present: set[str], there: set[str], known: dict[str, _File], files: dict[str, _File]) -> None:
        """`present` were there before, `there` are so now; of `files` the state was asked."""
        new = [{"path": path, "present": True, **files[path]._asdict()} for path in sorted(files.keys() - known.keys())]
        turned = [{"of": path, "now": path in there} for path in known if (path in present) != (path in there)]
        replaced = [
            {"of": path, "s": file.size, "c": file.changed}
            for path, file in files.items()
            if path in known and known[path] != file
        ]
        root = str(self.root)
        with self._database.writing() as connection:
            if new:
                connection.execute(insert(media).on_conflict_do_nothing(), new)
            if turned:
                connection.execute(_turn, turned)
            if replaced:
                connection.execute(_renew, replaced)
            connection.execute(update(library).where(library.c.root.is_distinct_from(root)).values(root=root))
            changed = [row["path"] for row in new] + [row["of"] for row in turned]
            if changed:
                touch(connection, _ids(connection, changed))


def _ids(connection: Connection, paths: Sequence[object]) -> list[int]:
    found: list[int] = []
    for first in range(0, len(paths), _PATHS_AT_ONCE):
        some = paths[first : first + _PATHS_AT_ONCE]
        found += connection.execute(select(media.c.id).where(media.c.path.in_(some))).scalars()
    return found


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _files(entries: Mapping[str, os.DirEntry[str]]) -> dict[str, _File]:
    """The state of each file; those that vanished after they were listed are left out."""
    items = list(entries.items())
    parts = [items[i : i + 256] for i in range(0, len(items), 256)]
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="look") as pool:
        return {path: file for part in pool.map(_part, parts) for path, file in part}


def _part(items: list[tuple[str, os.DirEntry[str]]]) -> list[tuple[str, _File]]:
    files = []
    for path, entry in items:
        try:
            status = entry.stat()
        except OSError as error:
            _log.info("%r is passed over: %s", entry.path, error.strerror)
        else:
            files.append((path, _File(status.st_size, status.st_mtime_ns)))
    return files


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
