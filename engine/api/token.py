"""The token of the media API: a secret that is sent in one header and shown nowhere."""

import json
import os
import stat
from pathlib import Path

from engine.errors import ConfigError
from engine.files import checked_token, read_token


class Token:
    """A secret that does not print itself.

    A token from a file can be read again (`reread`): services hand out tokens that expire, and whoever renews one
    writes it to the file while the run goes on.
    """

    def __init__(self, value: str = "", file: Path | None = None) -> None:
        """Take a value or a file (which wins); raises `ConfigError` if there is no usable token in it."""
        self.file = file
        self._value = read_token(file) if file else checked_token(value, "ENGINE_API_TOKEN")
        self._seen = {self._value}

    @property
    def value(self) -> str:
        """The secret itself, for the Authorization header and nothing else; "" sends no such header."""
        return self._value

    def reread(self) -> bool:
        """Read the file again; True if it holds another token now. What cannot be read changes nothing."""
        if self.file is None:
            return False
        try:
            value = read_token(self.file)
        except ConfigError:
            return False
        changed = value != self._value
        self._value = value
        self._seen.add(value)
        return changed

    def scrub(self, text: str) -> str:
        """A text without any token that was ever in use here, plain or as JSON writes it."""
        for value in self._seen - {""}:
            for form in (value, json.dumps(value)[1:-1], value.replace("/", "\\/")):
                text = text.replace(form, "***")
        return text

    def warning(self) -> str | None:
        """A sentence if other users of this machine can read the file (POSIX; Windows keeps rights elsewhere)."""
        if self.file is None or os.name != "posix":
            return None
        if not stat.S_IMODE(self.file.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH):
            return None
        return f"other users of this machine can read the token file {self.file}: chmod 600 it"

    def __repr__(self) -> str:
        return "Token(***)" if self._value else "Token()"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a token is not written anywhere")
