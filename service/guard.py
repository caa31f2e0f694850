"""Checks host, token and size of every request before anything else sees it; adds security headers to every answer."""

import hmac
import ipaddress
from base64 import b64decode
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1024 * 1024
"""Bytes of a request's body; the contract's requests hold 256 KB unless configured."""
_DRAINED = 16 * MAX_BODY  # bytes of a body that is too large that are read all the same, see _read

PAGE = "/page/"
"""What the page asks for itself begins so."""
HEALTH = "/health"
"""Tells whether the service answers and nothing else, so it asks for no password."""

TAGS = "/tags"
"""The calls of the dictionary begin so."""
TAG, SIMILAR_CALL, PAGE_SIMILAR = "/tag", "/similar", f"{PAGE}similar"
"""These take pictures, which are larger than any other body: they read it themselves, within limits of their own."""

IMPORTS = (f"{TAGS}/import", f"{PAGE.rstrip('/')}{TAGS}/import")
"""And these take the files that people have of tags."""
_OWN_BODY = (TAG, SIMILAR_CALL, PAGE_SIMILAR, *IMPORTS)

_SECURITY = {
    # No inline script or style, nothing from elsewhere: a file name or a tag that holds markup stays text.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """Who may ask a service.

    Attributes:
        token: what writes, as Bearer; it also opens the page.
        loopback: only this machine can reach the address that the service is bound to.
        password: what opens the page alone, which only reads; without one, only the token does.
    """

    token: str = field(repr=False)
    loopback: bool
    password: str | None = field(default=None, repr=False)


class Guard:
    """ASGI middleware. The media API (POST) always needs the token as Bearer.

    The page (GET, and what it sends itself) is open while the server is bound to loopback; the Host header must then
    name this machine, or a website could rebind its own name to 127.0.0.1 and read the library. Bound elsewhere, the
    page wants a password by Basic, which is what a browser asks its user for: the page's own or the token; or the token
    as Bearer.
    """

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._token = access.token.encode("utf-8")
        self._password = (access.password or access.token).encode("utf-8")
        self._loopback = access.loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SECURITY)
            await send(message)

        answer = self._refusal(scope)
        if answer is None and scope["path"] in _OWN_BODY and scope["method"] == "POST":
            await self._app(scope, receive, send_secured)
            return
        if answer is None:
            body = await _read(receive) if scope["method"] not in ("GET", "HEAD") else b""
            if body is not None:
                await self._app(scope, _replay(body, receive), send_secured)
                return
            answer = _error(413, f"the body is larger than {MAX_BODY} bytes: send fewer records")
            answer.headers["Connection"] = "close"  # there may be unread parts of the body in it
        await answer(scope, receive, send_secured)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if self._loopback and not is_loopback(_host_name(headers.get("host", ""))):
            return _error(403, "this service answers only to localhost; start it with --host to open it to a network")
        page = scope["method"] in ("GET", "HEAD") or _is_sent_by_the_page(scope["path"], headers)
        if page and (self._loopback or scope["path"] == HEALTH):
            return None
        given = _credentials(headers.get("authorization", ""), basic=page)
        if hmac.compare_digest(given, self._token) | (page and hmac.compare_digest(given, self._password)):
            return None
        answer = _error(401, "the token is missing or wrong: send Authorization: Bearer with the service's token")
        answer.headers["WWW-Authenticate"] = 'Basic realm="library", charset="UTF-8"' if page else "Bearer"
        return answer


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


def _is_sent_by_the_page(path: str, headers: Headers) -> bool:
    """Whether a request that changes something is the page's own.

    A browser tells the origin of what it sends, and no other website can make it tell ours.
    """
    _, _, origin = headers.get("origin", "").partition("://")
    return path.startswith(PAGE) and origin != "" and origin == headers.get("host")


def _host_name(host: str) -> str:
    """The name in a Host header, without its port; `[::1]:80` and `::1` alike."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host


def _credentials(authorization: str, *, basic: bool) -> bytes:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")
    if basic and scheme.lower() == "basic":
        try:
            return b64decode(value, validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return b""


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None if it is larger than allowed (whatever its Content-Length claims) or cut off.

    A body too large is read on for a while all the same: a client that is still sending when the connection closes
    sees a reset, and never the 413 that would make it send less.
    """
    body = bytearray()
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY:
            body += part
        if not message.get("more_body", False) or size > _DRAINED:
            return bytes(body) if size <= MAX_BODY else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, then goes on with the connection's own messages."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
