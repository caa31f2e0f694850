"""Pictures in a folder: a NAS share, a disk. Never a byte from outside of it; what a key may say is in `keys.py`."""

import errno
import json
import os
import stat
from functools import lru_cache
from itertools import islice
from pathlib import Path

from engine.errors import Kind, StorageError, Unreadable
from engine.storage.keys import first_found, key_parts, refused, short, spellings, too_large
from engine.storage.reading import Reading
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
        self._given = Path(root).absolute()
        self._root = os.path.realpath(_extended(str(self._given))).rstrip(os.sep)
        self._minio = _format_of_minio(self._given).startswith("xl") or _looks_like_minio(self._root)
        self._refuse_minio()
        self._holds_files = False
        self._holds_folder = lru_cache(_VERIFIED_FOLDERS)(self._holds)

    def open(self, key: str, *, max_bytes: int) -> Reading:
        """Opens the file of a key; percent signs and accents are literal first (see `spellings`)."""
        return first_found(spellings(key), lambda spelled: self._open(key_parts(spelled), key, max_bytes))

    def state(self, key: str) -> FileState:
        """Size and time of a key's file; links are not followed, so nothing outside the root is told."""
        status = first_found(spellings(key), lambda spelled: self._status(key_parts(spelled), key))
        return FileState(status.st_size, status.st_mtime)

    def check(self) -> None:
        """Looks whether the root can be listed and holds anything; an unmounted share leaves an empty folder behind."""
        self._refuse_minio()
        try:
            with os.scandir(self._root + os.sep) as entries:
                if next(entries, None) is not None:
                    return
        except OSError as error:
            kind = _kind(error)
            raise StorageError(
                f"the storage root {self._given} cannot be listed ({error.strerror or error})",
                Kind.AWAY if kind is Kind.MISSING else kind,
            ) from error
        raise StorageError(f"the storage root {self._given} is empty: is the share mounted?")

    def _status(self, parts: tuple[str, ...], key: str) -> os.stat_result:
        try:
            return os.lstat(os.sep.join((self._root, *parts)))  # noqa: PTH118 - as in _open
        except ValueError as error:
            raise refused(key, "it is no text that a path can hold") from error
        except OSError as error:
            raise _unreadable(error, key) from error

    def _open(self, parts: tuple[str, ...], key: str, max_bytes: int) -> Reading:
        path = os.sep.join((self._root, *parts))  # noqa: PTH118 - never Path: it would read the parts once more
        try:
            descriptor = self._descriptor(path, key)
        except ValueError as error:  # a lone surrogate, which no path can hold
            raise refused(key, "it is no text that a path can hold") from error
        except OSError as error:
            if os.path.isdir(path):  # noqa: PTH112 - what Windows says of opening a directory is "permission denied"
                raise self._not_a_file(path, key) from error
            raise _unreadable(error, key) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise self._not_a_file(path, key)
            if status.st_size > max_bytes:
                raise too_large(status.st_size, max_bytes)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                raise _unreadable(error, key) from error
            raise

        def read(size: int) -> bytes:
            try:
                return os.read(descriptor, size)
            except OSError as error:
                raise _unreadable(error, key) from error

        self._holds_files = True
        return Reading(status.st_size, read, lambda: os.close(descriptor))

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

    def _not_a_file(self, path: str, key: str) -> Unreadable:
        if not os.path.isfile(os.path.join(path, "xl.meta")):  # noqa: PTH113, PTH118 - it may be Windows' extended spelling
            return Unreadable(f"{short(key)} is not a regular file")
        self._minio = not self._holds_files  # one stray folder does not stop a run whose other files can be read
        return Unreadable(
            f"{short(key)} is an object in MinIO's newer format (a folder with xl.meta), which cannot be read as a "
            f"file: give the storage as {_minio_address(self._given)} instead",
            Kind.MISCONFIGURED if self._minio else Kind.REFUSED,
        )

    def _refuse_minio(self) -> None:
        """MinIO's data folder holds files only in its old `fs` format; since 2022 each object is a folder."""
        if self._minio:
            raise StorageError(
                f"the storage root {self._given} is a folder of MinIO's newer format, whose objects are no picture "
                f"files: give the storage as {_minio_address(self._given)} instead, with AWS_ENDPOINT_URL and the keys "
                "in the environment",
                Kind.MISCONFIGURED,
            )


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


