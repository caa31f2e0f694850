"""GET and HEAD over HTTP/1.1 for many threads: connections kept, errors told apart by what happened.

Only what reading files needs, on plain sockets: docs/decisions/own-s3-client.md says why. The one limit is the time
without progress: each wait for bytes may take so long, however long the whole takes. Proxies that the environment
names are not used.
"""

import errno
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from engine.certificates import trusted
from engine.errors import ConfigError, Kind, Unreadable
from engine.storage.reading import Reading
from engine.types import FileState

_CONNECT = 10.0  # seconds at most for a connection; in a network that works it is well below one
_PIECE = 1 << 18  # bytes asked of the system at a time
_HEAD_PIECE = 1 << 16  # of an answer's head, with which a small file comes whole: memory of this size is cheap
_LONGEST_HEAD = 1 << 16  # bytes of status and headers
_SHOWN = 4096  # bytes of an error's body that are looked at
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "HTTP_REQUEST")
_WANTS_TLS = re.compile(r"HTTP request (was sent )?to (an )?HTTPS", re.IGNORECASE)


class _Broken(Exception):
    """The connection ended, or what came is not HTTP."""


class Answer:
    """An answer whose head has arrived, and whose body is still to be read; to be closed. RFC 9112.

    Attributes:
        headers: by their names in lower case; of a name that comes twice, the last.
        size: bytes of the file; None if the server does not say.
    """

    def __init__(
        self,
        sock: socket.socket,
        method: str,
        done: Callable[[bool], None],
        trouble: Callable[[Exception], Unreadable],
    ) -> None:
        """Waits for the head. Raises `OSError` or `_Broken`."""
        self._socket, self._done, self._trouble = sock, done, trouble
        self._came = b""  # and was not taken yet
        self.status, self.headers, close = self._head()
        while 100 <= self.status < 200:
            self.status, self.headers, close = self._head()
        told = self.headers.get("content-length", "")
        chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        self.size = int(told) if told.isdecimal() and not chunked else None
        bodiless = method == "HEAD" or self.status in (204, 304)
        self._left = 0 if bodiless else self.size  # None: until the last chunk, or the connection's end
        self._chunk = 0 if chunked and not bodiless else None  # bytes left of this chunk
        self._kept = not close and (self._left is not None or chunked)
        self._closed = False
        self._text: str | None = None

    def read(self, size: int) -> bytes:
        """The next bytes of the body, as they arrive; b"" at its end. Raises `Unreadable` where it breaks off."""
        if self._left == 0 or not size:
            return b""
        try:
            if self._chunk is not None:
                return self._of_chunk(size)
            data = self._more(size if self._left is None else min(size, self._left))
            if self._left is not None:
                if not data:
                    raise _Broken(f"{self._left:,} bytes before the end")
                self._left -= len(data)
            elif not data:
                self._left = 0
        except (OSError, _Broken) as error:
            raise self._trouble(error) from error
        return data

    def _read_into(self, view: memoryview) -> int:
        """As `read`, into memory that is there, of an answer with a size."""
        view = view[: self._left or 0]
        try:
            if self._came:
                count = min(len(self._came), len(view))
                view[:count] = memoryview(self._came)[:count]
                self._came = self._came[count:]
            elif view:
                count = self._socket.recv_into(view)
                if not count:
                    raise _Broken(f"{self._left:,} bytes before the end")
            else:
                return 0
        except (OSError, _Broken) as error:
            raise self._trouble(error) from error
        self._left = (self._left or 0) - count
        return count

    def _more(self, size: int) -> bytes:
        """Bytes that came or come next, at most `size`; b"" where the connection ends."""
        if not self._came:
            return self._socket.recv(min(size, _PIECE))
        data, self._came = self._came[:size], self._came[size:]
        return data

    def _until(self, mark: bytes) -> bytes:
        """What comes before a mark, which is taken too."""
        while (at := self._came.find(mark)) < 0:
            if len(self._came) > _LONGEST_HEAD:
                raise _Broken("what came is not HTTP")
            piece = self._socket.recv(_HEAD_PIECE)
            if not piece:
                raise _Broken("it was closed in the middle of an answer" if self._came else "it was closed")
            self._came += piece
        found, self._came = self._came[:at], self._came[at + len(mark) :]
        return found

    def _head(self) -> tuple[int, dict[str, str], bool]:
        """Status, headers, and whether the server closes the connection after the answer."""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
            raise _Broken("what came is not HTTP")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        keeps = headers.get("connection", "keep-alive" if version != "HTTP/1.0" else "close").lower()
        return int(rest[:3]), headers, "close" in keeps

    def _of_chunk(self, size: int) -> bytes:
        if not self._chunk:
            number = self._until(b"\r\n").partition(b";")[0].strip()
            try:
                self._chunk = int(number, 16)
            except ValueError:
                raise _Broken("what came is not HTTP") from None
            if not self._chunk:
                while self._until(b"\r\n"):  # trailers
                    pass
                self._left = 0
                return b""
        data = self._more(min(size, self._chunk))
        if not data:
            raise _Broken("in the middle of a file")
        self._chunk -= len(data)
        if not self._chunk and self._until(b"\r\n"):
            raise _Broken("what came is not HTTP")
        return data

    def text(self) -> str:
        """The beginning of the body, for errors and other short answers; closes the answer."""
        if self._text is not None:
            return self._text
        data = b""
        try:
            while len(data) < _SHOWN and (piece := self.read(_SHOWN - len(data))):
                data += piece
        except Unreadable:  # what has come must do: the status says more than the body
            pass
        self.close()
        self._text = data.decode("utf-8", "replace")
        return self._text

    def retry_after(self) -> float | None:
        """Seconds until the server wants to be asked again, if it says so."""
        value = self.headers.get("retry-after", "").strip()
        try:
            return float(value) if value.isdigit() else max(0.0, (_date(value) - datetime.now(UTC)).total_seconds())
        except (TypeError, ValueError):
            return None

    def close(self) -> None:
        """Gives the connection back; one with an unread rest is closed, which is cheaper than to read it."""
        if not self._closed:
            self._closed = True
            self._done(self._kept and self._left == 0 and not self._came)

    def reading(self, max_bytes: int, too_large: Callable[[int, int], Unreadable]) -> Reading:
        """The body as a file. Where the server does not say how long it is, it is read first."""
        if self.size is None:
            data = bytearray()
            try:
                while piece := self.read(_PIECE):
                    data += piece
                    if len(data) > max_bytes:
                        raise too_large(len(data), max_bytes)
            finally:
                self.close()
            whole = memoryview(bytes(data))
            return Reading(len(whole), _pieces(whole))
        if self.size > max_bytes:
            self.close()
            raise too_large(self.size, max_bytes)
        return Reading(self.size, self.read, self.close, self._read_into)


