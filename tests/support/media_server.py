"""A media service of somebody else: the contract of the media API on the standard library alone, and strict about it.

It answers what it is told to (`rules`), checks every byte it is sent (`violations`), keeps what it stores in the way an
old service does (`store`, `stored_twice`), and can write each stored record to a file as it happens, for tests that
kill the engine: `python -m tests.support.media_server --catalogue FILE --store FILE` runs it on its own.
"""

import argparse
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.support.media_rules import (
    BULK,
    FAILURES,
    LOGIN_PAGE,
    REPLACE,
    SEGMENT,
    SINGLE,
    Reply,
    Request,
    Rule,
    always,
    at,
    check,
    from_request,
    poisoned,
    randomly,
    too_many,
)  # fmt: skip

__all__ = [
    "BULK", "FAILURES", "LOGIN_PAGE", "REPLACE", "SEGMENT", "SINGLE", "MediaServer", "Reply", "Request", "always",
    "at", "check", "from_request", "poisoned", "randomly", "too_many",
]  # fmt: skip


class MediaServer:
    """The service, on a free port of 127.0.0.1 unless told; a context manager.

    `catalogue` is [(id, storageUrl)]; it may be changed while the server runs. `string_ids` sends ids as strings.
    `page` replaces the ordinary segment answer: page(start, limit) -> the envelope.
    """

    def __init__(
        self,
        catalogue: Iterable[tuple[int, str]] = (),
        *rules: Rule,
        token: str = "a-token-for-tests",
        port: int = 0,
        string_ids: bool = False,
        page: Callable[[int, int], object] | None = None,
        store_file: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.catalogue = dict(catalogue)
        self.rules = list(rules)
        self.token = token
        self.string_ids = string_ids
        self.page = page or self._page
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.store: dict[tuple[str, str], str] = {}
        self.stored_twice: list[tuple[str, str]] = []
        self.given_by: dict[tuple[str, str], str] = {}  # the model that gave a stored record, where it was told
        self.most_at_once = 0
        self._at_once = 0
        self._paths: Counter[str] = Counter()
        self._lock = threading.Condition()
        self._log = store_file.open("a", encoding="utf-8", newline="\n") if store_file else None
        self._http = _Http(("127.0.0.1", port), _Call)
        self._http.service = self
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._http.server_port}"
        self.segment_url, self.recognition_url, self.bulk_url = (self.url + path for path in (SEGMENT, SINGLE, BULK))
        self.replace_url = self.url + REPLACE
        self._thread = threading.Thread(target=lambda: self._http.serve_forever(poll_interval=0.02), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        if self._log:
            self._log.close()

    def posts(self) -> list[Request]:
        """The requests that carried records."""
        return [request for request in self.requests if request.path != SEGMENT]

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        with self._lock:
            request = Request(len(self.requests), self._paths[path], path, headers, body)
            self._paths[path] += 1
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            reply = self._decide(request)
        if reply.wait:
            reply.wait.wait(60)
        with self._lock:
            self._at_once -= 1
            if reply.store and path != SEGMENT:
                self._take_away(request.replacements)
                self._keep(request.records)
        return reply

    def _decide(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(401, b'{"message": "who are you?"}')
        if request.path not in (SEGMENT, SINGLE, BULK, REPLACE):
            return Reply(404, b"no such page")
        fault = check(request)
        if fault:
            self.violations.append(f"request {request.index}: {fault}")
            return Reply(400, fault.encode())
        for rule in self.rules:
            reply = rule(request)
            if reply:
                return reply
        if request.path != SEGMENT:
            return Reply(store=True)
        asked = json.loads(request.body)
        return Reply(body=json.dumps(self.page(asked["segmentStart"], asked["limit"])).encode())

    def _page(self, start: int, limit: int) -> object:
        ids = sorted(media_id for media_id in self.catalogue if media_id >= start)[:limit]
        items = [{"id": str(i) if self.string_ids else i, "storageUrl": self.catalogue[i], "size": 1} for i in ids]
        return {"code": 200, "data": items}

    def _take_away(self, replacements: Iterable[dict[str, Any]]) -> None:
        """What the models gave these media before; what a model gives now is noted as its own."""
        for item in replacements:
            media_id, model = str(item["mediaId"]), item["model"]
            for key in [k for k, giver in self.given_by.items() if (k[0], giver) == (media_id, model)]:
                del self.store[key], self.given_by[key]
            for tag in item["tags"]:
                self.store.pop((media_id, tag["tagKey"]), None)
                self.given_by[media_id, tag["tagKey"]] = model

    def _keep(self, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            key = (str(record["mediaId"]), record["tagKey"])
            if key in self.store:
                self.stored_twice.append(key)
            self.store[key] = record["similarity"]
            if self._log:
                self._log.write(json.dumps([*key, record["similarity"]]) + "\n")
        if self._log:
            self._log.flush()
        self._lock.notify_all()

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until the store is as wanted; False if it is not in time."""
        with self._lock:
            return self._lock.wait_for(condition, timeout)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a stalled call must not hold up the end of a test
    request_queue_size = 64
    service: MediaServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that break off are part of the tests."""


class _Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.server.service.answer(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        if reply.cut:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        if reply.endless:
            self.end_headers()
            self.close_connection = True
            while True:
                self.wfile.write(reply.body)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Run until killed; prints its address on one line when it listens."""
    options = argparse.ArgumentParser(description="A media service for tests.")
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--catalogue", type=Path, required=True, help='JSON: {"1": "a.jpg", ...}')
    options.add_argument("--store", type=Path, help="stored records are appended here, a JSON line each")
    options.add_argument("--token", default="a-token-for-tests")
    options.add_argument("--failing", type=float, default=0.0, help="share of requests that fail in one of six ways")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    catalogue = {int(key): url for key, url in json.loads(given.catalogue.read_text(encoding="utf-8")).items()}
    rules = [randomly(given.failing, FAILURES, given.seed)]
    with MediaServer(catalogue.items(), *rules, token=given.token, port=given.port, store_file=given.store) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
