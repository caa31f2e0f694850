"""Pictures in a folder: a NAS share, a disk. Never a byte from outside of it; what a key may say is in `keys.py`."""

import errno
import json
import os
import stat
from functools import lru_cache
from pathlib import Path

from engine.errors import StorageError, Unreadable
from engine.storage.keys import key_parts, refused, short, too_large, with_spellings
from engine.types import FileState

_VERIFIED_FOLDERS = 1 << 16  # remembered, about 10 MB at most: a root of 256 x 256 hashed folders fits


class FolderStorage:
    """Files below a folder, by the operating system's own file functions.

    A picture costs one open, one fstat on the open file and the read: each further look at a path is a round trip on
    SMB. Folders are checked for links that lead out of the root once each, and remembered.

    Against whom: a hostile key, not somebody who can change folders in the share while it is read; who can do that can
    already put any file there.
    """

    def __init__(self, root: str) -> None:
        if not Path(root).is_dir():
            raise StorageError(f"the storage root {root} is not a folder: is the share mounted, and the path right?")
        _refuse_minio(Path(root))
        self._root = os.path.realpath(_extended(str(Path(root).absolute()))).rstrip(os.sep)
        self._holds_folder = lru_cache(_VERIFIED_FOLDERS)(self._holds)

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Returns the whole file of a key; percent signs are literal first, and decoded if that file is missing."""
        return with_spellings(key, lambda spelled: self._read(key_parts(spelled), key, max_bytes))

    def state(self, key: str) -> FileState | None:
        """Size and time of a key's file; links are not followed, so nothing outside the root is told."""
        try:
            status = with_spellings(key, self._status)
        except (Unreadable, OSError, ValueError):
            return None
        return FileState(status.st_size, status.st_mtime)

    def root_alive(self) -> bool:
        """Tells whether the root can be listed and holds anything; an unmounted share leaves an empty folder behind."""
        try:
            with os.scandir(self._root + os.sep) as entries:
                return next(entries, None) is not None
        except OSError:
            return False

    def _status(self, key: str) -> os.stat_result:
        try:
            return os.lstat(os.sep.join((self._root, *key_parts(key))))  # noqa: PTH118 - as in _read
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Unreadable(f"no such file: {short(key)}", missing=True) from error

    def _read(self, parts: tuple[str, ...], key: str, max_bytes: int) -> bytes:
        path = os.sep.join((self._root, *parts))  # noqa: PTH118 - never Path: it would read the parts once more
        try:
            descriptor = self._descriptor(path, key)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise Unreadable(_not_a_file(path, key))
                if status.st_size > max_bytes:
                    raise too_large(status.st_size, max_bytes)
                return _contents(descriptor, status.st_size)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Unreadable(f"no such file: {short(key)}", missing=True) from error
        except ValueError as error:  # a lone surrogate, which no path can hold
            raise refused(key, "it is no text that a path can hold") from error
        except OSError as error:
            if os.path.isdir(path):  # noqa: PTH112 - what Windows says of opening a directory is "permission denied"
                raise Unreadable(_not_a_file(path, key)) from error
            raise Unreadable(f"cannot read {short(key)}: {error.strerror or error}", fleeting=True) from error

    def _descriptor(self, path: str, key: str) -> int:
        """Opens a path below the root, following links as long as they stay inside."""
        if not self._holds_folder(path.rpartition(os.sep)[0]):
            raise refused(key, "a link leads out of the storage root")
        try:
            descriptor = os.open(path, _OPEN)
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
        else:
            if _NO_FOLLOW or not os.path.islink(path):  # noqa: PTH114 - Windows: known to the client now, no round trip
                return descriptor
            os.close(descriptor)
        target = os.path.realpath(path)
        if not self._holds(target):
            raise refused(key, "a link leads out of the storage root")
        return os.open(target, _OPEN)

    def _holds(self, path: str) -> bool:
        """Whether a path, with all its links followed, lies below the root."""
        real, root = (os.path.normcase(each) + os.sep for each in (os.path.realpath(path).rstrip(os.sep), self._root))
        return real.startswith(root)


def _contents(descriptor: int, size: int) -> bytes:
    """At most `size` bytes of an open file, by the fewest calls: a file object would ask its size and type again."""
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


# Not every system has each flag: O_NONBLOCK keeps a named pipe from hanging the open, O_BINARY is Windows'.
_NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_OPEN = (
    os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
)
_IS_LINK = (errno.ELOOP, errno.EMLINK)  # what POSIX and FreeBSD say of O_NOFOLLOW at a link


def _extended(root: str, *, windows: bool = os.name == "nt") -> str:
    """On Windows, the spelling of an absolute path that lifts the limit of 260 characters."""
    if not windows or root.startswith("\\\\?\\"):
        return root
    return "\\\\?\\UNC\\" + root[2:] if root.startswith("\\\\") else "\\\\?\\" + root


def _not_a_file(path: str, key: str) -> str:
    if os.path.isfile(os.path.join(path, "xl.meta")):  # noqa: PTH113, PTH118 - the path may be Windows' extended spelling
        return (
            f"{short(key)} is an object in MinIO's own format (a folder with xl.meta), which cannot be read as a file: "
            "give the storage as s3://bucket instead"
        )
    return f"{short(key)} is not a regular file"


def _refuse_minio(root: Path) -> None:
    """MinIO's data folder holds files only in its old `fs` format; since 2022 each object is a folder with xl.meta."""
    for folder in (root, root.parent):
        try:
            with (folder / ".minio.sys" / "format.json").open("rb") as file:
                kind = json.loads(file.read(1 << 16)).get("format")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(kind, str) and kind.startswith("xl"):
            raise StorageError(
                f"the storage root {root} is a data folder of MinIO, whose objects are no picture files: "
                f"give the storage as s3://{root.name} instead, with AWS_ENDPOINT_URL and the keys in the environment"
            )