class Server:
    """One origin (`http://nas:9000`) and the connections to it that are free at the moment."""

    def __init__(self, url: str, timeout_s: float, ca_file: Path | None) -> None:
        """Raises `ConfigError` for a URL that is none, or holds a user or password."""
        self._free: deque[socket.socket] = deque()
        parts = split(url)
        self.name = f"{parts.scheme}://{parts.netloc}"
        self.host = parts.netloc
        self._address = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._context = trusted(ca_file) if parts.scheme == "https" else None
        self._timeout_s = timeout_s

    def __del__(self) -> None:
        for sock in self._free:
            sock.close()

    def ask(self, method: str, target: str, headers: Mapping[str, str], timeout_s: float | None = None) -> Answer:
        """Sends a request without a body and waits for the head of the answer.

        Args:
            target: path and query, encoded.
            headers: `Host` is added.
            timeout_s: the longest time without progress; by default that of the server.

        Raises:
            Unreadable: no answer, or none that is HTTP; with its kind.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = (
            f"{method} {target} HTTP/1.1\r\nHost: {self.host}\r\nAccept-Encoding: identity\r\n{lines}\r\n".encode()
        )
        while True:
            answer = self._ask(method, request, timeout_s)
            if answer is not None:
                break
        if answer.status == HTTPStatus.BAD_REQUEST and not self._context and _refuses_plain(answer):
            raise Unreadable(f"{self.name} wants TLS: write https:// in its address", Kind.MISCONFIGURED)
        return answer

    def _ask(self, method: str, request: bytes, timeout_s: float) -> Answer | None:
        """The answer; None where the server had closed a connection while it lay here."""
        sock = None
        try:
            sock = self._free.pop()  # the one that was used last: the others may have time to end
            used = True
        except IndexError:
            used = False
        try:
            if sock is None:
                sock = self._connect(min(timeout_s, _CONNECT))
            if sock.gettimeout() != timeout_s:  # a call of the system each time
                sock.settimeout(timeout_s)
            sock.sendall(request)
            return Answer(sock, method, self._keeper(sock), lambda error: self._trouble(error, timeout_s))
        except (OSError, _Broken) as error:
            if sock is not None:
                sock.close()
            if used and isinstance(error, ConnectionError | _Broken):
                return None
            raise self._trouble(error, timeout_s) from error
        except BaseException:
            if sock is not None:
                sock.close()
            raise

    def _connect(self, timeout_s: float) -> socket.socket:
        try:
            sock = socket.create_connection(self._address, timeout_s)
        except TimeoutError as error:
            raise _NoConnection from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return sock
        try:
            return self._context.wrap_socket(sock, server_hostname=self._address[0])
        except BaseException:
            sock.close()
            raise

    def _keeper(self, sock: socket.socket) -> Callable[[bool], None]:
        def done(reusable: bool) -> None:
            if reusable:
                self._free.append(sock)
            else:
                sock.close()

        return done

    def _trouble(self, error: Exception, timeout_s: float) -> Unreadable:
        """What an error of the connection means, as a sentence about this server."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unreadable(
                f"the certificate of {self.name} is not trusted ({error.verify_message}): name the file of its "
                "certificate authority (ca_file)",
                Kind.MISCONFIGURED,
            )
        if isinstance(error, ssl.SSLError) and any(word in str(error) for word in _NO_TLS):
            return Unreadable(f"{self.name} does not speak TLS: write http:// in its address", Kind.MISCONFIGURED)
        if isinstance(error, socket.gaierror):
            return Unreadable(f"the host of {self.name} cannot be found ({error.strerror}): check the name", Kind.AWAY)
        if isinstance(error, _NoConnection):
            return Unreadable(
                f"{self.name} gives no connection within {min(timeout_s, _CONNECT):.0f} s: check host and port",
                Kind.AWAY,
            )
        if isinstance(error, TimeoutError):
            return Unreadable(f"nothing came from {self.name} for {timeout_s:.0f} s", Kind.TRANSIENT)
        if isinstance(error, OSError) and error.errno in _AWAY:
            return Unreadable(
                f"nothing answers at {self.name} ({error.strerror}): is it running, and the port right?", Kind.AWAY
            )
        text = str(error) or type(error).__name__
        return Unreadable(f"the connection to {self.name} broke off ({text})", Kind.TRANSIENT)