def _unreadable(error: OSError, key: str) -> Unreadable:
    kind = _kind(error)
    if kind is Kind.MISSING:
        return Unreadable(f"no such file: {short(key)}", kind)
    return Unreadable(f"cannot read {short(key)}: {error.strerror or error}", kind)


def _kind(error: OSError) -> Kind:
    """What an error of the operating system means; of those not listed it is not known that waiting is in vain."""
    windows = getattr(error, "winerror", None)
    if windows in _WINDOWS_KINDS:  # first: Python makes "no such file" of a network name that is gone
        return _WINDOWS_KINDS[windows]
    return _KINDS.get(error.errno or 0, Kind.TRANSIENT)


_KINDS = {
    errno.ENOENT: Kind.MISSING,
    errno.ENOTDIR: Kind.MISSING,
    errno.EACCES: Kind.DENIED,
    errno.EPERM: Kind.DENIED,
    errno.ENAMETOOLONG: Kind.REFUSED,
    errno.EINVAL: Kind.REFUSED,
    errno.EILSEQ: Kind.REFUSED,
    errno.ELOOP: Kind.REFUSED,
    errno.EISDIR: Kind.REFUSED,
}
_WINDOWS_KINDS = {  # learn.microsoft.com, "System Error Codes"
    **dict.fromkeys((51, 53, 55, 64, 67, 1222, 1231, 1232, 1167), Kind.AWAY),  # the name or network is not there
    **dict.fromkeys((21, 32, 33, 54, 59, 71, 121, 1117, 1236), Kind.TRANSIENT),  # in use, busy, broken off, I/O error
    **dict.fromkeys((65, 86, 1326, 1330, 1331), Kind.MISCONFIGURED),  # the share's user or password
}


def _looks_like_minio(root: str, deepest: int = 8) -> bool:
    """Whether the first files below a folder are objects of MinIO's newer format, each a folder with `xl.meta` in it.

    The folders are gone down by the first few entries only: a share that is large or slow is not searched.
    """
    folder = root
    for _ in range(deepest):
        try:
            with os.scandir(folder + os.sep) as entries:
                some = list(islice((entry for entry in entries if not entry.name.startswith(".")), 16))
            if any(entry.name == "xl.meta" for entry in some):
                return folder != root
            folder = next(entry.path for entry in some if entry.is_dir(follow_symlinks=False))
        except (OSError, StopIteration):
            return False
    return False


def _minio_address(root: Path) -> str:
    """The `s3://` line that shows the objects which lie below a folder of MinIO's."""
    for folder in (root, *root.parents):
        if not (folder / ".minio.sys").is_dir():
            continue
        if folder != root:
            return f"s3://{root.relative_to(folder).as_posix()}"
        buckets = sorted(entry.name for entry in islice(root.iterdir(), 64) if not entry.name.startswith("."))
        return f"s3://{buckets[0] if len(buckets) == 1 else 'BUCKET'}" + (
            f" (the buckets here: {', '.join(buckets[:8])})" if len(buckets) > 1 else ""
        )
    return f"s3://{root.name}"


def _format_of_minio(root: Path) -> str:
    """`fs` or `xl…` where the folder or one above it is a data folder of MinIO's, else nothing."""
    for folder in (root, *root.parents):
        try:
            with (folder / ".minio.sys" / "format.json").open("rb") as file:
                kind = json.loads(file.read(1 << 16)).get("format")
        except (OSError, ValueError, AttributeError):
            continue
        return str(kind)
    return ""
