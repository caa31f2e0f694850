"""The catalogue: the pictures in a library folder. Each has an id that never changes and is never given again.

A picture that is moved within the folder keeps its id (`moves`), and with it all that was said of it.
"""

import hashlib
import logging
import math
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, exists, func, select, update
from sqlalchemy.dialects.sqlite import insert

from engine.pictures.sniff import CONTENT_TYPES
from service.database import Database, library, media, touch, verdict
from service.errors import ServiceError
from service.moves import Content, File, Known, Move, moves

SETTLE_SECONDS = 2.0
"""A new file that changed less than this ago may not be complete yet: a rescan leaves it for the next one."""

_JUNCTION = 0xA0000003  # Windows' IO_REPARSE_TAG_MOUNT_POINT: a folder that leads elsewhere without being a symlink
_UNSENDABLE = re.compile("[\ud800-\udfff\\\\]")  # lone surrogates (a name that is not UTF-8), backslash

_LOOKS = 1 / 20
"""The share of its time that a service that runs spends on asking known files whether they were replaced."""
_ASKED_AT_ONCE = 16
"""On a network share each question is a round trip, and the answers come as fast as there are questions under way."""

_PATHS_AT_ONCE = 10_000  # SQLite limits the variables of a statement
_TRIES = 10
_NOWHERE = ".moved"
"""The folder of the paths of pictures whose path was taken by another one: hidden, so no file in it is ever listed."""

_turn = update(media).where(media.c.id == bindparam("of")).values(present=bindparam("now"))
_place = (
    update(media)
    .where(media.c.id == bindparam("of"))
    .values(
        path=bindparam("to"),
        present=bindparam("now"),
        size=bindparam("s"),
        changed=bindparam("c"),
        content=bindparam("digest"),
    )
)
_judged = exists().where(verdict.c.media_id == media.c.id)
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


@dataclass
class _Changes:
    """What a look at the folder is to change in the table.

    Attributes:
        new: the files of pictures that were not known, by path.
        turned: (id, whether it is there now) of those that vanished or came back.
        moved: to where, and how the file is now; also of files that were replaced in their place.
    """

    new: dict[str, File] = field(default_factory=dict)
    turned: list[tuple[int, bool]] = field(default_factory=list)
    moved: list[Move] = field(default_factory=list)


