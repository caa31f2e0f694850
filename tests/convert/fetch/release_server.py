"""A release of the demo project, and a server that gives it and behaves badly."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.convert.projects import DEMO

H5 = next(DEMO.glob("*.h5"))
SHA256 = hashlib.sha256(H5.read_bytes()).hexdigest()


def zipped(top: str = "", tags: Sequence[str] | None = None) -> bytes:
    """The demo project as a release would come, with these tags if they are given."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(DEMO.iterdir()):
            if tags and path.name == "tags.txt":
                archive.writestr(top + path.name, "\n".join(tags))
            else:
                archive.write(path, top + path.name)
        archive.writestr(f"{top}README.html", "not part of a project")
    return file.getvalue()


RELEASE = zipped()


class Server(ThreadingHTTPServer):
    """Serves `content` at every path; the attributes are how it behaves.

    Attributes:
        cuts: for each answer in turn, after how many bytes of it the connection breaks.
        ranges: whether it knows Range.
        conditions: whether it knows If-Range; one that does not sends the part of whatever it has.
        etag: the file's; None sends none.
        status: what it answers.
        length: the Content-Length it claims for the whole file.
        location: where /moved leads.
        asked: the Range of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = RELEASE
        self.cuts: list[int] = []
        self.ranges = self.conditions = True
        self.etag: str | None = '"one"'
        self.status = 200
        self.length: int | None = None
        self.location = ""
        self.asked: list[str | None] = []
        self.address = f"http://127.0.0.1:{self.server_port}/release.zip"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers["Range"]
        server.asked.append(wanted)
        begin = self._begin(wanted)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", server.location)
        elif begin and begin >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
        else:
            return self._send(begin)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _begin(self, wanted: str | None) -> int:
        server = self.server
        changed = server.conditions and self.headers["If-Range"] != server.etag
        return int(wanted[6:-1]) if wanted and server.ranges and not changed else 0

    def _send(self, begin: int) -> None:
        server = self.server
        total = server.length if server.length is not None else len(server.content)
        self.send_response(206 if begin else server.status)
        self.send_header("Content-Length", str(total - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        body = server.content[begin:]
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        with suppress(ConnectionError):  # the client may stop when it has seen enough
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass
