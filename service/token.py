"""The service's token in a file: read from one, or made at random and kept."""

import os
import secrets
from pathlib import Path

from service.errors import ServiceError


def read_token(file: Path) -> str:
    """The token in a file, without the white space around it.

    Raises:
        ServiceError: there is no such file, or no token in it.
    """
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ServiceError(f"cannot read the token file {file}: {reason}") from error
    if not token:
        raise ServiceError(f"the token file {file} is empty: put the token on its first line")
    return token


def kept_token(file: Path) -> str:
    """The token in `file`, or else a new one that is written there. On POSIX only its owner can read the file.

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
        out.write(secrets.token_urlsafe(32) + "\n")
    return read_token(file)