class Catalogue:
    """The library folder, mirrored in the `media` table."""

    def __init__(self, database: Database, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ServiceError if `folder` is not a folder. `clock` gives seconds."""
        self.check(folder)
        self.root = folder.resolve()
        self._database = database
        self._clock = clock
        self._look_due = -math.inf
        self._unread: set[tuple[int, File]] = set()  # files whose content could not be read
        self.unsettled = False  # whether the last scan left files for the next one
        self.changes = 0  # scans that changed the table

    @staticmethod
    def check(library: Path) -> None:
        """Raises ServiceError if `library` is not a folder. Can be called before there is a database."""
        if not library.exists():
            raise ServiceError(f"the library folder {library} does not exist")
        if not library.is_dir():
            raise ServiceError(f"the library {library} is a file: give the folder that holds the pictures")

    def scan(self, settle_seconds: float = 0.0, look_at: Collection[str] = ()) -> int:
        """Brings the table up to date: new files get new ids, moved ones keep theirs, and those that vanished, came
        back or were replaced are marked so.

        Returns the number of pictures present. Files that changed less than `settle_seconds` ago stay as they were.
        Known files are asked whether they were replaced at the first scan, and then as often as `_LOOKS` allows; those
        at the paths `look_at` at any scan.
        Raises ServiceError, and changes nothing, if a network share is away: the folder cannot be listed, or it is the
        empty one that a share is mounted on, though pictures were known.
        """
        try:
            found = dict(_pictures(self.root))
        except OSError as error:
            raise ServiceError(f"the library folder {self.root} cannot be read: {error.strerror}") from error
        known = self._known()
        present = sum(one.present for one in known)
        if not found and present and _is_empty(self.root):
            raise ServiceError(
                f"the library folder {self.root} is empty, but {present} pictures were in it: is its "
                "share mounted? If they were deleted on purpose, put any file into the folder"
            )
        files = self._ask(found, known, look_at)
        self.unsettled = False
        if settle_seconds:
            newest = time.time_ns() - int(settle_seconds * 1e9)
            settled = {path: file for path, file in files.items() if file.changed is None or file.changed <= newest}
            self.unsettled, files = len(settled) < len(files), settled
        read: dict[tuple[str, File], bytes | None] = {}

        def content(path: str, file: File) -> bytes | None:
            if (path, file) not in read:
                read[path, file] = _content(self.root / path)
            return read[path, file]

        # Another process may look at the same folder: what follows from rows that it changed meanwhile is not written.
        for _ in range(_TRIES):
            if self._write(known, _changes(known, found.keys(), files, content)):
                return self.count()
            known = self._known()
        raise ServiceError(f"another process keeps changing the database {self._database.path}: look again later")

    def read_contents(self, until: float) -> int:
        """Reads the files of pictures of which a person said anything, to know them when they are moved.

        Returns how many of them were read. `until`: when it is to end, by the clock.
        """
        wanted = select(media.c.id, media.c.path, media.c.size, media.c.changed)
        wanted = wanted.where(media.c.present, media.c.content.is_(None), media.c.size.is_not(None), _judged)
        with self._database.reading() as connection:
            rows = connection.execute(wanted.order_by(media.c.id)).all()
        count = 0
        for row in rows:
            state = File(row.size, row.changed)
            if self._clock() >= until:
                break
            if (row.id, state) in self._unread:
                continue
            digest = _content(self.root / row.path, state)
            if digest is None:
                self._unread.add((row.id, state))
                continue
            same = (media.c.id == row.id, media.c.path == row.path, media.c.size == row.size)
            with self._database.writing() as connection:
                connection.execute(update(media).where(*same, media.c.changed == row.changed).values(content=digest))
            count += 1
        return count

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

    def _known(self, connection: Connection | None = None) -> list[Known]:
        if connection is None:
            with self._database.reading() as reading:
                return self._known(reading)
        rows = select(
            media.c.id, media.c.path, media.c.present, media.c.size, media.c.changed, media.c.content, _judged
        )
        return [
            Known(number, path, present, File(size, changed), content, judged)
            for number, path, present, size, changed, content, judged in connection.execute(rows.order_by(media.c.id))
        ]

    def _ask(
        self, found: dict[str, os.DirEntry[str]], known: Sequence[Known], look_at: Collection[str]
    ) -> dict[str, File]:
        """The states of the files at new paths and at those of `look_at`, and of all if it is time for that."""
        began = self._clock()
        if began < self._look_due:
            unchanged = {one.path for one in known if one.present}.difference(look_at)
            return _files({path: entry for path, entry in found.items() if path not in unchanged})
        files = _files(found)
        ended = self._clock()
        self._look_due = ended + (ended - began) / _LOOKS
        return files

    def _write(self, known: Sequence[Known], changes: _Changes) -> bool:
        """False, and nothing is written, if the table is not any more as it was known."""
        root = str(self.root)
        with self._database.writing() as connection:
            if (changes.new or changes.turned or changes.moved) and self._known(connection) != known:
                return False
            touched = [number for number, _ in changes.turned]
            if changes.turned:
                connection.execute(_turn, [{"of": number, "now": now} for number, now in changes.turned])
            touched += _move(connection, known, changes.moved)
            if changes.new:
                rows = [{"path": path, "present": True, **file._asdict()} for path, file in sorted(changes.new.items())]
                connection.execute(insert(media), rows)
                touched += _ids(connection, list(changes.new))
            connection.execute(update(library).where(library.c.root.is_distinct_from(root)).values(root=root))
            if touched:
                touch(connection, touched)
        self.changes += bool(changes.new or changes.turned or changes.moved)
        return True


def _changes(known: Sequence[Known], there: Collection[str], files: Mapping[str, File], content: Content) -> _Changes:
    moved = moves(known, there, files, content)
    away = {move.known.id for move in moved} | {move.other.id for move in moved if move.other}
    taken = {move.path for move in moved}
    changes = _Changes(moved=moved)
    staying = set()
    for one in known:
        if one.id in away or one.path in taken:
            continue
        staying.add(one.path)
        if one.present != (one.path in there):
            changes.turned.append((one.id, not one.present))
        if one.path in files and files[one.path] != one.file:
            moved.append(Move(one, one.path, files[one.path], None))  # another file in its place
    changes.new = {path: file for path, file in files.items() if path not in staying and path not in taken}
    return changes


def _move(connection: Connection, known: Sequence[Known], moved: Sequence[Move]) -> list[int]:
    """Writes moves; the ids of the pictures that it concerns. No two pictures may have one path at any moment."""
    going = [move for move in moved if move.path != move.known.path]
    ids = {move.known.id for move in going}
    others = {move.other.id: move.known.path for move in going if move.other}
    to = {move.path for move in going}
    displaced = [one for one in known if one.path in to and one.id not in ids]
    parked = [one for one in known if one.id in ids] + displaced
    rows = [_placed(one, f"{_NOWHERE}/{one.id}") for one in parked]
    rows += [_placed(move.known, move.path, move) for move in moved]
    rows += [_placed(one, others[one.id]) for one in displaced if one.id in others]
    if rows:
        connection.execute(_place, rows)
    return [*ids, *(one.id for one in displaced), *(m.known.id for m in moved if not m.known.present)]


def _placed(one: Known, path: str, by: Move | None = None) -> dict[str, object]:
    """The row of a picture whose file is now at this path, or, without a move, was there."""
    file, content = (one.file, one.content) if by is None else (by.file, by.content)
    return {"of": one.id, "to": path, "now": by is not None, "s": file.size, "c": file.changed, "digest": content}


def _content(path: Path, state: File | None = None) -> bytes | None:
    """The SHA-256 of a file; None if it cannot be read, or is not in this state while it is read."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
            status = os.fstat(stream.fileno())
    except OSError as error:
        _log.info("%r cannot be read to know it again: %s", str(path), error.strerror)
        return None
    return digest if state in (None, File(status.st_size, status.st_mtime_ns)) else None


def _ids(connection: Connection, paths: Sequence[object]) -> list[int]:
    found: list[int] = []
    for first in range(0, len(paths), _PATHS_AT_ONCE):
        some = paths[first : first + _PATHS_AT_ONCE]
        found += connection.execute(select(media.c.id).where(media.c.path.in_(some))).scalars()
    return found


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _files(entries: Mapping[str, os.DirEntry[str]]) -> dict[str, File]:
    """The state of each file; those that vanished after they were listed are left out."""
    items = list(entries.items())
    parts = [items[i : i + 256] for i in range(0, len(items), 256)]
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="look") as pool:
        return {path: file for part in pool.map(_part, parts) for path, file in part}


def _part(items: list[tuple[str, os.DirEntry[str]]]) -> list[tuple[str, File]]:
    files = []
    for path, entry in items:
        try:
            status = entry.stat()
        except OSError as error:
            _log.info("%r is passed over: %s", entry.path, error.strerror)
        else:
            files.append((path, File(status.st_size, status.st_mtime_ns)))
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
