"""The service's token in a file: read from one, or made at random and kept."""

import os
import secrets
from pathlib import Path

from engine import files
from engine.errors import ConfigError
from service.errors import ServiceError


def read_token(file: Path) -> str:
    """The token in a file. Raises ServiceError if the file cannot be read or holds no usable token."""
    try:
        return files.read_token(file)
    except ConfigError as error:
        raise ServiceError(str(error)) from None


def kept_token(file: Path, characters: int = 43) -> str:
    """The token in `file`, or else a new one that is written there. On POSIX only its owner can read the file.

    `characters`: how long a new one is; each holds 6 bits of chance.

    Raises:
        ServiceError: the file can be neither read nor made.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        if file.is_file():
            return read_token(file)
        raise ServiceError(f"cannot keep a token in {file}: {error.strerror}; name one with --token-file") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(secrets.token_urlsafe(characters)[:characters] + "\n")
    return read_token(file)
