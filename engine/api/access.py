"""Access to the media API: the addresses, and the token that is sent in one header and shown nowhere."""

import ipaddress
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from engine.api.answers import OK_CODES, shown_url
from engine.api.backoff import Backoff
from engine.errors import ConfigError

_LONGEST = 16_384


@dataclass(frozen=True)
class ApiConfig:
    """Where the media API is and how it is talked to.

    Attributes:
        recognition_bulk_url: if set, records travel in bulk; else one a request to `recognition_url`.
        timeout_s: no answer within this time counts as "not now" (the contract's 60 s).
        connections: requests in flight at a time.
        ok_codes: values of a JSON answer's `code` that mean yes.
        ca_file: certificates (PEM) trusted besides the system's own, for a service with its own CA.
        give_up_after_s: end with `ApiAway` after this long without a useful answer; None waits for ever.
        max_segment_bytes: largest answer to a segment request; a page of 1,000 media takes about 100 KB.
        max_answer_bytes: largest answer to a posted request; it lists 500 rejected records at most.
    """

    segment_url: str
    recognition_url: str
    recognition_bulk_url: str | None = None
    timeout_s: float = 60.0
    connections: int = 4
    ok_codes: tuple[str, ...] = OK_CODES
    ca_file: Path | None = None
    give_up_after_s: float | None = None
    backoff: Backoff = field(default_factory=Backoff)
    max_segment_bytes: int = 32 * 2**20
    max_answer_bytes: int = 4 * 2**20

    @property
    def post_url(self) -> str:
        """Where records go."""
        return self.recognition_bulk_url or self.recognition_url

    @property
    def urls(self) -> list[str]:
        """The addresses in use."""
        return [self.segment_url, self.post_url]

    def __post_init__(self) -> None:
        """Raises `ConfigError` for an address that is none."""
        for url in self.urls:
            _check_url(url)


class Token:
    """A secret that does not print itself.

    A token from a file can be read again (`reread`): services hand out tokens that expire, and whoever renews one
    writes it to the file while the run goes on.
    """

    def __init__(self, value: str = "", file: Path | None = None) -> None:
        """Take a value or a file (which wins); raises `ConfigError` if there is no usable token in it."""
        self.file = file
        self._value = _read(file) if file else _checked(value, "ENGINE_API_TOKEN")
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
            value = _read(self.file)
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


def warnings(config: ApiConfig, token: Token) -> list[str]:
    """Sentences about settings that work but should not stay."""
    found = [token.warning()]
    for url in config.urls if token.value else []:
        host = urlsplit(url).hostname or ""
        if urlsplit(url).scheme == "http" and not _is_loopback(host):
            found.append(f"the token travels unencrypted to {host} ({shown_url(url)}): use https:// if it can")
    return list(dict.fromkeys(sentence for sentence in found if sentence))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        if parts.username or parts.password:  # it would take the place of the token
            raise ConfigError(
                f"{shown_url(url)}: an address with a user or password is not taken; the token says who asks"
            )
        good = good and not any(c.isspace() or not c.isprintable() for c in url)
    except ValueError:
        raise ConfigError("an address of the media API cannot be read: check host and port") from None
    if not good:
        raise ConfigError(f"{shown_url(url)!r} is not an address of a media API: http://host/path or https://host/path")


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_LONGEST)
    except OSError as error:
        raise ConfigError(f"the token file {file} cannot be read: {error.strerror}") from None
    # PowerShell's `>` writes UTF-16 with a byte order mark, Notepad UTF-8 with one.
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        value = raw.decode(encoding).strip()
    except UnicodeDecodeError:
        raise ConfigError(f"the token file {file} is not a text file") from None
    if not value:
        raise ConfigError(f"the token file {file} is empty")
    return _checked(value, str(file))


def _checked(value: str, origin: str) -> str:
    value = value.strip()
    if not all("!" <= c <= "~" for c in value):
        raise ConfigError(f"the token in {origin} holds a space or a character that no HTTP header can carry")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
