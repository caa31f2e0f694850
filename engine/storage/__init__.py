"""Where the pictures lie: what a storage must be able to do, and which kinds there are.

A new kind is a module with a class as `Storage` wants it, and one line in `STORAGES`.
"""

import os
import re
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from engine.errors import Kind, StorageError, Unreadable
from engine.storage.access import Access
from engine.storage.reading import Reading
from engine.types import FileState

__all__ = ["FOLDER", "STORAGES", "Access", "Reading", "Storage", "known_state", "open_storage"]


class Storage(Protocol):
    """Where the pictures lie. Used by many threads at once. What goes wrong has a `Kind`."""

    def open(self, key: str, *, max_bytes: int) -> Reading:
        """Opens the file of a key: its size is known then, and none of its body is read.

        Raises:
            Unreadable: no such file, a key that is refused, a larger file than `max_bytes`, or the storage says no. So
                does each read of what was opened.
        """

    def state(self, key: str) -> FileState:
        """Size and time of a key's file, to notice that it was replaced. Raises `Unreadable`."""

    def check(self) -> None:
        """Looks at the root as a whole: whether it is there and can be read. May take long, or hang.

        Raises:
            StorageError: no file can be read at the moment; its kind says whether a wait helps.
        """


def known_state(storage: Storage, key: str) -> FileState | None:
    """Size and time of a key's file, or None where the storage does not say them, whatever the reason."""
    try:
        return storage.state(key)
    except Unreadable:
        return None


class _Kind(NamedTuple):
    """A class that takes the root as its first argument, and the `Access` if it is reached over a network."""

    module: str
    name: str
    example: str
    network: bool = True


FOLDER = _Kind("engine.storage.folder", "FolderStorage", "a folder", network=False)
_WEB = _Kind("engine.storage.web", "WebStorage", "https://host/path")
STORAGES = {
    "s3": _Kind("engine.storage.s3", "S3Storage", "s3://bucket/prefix"),
    "https": _WEB,
    "http": _WEB,
}
"""Kinds of storage by the scheme of their URLs; a root without a scheme is a folder."""

_INSTEAD = {
    "gs": "Google's storage speaks S3 too: give s3://bucket, AWS_ENDPOINT_URL=https://storage.googleapis.com and an "
    "HMAC key of the bucket's project",
    "az": "mount it (rclone mount, blobfuse2) and give the folder",
}


def open_storage(root: str, access: Access | None = None) -> Storage:
    """Opens a folder (`/mnt/nas/bucket`, `D:\\bucket`, `\\\\NAS\\share\\bucket`) or a URL of a scheme in `STORAGES`.

    Raises:
        StorageError: the root is not there or cannot be used, or its scheme is unknown.
        ConfigError: an address or a file of certificates or keys is wrong.
    """
    _refuse_unmounted_share(root)
    url = re.match(r"([a-z][a-z0-9+.-]+)://", root, re.IGNORECASE)  # two letters at least: D:// is a drive
    scheme = url[1].lower() if url else ""
    kind = STORAGES.get(scheme) if url else FOLDER
    if kind is None:
        known = list(dict.fromkeys(kind.example for kind in (FOLDER, *STORAGES.values())))
        instead = _INSTEAD.get(scheme) or f"give {', '.join(known[:-1])} or {known[-1]}"
        raise StorageError(f"the storage {root} is of an unknown kind: {instead}", Kind.MISCONFIGURED)
    storage = getattr(import_module(kind.module), kind.name)
    return cast(Storage, storage(root, access or Access()) if kind.network else storage(root))


def _refuse_unmounted_share(root: str, *, windows: bool = os.name == "nt") -> None:
    """A share of Windows: there a path like any other, elsewhere something that the system mounts first."""
    share = re.match(r"smb://(?:[^/@]*@)?([^/]+)/([^/]+)/?(.*)", root, re.IGNORECASE)
    if share is None and not windows:
        share = re.match(r"(?://|\\\\)([^/\\]+)[/\\]([^/\\]+)[/\\]?(.*)", root)
        if share and root.startswith("//") and Path(root).is_dir():  # to POSIX // is /
            return
    if share is None:
        return
    host, name, rest = share[1], share[2], share[3].replace("\\", "/").strip("/")
    if windows:
        path = "\\".join(filter(None, ("\\\\" + host, name, rest.replace("/", "\\"))))
        raise StorageError(f"the storage {root} is a share: write it as {path}", Kind.MISCONFIGURED)
    folder = f"/mnt/{name}"
    root_then = "/".join(filter(None, (folder, rest)))
    root_then = "/".join(filter(None, (folder, rest)))
    raise StorageError(
        f"the storage {root} is a Windows share, which the system mounts before it can be read: "
        f"sudo mount -t cifs //{host}/{name} {folder} -o ro,username=NAME, then give {root_then}; "
        f"for a container mount it on the host and add -v {folder}:{folder}:ro",
        Kind.MISCONFIGURED,
    )
