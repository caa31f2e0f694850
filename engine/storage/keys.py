"""Storage keys: which file a `storageUrl` of the media API names, and why some are refused.

Keys come from another system, so each is taken apart here, with the tricks of both POSIX and Windows as plain string
rules, before any of it reaches a file system.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import unquote

from engine.errors import Kind, Unreadable

T = TypeVar("T")

_MAX_KEY = 4000  # characters; the longest path that a file system takes is 4,096 bytes

_CONTROL = re.compile(r"[\x00-\x1f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_WINDOWS_ONLY = re.compile(
    r"""[<>:"|?*]         # not in names; `file.jpg:stream` would be another stream of the file
    | [. ]$               # dropped by Windows: another name for the file without them
    | ^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)   # devices, with any extension""",
    re.IGNORECASE | re.VERBOSE,
)


def key_parts(key: str, *, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """Splits a key into folder names and a file name that stay below any root they are joined to.

    `/` and `\\` both separate, one leading separator is dropped, empty parts and `.` vanish.

    Raises:
        Unreadable: the key is empty, too long, leaves the root, names a drive, a share or a directory, or holds a
            character or name that the operating system would take for something else.
    """
    path = key.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if not parts or path.endswith(("/", "/.")):
        raise refused(key, "it names no file")
    if len(key) > _MAX_KEY:
        raise refused(key, f"it is longer than {_MAX_KEY:,} characters")
    if _CONTROL.search(key):
        raise refused(key, "it holds a control character")
    if path.startswith("//"):
        raise refused(key, "it names a network share")
    if _DRIVE.match(parts[0]):
        raise refused(key, "it names a drive")
    if ".." in parts:
        raise refused(key, "it would leave the storage root")
    if windows and any(map(_WINDOWS_ONLY.search, parts)):
        raise refused(key, "Windows would read another file by this name")
    return parts


def object_name(key: str, most_bytes: int) -> str:
    """A key as the name of an object, where `\\`, `//`, a leading `/` and `.` are letters like others.

    Raises:
        Unreadable: the key is empty, too long, names a folder, holds a control character, or a `..` that servers and
            proxies would resolve before they look.
    """
    parts = key.split("/")
    if not key or not parts[-1]:
        raise refused(key, "it names no file")
    if _CONTROL.search(key):
        raise refused(key, "it holds a control character")
    if ".." in re.split(r"[/\\]", key):
        raise refused(key, "it would leave the storage root")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:  # a lone surrogate
        raise refused(key, "it is no text that a name can hold") from None
    if length > most_bytes:
        raise refused(key, f"it is longer than {most_bytes:,} bytes")
    return key


def plain(key: str) -> str:
    """The key as a path is usually written: `/` between its parts, none in front, no empty parts and no `.`."""
    return "/".join(part for part in key.replace("\\", "/").split("/") if part not in ("", "."))


def spellings(key: str) -> Iterator[str]:
    """The key as it is, then with its percent signs decoded once, then with its accents composed (NFC) or apart (NFD).

    Macs write file names apart, and nearly all other systems composed.
    """
    yield key
    if key.isascii() and "%" not in key:  # nearly all keys, which are looked for one by one
        return
    seen = {key}
    try:
        decoded = unquote(key, errors="strict")
    except UnicodeDecodeError:  # it gives no text
        decoded = key
    for other in (decoded, *(unicodedata.normalize(form, key) for form in ("NFC", "NFD"))):
        if other not in seen:
            seen.add(other)
            yield other


def first_found(candidates: Iterator[str], look: Callable[[str], T]) -> T:
    """What `look` finds by the first of the candidates that is there.

    Raises:
        Unreadable: what `look` raised: for the last candidate, or the first at which it was not `missing` (or denied: a
            server that may not tell what is missing says so of everything that is).
    """
    key = next(candidates)
    for following in candidates:
        try:
            return look(key)
        except Unreadable as error:
            if error.kind not in (Kind.MISSING, Kind.DENIED):
                raise
        key = following
    return look(key)


def short(key: str) -> str:
    """The key for a message: quoted, what is not printable escaped, at most some 200 characters."""
    return repr(key) if len(key) <= 200 else f"{key[:200]!r}... ({len(key):,} characters)"


def too_large(size: int, max_bytes: int) -> Unreadable:
    """The failure of a file beyond the limit."""
    return Unreadable(
        f"the file has {size:,} bytes, more than the limit of {max_bytes:,}: raise it with --max-file-size"
    )


def refused(key: str, reason: str) -> Unreadable:
    return Unreadable(f"the storage key {short(key)} is refused: {reason}")
