"""What an answer of the media API means: the table of its contract as one pure function.

An answer is a yes or one of three kinds of no (`NotNow`, `TooLarge`, `BadRecords`); each kind asks for something else
from the caller. What cannot be healed by sending again is raised: `WrongAddress`, `Unauthorized`, `ApiError`.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from engine.errors import ApiError, Unauthorized, WrongAddress

OK_CODES = ("0", "200")
"""Values of `code` that mean yes, compared as text: services write 200 and "200"."""
SHOWN = 300
"""Characters of a body that are shown to the user or kept as a reason."""

_WRONG_ADDRESS = {404, 405, 406, 415, 501}
_NOT_NOW = {408, 425, 429}
_HTML = re.compile(rb"\s*(<!doctype\s+html|<html)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]*>([^<>]+)</title>", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer as it came.

    Attributes:
        url: the address asked, without credentials and query.
        body: the decoded body, cut off where it exceeds the caller's limit (`cut` says so).
        encoding: the Content-Encoding, which nobody asked for: the body was not read.
        scrub: takes the token out of a text, for servers that echo it.
    """

    url: str
    status: int
    body: bytes = b""
    content_type: str = ""
    retry_after: str | None = None
    cut: bool = False
    encoding: str = ""
    scrub: Callable[[str], str] = field(default=str, repr=False)

    def shown(self) -> str:
        """The body for a message: without the token, printable, on one line, short; of an HTML page, its title."""
        text = self.body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
        title = _TITLE.search(text) if _HTML.match(self.body) else None
        return self.clean(unescape(title[1]) if title and not title[1].isspace() else text)

    def clean(self, text: str) -> str:
        """A text of the server, made fit to show or keep. The token is taken out before the text is cut short."""
        text = "".join(c if c.isprintable() else " " for c in self.scrub(text[: 64 * SHOWN])[: 4 * SHOWN])
        text = " ".join(text.split())
        return text if len(text) <= SHOWN else text[:SHOWN] + "…"

    def json(self) -> Any:  # noqa: ANN401 - whatever the server wrote
        """The body as JSON; raises `ValueError` where it is none (or nested beyond reason)."""
        try:
            return json.loads(self.body.decode("utf-8-sig"))
        except RecursionError:
            raise ValueError("nested too deeply") from None


class Rejection(NamedTuple):
    """A record (or, without a tag, a medium) that the API refuses for good, in its own words.

    The tag is as it came, to be held against those that were sent, and not to be shown.
    """

    media_id: str
    tag: str | None
    reason: str


@dataclass(frozen=True)
class Yes:
    """Stored, except what is listed."""

    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class NotNow:
    """Send it again later.

    Attributes:
        text: what was answered, or why there is no answer.
        retry_after: seconds to wait, if the service named them.
        reached: False when there was no connection at all, so that the records cannot be the cause.
    """

    text: str
    retry_after: float | None = None
    reached: bool = True


@dataclass(frozen=True)
class TooLarge:
    """The request is too large (413)."""

    text: str


@dataclass(frozen=True)
class BadRecords:
    """These records are bad (another 4xx)."""

    text: str


Answer = Yes | NotNow | TooLarge | BadRecords


def classify(
    reply: Reply,
    *,
    ok_codes: Sequence[str] = OK_CODES,
    said_yes: bool = False,
    now: datetime | None = None,
) -> Answer:
    """The meaning of a reply.

    Args:
        ok_codes: values of a JSON body's `code` that mean yes; compared as text.
        said_yes: whether this address has ever said yes to this ledger. Before that an unknown `code` is an error,
            which names the setting that would accept it.
        now: the present, for a Retry-After that is a date.

    Raises:
        WrongAddress: what answers there is not the API.
        Unauthorized: the token is refused.
        ApiError: a `code` that is not known, before any yes; a body longer than the caller reads; a `rejected` list
            that cannot be read.
    """
    status = reply.status
    if 200 <= status < 300:
        return _read_success(reply, ok_codes, said_yes)
    answered = f"{status}: {reply.shown()}" if reply.body else f"{status} with an empty body"
    if status in (401, 403):
        raise _unauthorized(reply, answered)
    if 300 <= status < 400 or status in _WRONG_ADDRESS:
        raise _wrong_address(reply, f"answered {answered}")
    if status == 413:
        return TooLarge(answered)
    if status in _NOT_NOW or status >= 500:
        return NotNow(answered, parse_retry_after(reply.retry_after, now or datetime.now(UTC)))
    return BadRecords(answered)


