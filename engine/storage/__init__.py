"""Where the pictures lie: what a storage must be able to do, and which kinds there are.

A new kind is a module with a class as `Storage` wants it, and one line in `STORAGES`.
"""

import re
from importlib import import_module
from typing import NamedTuple, Protocol, cast

from engine.errors import StorageError
from engine.types import FileState


class Storage(Protocol):
    """Where the pictures lie. Used by many threads at once."""

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Returns the whole file of a key.

        Raises:
            Unreadable: no such file (`missing` is set), a key that is refused, a larger file than `max_bytes`, or
                the operating system says no.
        """

    def state(self, key: str) -> FileState | None:
        """Size and time of a key's file, to notice that it was replaced; None where there is none. Never raises."""

    def root_alive(self) -> bool:
        """Tells a root that vanished (an unmounted share) from files that are missing in it. May take long, or hang."""


class _Kind(NamedTuple):
    """A class that takes the root as its only argument, and the extra that brings the packages it needs."""

    module: str
    name: str
    example: str
    extra: str | None = None


FOLDER = _Kind("engine.storage.folder", "FolderStorage", "a folder")
STORAGES = {
    "s3": _Kind("engine.storage.objects", "S3Storage", "s3://bucket/prefix", extra="s3"),
}
"""Kinds of storage by the scheme of their URLs; a root without a scheme is a folder."""


def open_storage(root: str) -> Storage:
    """Opens a folder (`/mnt/nas/bucket`, `D:\\bucket`, `\\\\NAS\\share\\bucket`) or a URL of a scheme in `STORAGES`.

    Raises:
        StorageError: the root is not there or cannot be used, its scheme is unknown, or its extra is not installed.
    """
    url = re.match(r"([a-z][a-z0-9+.-]+)://", root, re.IGNORECASE)  # two letters at least: D:// is a drive
    kind = STORAGES.get(url[1].lower()) if url else FOLDER
    if kind is None:
        known = " or ".join(kind.example for kind in (FOLDER, *STORAGES.values()))
        raise StorageError(f"the storage {root} is of an unknown kind: give {known}")
    try:
        module = import_module(kind.module)
    except ImportError as error:
        if kind.extra is None:
            raise
        raise StorageError(
            f"the storage {root} needs the extra `{kind.extra}`: pip install 'deepdanbooru-engine[{kind.extra}]'"
        ) from error
    return cast(Storage, getattr(module, kind.name)(root))
