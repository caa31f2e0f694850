"""A web server for tests that serves files from memory, and fails in each way that it is told."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass
class Reply:
    """What to answer.

    Attributes:
        pace: bytes a second at which the body goes; 0 for all at once.
        stall_after: so many bytes of the body, then nothing more until the server ends.
        cut_after: so many bytes of the body, then the connection ends.
        sized: whether the length is told before the body.
        hang_up: end the connection after the body, without a word of it.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    pace: int = 0
    stall_after: int | None = None
    cut_after: int | None = None
    sized: bool = True
    hang_up: bool = False


Rule = Callable[[str, dict[str, str]], Reply | None]
"""Decides a request by its path and headers (in lower case); None leaves it to the files."""


class FileServer:
    """The server on a free port of 127.0.0.1; a context manager. `files` is {path: body}."""

    def __init__(
        self, files: dict[str, bytes], rule: Rule = lambda *_: None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.files, self.rule = files, rule
        self.requests: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers
        self.sent = 0  # bytes of bodies
        self.connections = 0
        self.ending = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _Call)
        self._http.files = self
        # Little waits in this machine's own buffers, so `sent` is what would have gone over a network.
        self._http.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=lambda: self._http.serve_forever(poll_interval=0.02), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, headers: dict[str, str]) -> Reply:
        self.requests.append((method, path, headers))
        body = self.files.get(path)
        return self.rule(path, headers) or (Reply(404, b"not found") if body is None else Reply(body=body))


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    files: FileServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that break off are part of the tests."""


class _Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def setup(self) -> None:
        super().setup()
        self.server.files.connections += 1

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._serve(with_body=True)

    def _serve(self, *, with_body: bool) -> None:
        server = self.server.files
        reply = server.answer(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.sized:
            self.send_header("Content-Length", str(len(reply.body)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not with_body:
            return
        if not reply.sized:
            for piece in (reply.body[at : at + 1000] for at in range(0, len(reply.body), 1000)):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
            return
        end = min(at for at in (reply.stall_after, reply.cut_after, len(reply.body)) if at is not None)
        step = max(1, reply.pace // 20) if reply.pace else 1 << 16
        for at in range(0, end, step):
            piece = reply.body[at : min(at + step, end)]
            self.wfile.write(piece)
            server.sent += len(piece)
            if reply.pace:
                time.sleep(1 / 20)  # this is the pace that was asked for
        if reply.stall_after is not None:
            server.ending.wait(60)
        if end < len(reply.body) or reply.hang_up:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