def _read_success(reply: Reply, ok_codes: Sequence[str], said_yes: bool) -> Answer:
    """A 2xx: yes, unless the body says otherwise."""
    # Some servers label every text as text/html, so the label alone does not make it a page.
    html = "html" in reply.content_type.lower() and reply.body.lstrip().startswith(b"<")
    if html or _HTML.match(reply.body.removeprefix(b"\xef\xbb\xbf")):
        raise _wrong_address(reply, "answered with an HTML page (a login page?)")
    if reply.encoding:
        raise ApiError(
            f"the media API at {reply.url} answered in the encoding {reply.clean(reply.encoding)}, which was not asked "
            "for: switch its compression off; nothing was marked as stored"
        )
    if reply.cut:
        raise ApiError(f"the media API at {reply.url} answered with more than {len(reply.body)} bytes: {reply.shown()}")
    try:
        value = reply.json()
    except ValueError:
        return Yes()
    return _read_envelope(reply, value, ok_codes, said_yes) if isinstance(value, dict) else Yes()


def _read_envelope(reply: Reply, value: dict[str, Any], ok_codes: Sequence[str], said_yes: bool) -> Answer:
    """What a JSON object with a 2xx says: its `code`, its `success`, and what it rejects."""
    code, success = value.get("code"), value.get("success")
    known = code is None or _code_text(code) in ok_codes
    if known and str(success).lower() != "false":
        return Yes(_read_rejected(reply, value.get("rejected")))
    text = f"{reply.status} that means no: {reply.shown()}"
    if str(code) in ("401", "403"):
        raise _unauthorized(reply, text)
    if known or said_yes or _names_not_now(code):
        return NotNow(text)
    raise _unknown_code(reply, code, ok_codes)


def _code_text(code: object) -> str:
    """A `code` as `ok_codes` names it: true and false as JSON writes them."""
    return json.dumps(code) if isinstance(code, bool) else str(code)


def _unknown_code(reply: Reply, code: object, ok_codes: Sequence[str]) -> ApiError:
    accepting = json.dumps([*ok_codes, _code_text(code)], ensure_ascii=False)
    possible = not isinstance(code, dict | list) and reply.clean(accepting) == accepting
    return ApiError(
        f"the media API at {reply.url} answered with a code that is not known to mean yes: {reply.shown()}: "
        + (f"if it does, set ok_codes = {accepting}; " if possible else "")
        + "nothing was marked as stored"
    )


def _names_not_now(code: object) -> bool:
    """Whether a `code` is one of the HTTP statuses that mean "not now": those are known without a setting."""
    text = str(code)
    return text in {str(status) for status in _NOT_NOW} or re.fullmatch("5[0-9][0-9]", text) is not None


def _read_rejected(reply: Reply, value: object) -> tuple[Rejection, ...]:
    if value is None:
        return ()
    rejections = []
    for item in value if isinstance(value, list) else [value]:
        item = item if isinstance(item, dict) else {}
        media_id = item.get("mediaId")
        if isinstance(media_id, bool) or not isinstance(media_id, int | str):
            raise ApiError(
                f"the media API at {reply.url} rejected records in a form that cannot be read: {reply.shown()}: "
                'expected {"rejected": [{"mediaId": 7, "tagKey": "x", "reason": "..."}]}; nothing was marked as stored'
            )
        tag = item.get("tagKey")
        reason = reply.clean(str(item.get("reason") or "no reason given"))
        # Half a surrogate pair is a legal JSON string that nothing can write.
        name = None if tag is None else str(tag).encode("utf-8", "backslashreplace").decode()
        rejections.append(Rejection(reply.clean(str(media_id)), name, reason))
    return tuple(rejections)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait, from a Retry-After header in either form (RFC 9110 10.2.3); None if it says nothing readable."""
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000": no zone known, and HTTP knows only UTC
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def shown_url(url: str) -> str:
    """An address for messages, without credentials and query: either may hold a secret."""
    parts = urlsplit(url)
    if not parts.netloc:  # no address, but what somebody took for one: `nas:8080/list`, `user:secret@nas/list`
        return url.partition("?")[0].partition("#")[0].rpartition("@")[2]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _unauthorized(reply: Reply, answered: str) -> Unauthorized:
    return Unauthorized(
        f"the media API at {reply.url} refuses the token ({answered}): "
        "renew ENGINE_API_TOKEN or the token file and run the same command again; nothing is lost"
    )


def _wrong_address(reply: Reply, what: str) -> WrongAddress:
    return WrongAddress(f"{reply.url} is not the media API, it {what}: check the address; nothing was marked as stored")
