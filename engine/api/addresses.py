"""The addresses of the media API, with the other settings of talking to it, and what is wrong or unwise about them."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from engine.api.answers import OK_CODES, shown_url
from engine.api.backoff import Backoff
from engine.api.token import Token
from engine.errors import ConfigError


@dataclass(frozen=True)
class ApiConfig:
    """Where the media API is and how it is talked to.

    Attributes:
        recognition_bulk_url: if set, records travel in bulk; else one a request to `recognition_url`.
        recognition_replace_url: if set, all tags of a medium travel together, and replace those that the model gave it
            before; it goes before the other two.
        timeout_s: no answer within this time counts as "not now" (the contract's 60 s).
        connections: requests in flight at a time.
        ok_codes: values of a JSON answer's `code` that mean yes.
        ca_file: certificates (PEM) trusted besides the system's own, for a service with its own CA.
        give_up_after_s: end with `ApiAway` after this long without a useful answer; None waits for ever.
        segment_size: media of an ordinary segment, which the service is known to bear.
        first_answer_s: end after this long where nothing has ever answered; `give_up_after_s` wins.
        max_segment_bytes: largest answer to a segment request; a page of 1,000 media takes about 100 KB.
        max_answer_bytes: largest answer to a posted request; it lists 500 rejected records at most.
    """

    segment_url: str
    recognition_url: str
    recognition_bulk_url: str | None = None
    recognition_replace_url: str | None = None
    timeout_s: float = 60.0
    connections: int = 4
    ok_codes: tuple[str, ...] = OK_CODES
    ca_file: Path | None = None
    give_up_after_s: float | None = None
    segment_size: int = 100
    first_answer_s: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)
    max_segment_bytes: int = 32 * 2**20
    max_answer_bytes: int = 4 * 2**20

    @property
    def post_url(self) -> str:
        """Where records go."""
        return self.recognition_replace_url or self.recognition_bulk_url or self.recognition_url

    @property
    def urls(self) -> list[str]:
        """The addresses in use."""
        return [self.segment_url, self.post_url]

    def __post_init__(self) -> None:
        """Raises `ConfigError` for an address that is none."""
        for url in self.urls:
            _check_url(url)


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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
