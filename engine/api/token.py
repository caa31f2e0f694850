"""The token of the media API: a secret that is sent in one header and shown nowhere."""

import base64
import html
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from engine.errors import ConfigError
from engine.files import checked_token, read_token

_FRAGMENT = 8
"""Characters in a row that are hidden wherever they come from a token; of a shorter token all."""
_CHARACTER = re.compile(
    r"\\+u00(?P<json>[0-9a-f]{2})|\\+x(?P<c>[0-9a-f]{2})|%(?:25)*(?P<percent>[0-9a-f]{2})"
    r"|&(?:amp;)*(?P<html>\#x0*[0-9a-f]{1,4};?|\#0*[0-9]{1,5};?|[a-z]{2,8};)|\\+(?P<escaped>[^\\])|(?P<plain>.)",
    re.IGNORECASE | re.DOTALL,
)
"""A character of a text, plain or as JSON, C, a URL or HTML write it, also where it was written so more than once."""


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
        """A text without the tokens that were ever in use here, and without long parts of them.

        They are found as they are, escaped or encoded character by character, and in Base64, alone or within more.
        """
        secret = {
            form[i : i + _FRAGMENT]
            for value in self._seen - {""}
            for form in (value, _plain(value), *_in_base64(value))
            for i in range(max(1, len(form) - _FRAGMENT + 1))
        }
        lengths = {len(fragment) for fragment in secret}
        characters = [(_decoded(match), match.start(), match.end()) for match in _CHARACTER.finditer(text)]
        plain = "".join(character for character, _, _ in characters)
        kept: list[str] = []
        end = 0  # up to here the text is in `kept`, or hidden
        hidden = -1  # the index of the character after the last hidden one
        for i, (_, start, _) in enumerate(characters):
            for length in lengths:
                fragment = plain[i : i + length]
                if fragment in secret:
                    if i > hidden:
                        kept += [text[end:start], "***"]
                    hidden = max(hidden, i + len(fragment))
                    end = characters[hidden - 1][2]
        return "".join([*kept, text[end:]])

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


def _plain(text: str) -> str:
    """A text without escapes: a token may itself look as if it held some."""
    return "".join(_decoded(match) for match in _CHARACTER.finditer(text))


def _decoded(match: re.Match[str]) -> str:
    """The one character that `_CHARACTER` found."""
    found = match.groupdict()
    code = found["json"] or found["c"] or found["percent"]
    if code:
        return chr(int(code, 16))
    if found["html"]:
        return html.unescape(f"&{found['html'].rstrip(';')};")[:1] or " "
    return found["escaped"] or found["plain"]


def _in_base64(value: str) -> Iterator[str]:
    """What of a text's Base64 form does not depend on what stands before and after it, in both alphabets."""
    for before, shared in ((0, 0), (1, 2), (2, 3)):  # bytes before it, digits that those have a part in
        whole = 8 * (before + len(value)) // 6  # digits without a part in what follows
        digits = base64.b64encode(b"\0" * before + value.encode()).decode()[shared:whole]
        if len(digits) >= min(_FRAGMENT, len(value)):
            yield from {digits, digits.replace("+", "-").replace("/", "_")}
