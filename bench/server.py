"""A media API to measure against: the contract's four calls, with the tags kept in memory.

    python -m bench.server --catalogue FILE [--latency SECONDS]

FILE is JSON: {"names": [...], "count": N}; media 1..N share the names in turn. It prints its address. GET /report
tells what it was asked and when. It runs in a process of its own, so that its work does not count as the client's.
"""

import argparse
import json
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.machine import python_command
from bench.new_process import environment

SEGMENT, SINGLE, BULK, REPORT = "/segment", "/recognition", "/recognition/bulk", "/report"
REPLACE = "/recognition/replace"
TOKEN = "bench"  # noqa: S105 - guards nothing


@dataclass(frozen=True, slots=True)
class Server:
    """A running server's address."""

    url: str

    def report(self) -> dict[str, Any]:
        """`requests` by path, `records`, times (Unix, s) `began`, `first_record`, `last_record`, and `tags` by id."""
        with urllib.request.urlopen(self.url + REPORT, timeout=30) as answer:  # noqa: S310 - our own address
            return dict(json.load(answer))


@contextmanager
def serving(folder: Path, names: Sequence[str], count: int, latency_s: float = 0.0) -> Iterator[Server]:
    """Start a server for this catalogue; `folder` takes the file that describes it."""
    catalogue = folder / "catalogue.json"
    catalogue.write_text(json.dumps({"names": list(names), "count": count}), encoding="utf-8")
    command = python_command("-m", "bench.server", "--catalogue", str(catalogue), "--latency", str(latency_s))
    with subprocess.Popen(  # noqa: S603 - this interpreter
        command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment()
    ) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("no pipe")
            yield Server(process.stdout.readline().strip())
        finally:
            process.kill()


class _Store:
    """What was asked and stored. Thread-safe."""

    def __init__(self, names: list[str], count: int) -> None:
        self._names, self._count = names, count
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._tags: dict[int, dict[str, str]] = {}
        self._records = 0
        self._began = self._first = self._last = 0.0

    def answer(self, path: str, body: bytes) -> bytes:
        asked = json.loads(body)
        with self._lock:
            self._requests[path] += 1
            now = time.time()
            self._began = self._began or now
            if path == SEGMENT:
                start = max(1, asked["segmentStart"])
                ids = range(start, min(start + asked["limit"], self._count + 1))
                items = [{"id": i, "storageUrl": self._names[i % len(self._names)]} for i in ids]
                return json.dumps({"data": items}).encode()
            if path == REPLACE:  # by one model alone, so that all of a medium's tags are its own
                for item in asked:
                    self._tags[item["mediaId"]] = {tag["tagKey"]: tag["similarity"] for tag in item["tags"]}
                    self._records += len(item["tags"])
            else:
                for record in asked if path == BULK else [asked]:
                    self._tags.setdefault(record["mediaId"], {})[record["tagKey"]] = record["similarity"]
                    self._records += 1
            self._first = self._first or now
            self._last = now
        return b'{"code": 200}'

    def report(self) -> bytes:
        with self._lock:
            times = {"began": self._began, "first_record": self._first, "last_record": self._last}
            counts = {"requests": dict(self._requests), "records": self._records}
            return json.dumps(counts | times | {"tags": self._tags}).encode()


class _Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: _Store
    latency_s: float

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.latency_s:
            time.sleep(self.latency_s)
        known = self.path in (SEGMENT, SINGLE, BULK, REPLACE)
        self._send(200 if known else 404, self.store.answer(self.path, body) if known else b"{}")

    def do_GET(self) -> None:
        self._send(200, self.store.report())

    def _send(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)  # one packet, where send_response makes two and formats a date

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def main() -> None:
    """Run until killed."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--catalogue", type=Path, required=True)
    options.add_argument("--latency", type=float, default=0.0, help="seconds that every answer takes longer")
    given = options.parse_args()
    catalogue = json.loads(given.catalogue.read_text(encoding="utf-8"))
    _Call.store, _Call.latency_s = _Store(catalogue["names"], catalogue["count"]), given.latency
    server = _Http(("127.0.0.1", 0), _Call)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
