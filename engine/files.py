"""Files that more than one package reads or writes the same way: a token, a private file, one that is replaced."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import ConfigError

_LONGEST_TOKEN = 16_384  # bytes


def read_token(file: Path) -> str:
    """The token in a file, without the white space around it.

    A byte order mark is no part of it: Notepad writes UTF-8 with one, PowerShell's `>` writes UTF-16 with one.

    Raises:
        ConfigError: the file cannot be read, is empty, or holds what no HTTP header can carry.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(_LONGEST_TOKEN)
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError | IsADirectoryError):  # it is there, so its name is no secret
            raise ConfigError(f"the token file {file} cannot be read: {error.strerror}") from None
        raise ConfigError(
            "the token file cannot be read, there is no such file: give the name of a file that holds the token, "
            "not the token itself (what was given is not shown, as it may be the token)"
        ) from None
    try:
        token = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"the token file {file} is not a text file") from None
    if not token:
        raise ConfigError(f"the token file {file} is empty: put the token on its first line")
    return checked_token(token, str(file))


def checked_token(token: str, origin: str) -> str:
    """The token without the white space around it. Raises `ConfigError` if no HTTP header can carry it."""
    token = token.strip()
    if not all("!" <= c <= "~" for c in token):
        raise ConfigError(f"the token in {origin} holds a space or a character that no HTTP header can carry")
    return token


def make_private(file: Path) -> None:
    """Make an empty file that only its owner may read; one that is there stays as it is. Raises `OSError`."""
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to. It becomes `file` when the block ends well, and is deleted otherwise.

    So whoever reads `file` sees the old content or the new one, never half of it. Raises `OSError`.
    """
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        part.replace(file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