class _NoConnection(OSError):
    """No connection within its time: nothing listens there, or a firewall drops what is sent."""


def _refuses_plain(answer: Answer) -> bool:
    """Whether a bad request is what a server says that speaks TLS. S3's own errors are XML."""
    return "xml" not in answer.headers.get("content-type", "") and bool(_WANTS_TLS.search(answer.text()))


def split(url: str) -> SplitResult:
    """The parts of a URL of http or https. Raises `ConfigError` for one that cannot be used."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        good = False
    if not good or " " in url:
        raise ConfigError(f"{url!r} is no address of a server: write http://host:port or https://host:port")
    if parts.username or parts.password:
        raise ConfigError(f"the address of {parts.hostname} holds a user or password, which would show: leave it out")
    return parts


def origin(url: str) -> str:
    """Scheme, host and port of a URL: what a token may be sent to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def kind_of_status(status: int) -> Kind:
    """What a status other than 200 means, where nothing more is known."""
    if status in (404, 410):
        return Kind.MISSING
    if status == HTTPStatus.UNAUTHORIZED:
        return Kind.MISCONFIGURED
    if status == HTTPStatus.FORBIDDEN:
        return Kind.DENIED
    return Kind.TRANSIENT if status >= 500 or status in (408, 425, 429) else Kind.REFUSED


def shown(text: str, longest: int = 200) -> str:
    """What a server wrote, for the end of a sentence: without markup, on one line, short."""
    text = re.sub(r"<(script|style)\b.*?</\1>|<[^<>]*>", " ", text, flags=re.IGNORECASE | re.DOTALL)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else text[:longest] + "…"


def file_state(answer: Answer) -> FileState:
    """Size and time from the head of an answer; 0 for what the server does not say."""
    answer.close()
    try:
        time = _date(answer.headers.get("last-modified", "")).timestamp()
    except ValueError:
        time = 0.0
    return FileState(answer.size or 0, time)


def _pieces(whole: memoryview) -> Callable[[int], bytes]:
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        piece = whole[at : at + size].tobytes()
        at += len(piece)
        return piece

    return read


def _date(value: str) -> datetime:
    date = parsedate_to_datetime(value)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


_AWAY = {
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL,
    getattr(errno, "EHOSTDOWN", errno.EHOSTUNREACH),
}  # fmt: skip
