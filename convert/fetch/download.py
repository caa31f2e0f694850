"""Downloads one file over HTTP and goes on where an earlier try ended.

What has come lies in `NAME.part`. `NAME.part.json` keeps the ETag or date that the server gave for the file, so that
parts of two different files are never joined.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from convert.errors import ConvertError

MAX_BYTES = 2_000_000_000
"""More than any DeepDanbooru release has, three times over; what is larger is not one."""
Progress = Callable[[int, int | None], None]
"""Takes the bytes that are there and the bytes there will be, if the server says how many."""
_TIMEOUT = httpx.Timeout(30, connect=15)  # seconds without a byte; a stalled connection is broken, not slow
_TRIES = 5  # in a row that bring nothing new; the pauses between them add up to half a minute


class DownloadError(ConvertError):
    """The server does not give the file; `str(error)` is the reason without the address."""


class _Broken(Exception):
    """This try ended early; another one may bring the rest."""


def download(address: str, target: Path, progress: Progress, pause: Callable[[float], None] = time.sleep) -> None:
    """Fetches `address` into `target`, which appears only when all of it is there.

    Raises:
        DownloadError: the reason; what has come stays for the next call.
        OSError: the disk is full or `target` cannot be written; what has come stays here too.
    """
    part = _Part(target, address)
    with _client(address) as client:
        _until_complete(client, address, part, progress, pause)
    part.path.replace(target)
    part.note.unlink(missing_ok=True)


def checked_url(address: str) -> httpx.URL:
    """The address, if it is one that can be fetched from. Raises ConvertError."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise ConvertError(
            f"the address to fetch from makes no sense ({error}): give one like https://host/file.zip."
        ) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConvertError(
            f"{without_secrets(address)} is no http or https address: give one like https://host/file.zip."
        )
    return url


def without_secrets(address: str) -> str:
    """The address without what may be a secret: password and query."""
    return re.sub(r"//[^/@]*@", "//", address.partition("?")[0])


class _Part:
    """What has come so far, and of which file."""

    def __init__(self, target: Path, address: str) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self._address = hashlib.sha256(address.encode()).hexdigest()  # a signed address is a secret

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def validator(self) -> str:
        """The ETag or date of the file that the part belongs to; empty if nothing can be said."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return str(note["validator"]) if note["address"] == self._address else ""
        except (OSError, ValueError, LookupError, TypeError):
            return ""

    def begin(self, validator: str) -> None:
        """Forgets what has come. The part is emptied first, so that a break never leaves old bytes with a new note."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.open("wb").close()
        self.note.write_text(json.dumps({"address": self._address, "validator": validator}), encoding="utf-8")


def _client(address: str) -> httpx.Client:
    secure = checked_url(address).scheme == "https"

    def stay_secure(request: httpx.Request) -> None:  # called for every redirect, too
        if secure and request.url.scheme != "https":
            raise DownloadError(f"it redirects to {request.url.host} without https, which anybody could alter")

    # No compression: ranges and lengths count the bytes of the file.
    headers = {"Accept-Encoding": "identity", "User-Agent": "deepdanbooru-engine"}
    hooks = {"request": [stay_secure]}
    try:
        return httpx.Client(timeout=_TIMEOUT, headers=headers, follow_redirects=True, event_hooks=hooks)
    except (OSError, ValueError) as error:  # HTTPS_PROXY, SSL_CERT_FILE and the like
        raise DownloadError(f"the environment's settings for proxy or certificates cannot be used ({error})") from error


def _until_complete(
    client: httpx.Client, address: str, part: _Part, progress: Progress, pause: Callable[[float], None]
) -> None:
    vain, most = 0, 0
    while True:
        try:
            return _resume(client, address, part, progress)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            if not most:  # no internet: not worth a wait, the command can be given again
                raise DownloadError(f"no connection: {error}") from error
            reason = str(error)
        except httpx.TransportError as error:
            if isinstance(error, httpx.UnsupportedProtocol):
                raise DownloadError(str(error)) from error
            reason = str(error) or type(error).__name__
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DownloadError(str(error)) from error
        except _Broken as error:
            reason = str(error)
        # Progress counts only beyond the largest size so far: a server that always begins anew brings nothing new.
        vain, most = (0, part.size()) if part.size() > most else (vain + 1, most)
        if vain >= _TRIES:
            raise DownloadError(f"{_TRIES} tries in a row brought nothing, the last one: {reason}")
        pause(2.0**vain)


def _resume(client: httpx.Client, address: str, part: _Part, progress: Progress) -> None:
    """One request for what is missing. Raises _Broken or httpx's errors if it ends early."""
    have, validator = part.size(), part.validator()
    wanted = {"Range": f"bytes={have}-", "If-Range": validator} if have and validator else {}
    with client.stream("GET", address, headers=wanted) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and wanted:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return  # the file is complete; the last try was cut before it knew
            part.begin("")
            raise _Broken("the file changed on the server")
        _check_status(response)
        begin, total = _span(response)
        if begin and (not wanted or begin != have or _validator(response) not in ("", validator)):
            part.begin("")
            raise _Broken("the file changed on the server")
        if not begin:
            part.begin(_validator(response))
        _append(response, part, begin, total, progress)
    if total is not None and part.size() != total:
        raise _Broken(f"{part.size():,} of {total:,} bytes came")


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or status >= 500:
        raise _Broken(f"the server answers {status} {response.reason_phrase}")
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise DownloadError(f"the server answers {status} {response.reason_phrase}")


def _span(response: httpx.Response) -> tuple[int, int | None]:
    """(first byte of the answer, bytes of the whole file, if the server says)."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", ""))
        if not found:
            raise DownloadError("the server answers a part without saying which")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None


def _validator(response: httpx.Response) -> str:
    """What If-Range may be asked with (RFC 9110, 13.1.5): a strong ETag, else the date."""
    tag = str(response.headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(response.headers.get("Last-Modified", ""))


def _append(response: httpx.Response, part: _Part, begin: int, total: int | None, progress: Progress) -> None:
    if total is not None and total > MAX_BYTES:
        raise DownloadError(f"it has {total:,} bytes, more than the {MAX_BYTES:,} that a release may have")
    have = begin
    with part.path.open("ab") as file:
        progress(have, total)
        for piece in response.iter_raw():
            have += len(piece)
            if have > MAX_BYTES:
                raise DownloadError(f"it has more than the {MAX_BYTES:,} bytes that a release may have")
            file.write(piece)
            progress(have, total)
