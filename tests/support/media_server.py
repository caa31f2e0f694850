"""A media service of somebody else: the contract of the media API on the standard library alone, and strict about it.

It answers what it is told to (`rules`), checks every byte it is sent (`violations`), keeps what it stores in the way an
old service does (`store`, `stored_twice`), and can write each stored record to a file as it happens, for tests that
kill the engine: `python -m tests.support.media_server --catalogue FILE --store FILE` runs it on its own.
"""

import argparse
import json
import random
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

SEGMENT, SINGLE, BULK = "/api/segment", "/api/recognition", "/api/recognition/bulk"
RECORD_KEYS = ["mediaId", "tagKey", "similarity"]


@dataclass
class Request:
    """A request as it came; `index` counts from 0 over all requests, `nth` over those to the same path."""

    index: int
    nth: int
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def records(self) -> list[dict[str, Any]]:
        value = json.loads(self.body)
        return [] if self.path == SEGMENT else value if isinstance(value, list) else [value]


@dataclass
class Reply:
    """What to answer. `store` says whether the records are stored first; `cut` resets the connection instead."""

    status: int = 200
    body: bytes = b'{"code": 200}'
    headers: dict[str, str] = field(default_factory=dict)
    store: bool = False
    cut: bool = False
    wait: threading.Event | None = None  # stall until this is set
    endless: bool = False  # repeat the body until the client has had enough


Rule = Callable[[Request], Reply | None]
"""Decides a request; None leaves it to the next rule. Ordinary service is what no rule decides."""


def at(indices: Iterable[int], reply: Reply, path: str | None = None) -> Rule:
    """Those requests (counted over all, or over those to `path`) get this reply."""
    wanted = set(indices)

    def rule(request: Request) -> Reply | None:
        count = request.index if path is None else request.nth
        return reply if path in (None, request.path) and count in wanted else None

    return rule


def always(reply: Reply, path: str | None = None) -> Rule:
    """Every request (to `path`) gets this reply."""
    return lambda request: reply if path in (None, request.path) else None


def from_request(index: int, reply: Reply) -> Rule:
    """Every request from this one on."""
    return lambda request: reply if request.index >= index else None


def randomly(share: float, replies: Sequence[Reply], seed: int = 0) -> Rule:
    """This share of requests gets one of these replies."""
    chance = random.Random(seed)
    return lambda _: chance.choice(replies) if chance.random() < share else None


def poisoned(media_ids: Iterable[int], reply: Reply) -> Rule:
    """Every request that holds a record of these media gets this reply."""
    wanted = {str(media_id) for media_id in media_ids}
    return lambda request: reply if any(str(record["mediaId"]) in wanted for record in request.records) else None


def too_many(limit: int) -> Rule:
    """413 above so many records."""
    return lambda request: Reply(413, b"too large") if len(request.records) > limit else None


# The failures the contract speaks of, for `randomly` and the others.
FAILURES = [
    Reply(500, b"boom"),
    Reply(503, b"", {"Retry-After": "0"}),
    Reply(200, b'{"code": 500, "msg": "busy"}'),
    Reply(200, b'{"success": false}'),
    Reply(cut=True),
    Reply(cut=True, store=True),
]
LOGIN_PAGE = Reply(200, b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html"})


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
        self.most_at_once = 0
        self._at_once = 0
        self._paths: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._log = store_file.open("a", encoding="utf-8", newline="\n") if store_file else None
        self._http = _Http(("127.0.0.1", port), _Call)
        self._http.service = self
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._http.server_port}"
        self.segment_url, self.recognition_url, self.bulk_url = (self.url + path for path in (SEGMENT, SINGLE, BULK))
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
                self._keep(request.records)
        return reply

    def _decide(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(401, b'{"message": "who are you?"}')
        if request.path not in (SEGMENT, SINGLE, BULK):
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


def check(request: Request) -> str | None:
    """What in a request is not exactly as the contract has it."""
    if request.headers.get("content-type") != "application/json; charset=UTF-8":
        return f"Content-Type {request.headers.get('content-type')!r}"
    value = json.loads(request.body.decode("utf-8"))
    if json.dumps(value, ensure_ascii=False).encode() != request.body:
        return "the body is not written as Python's json writes it"
    if request.path == SEGMENT:
        exact = list(value) == ["segmentStart", "limit", "storageStatus"] and value["storageStatus"] == "ALL_DL"
        return None if exact and type(value["segmentStart"]) is type(value["limit"]) is int else f"segment {value}"
    if isinstance(value, list) != (request.path == BULK):
        return "a list belongs to the bulk address, a record to the other"
    if request.path == BULK and not re.fullmatch("[0-9a-f]{64}", request.headers.get("idempotency-key", "")):
        return "no Idempotency-Key"
    faults = (check_record(record) for record in request.records)
    return next((fault for fault in faults if fault), None)


def check_record(record: dict[str, Any]) -> str | None:
    if list(record) != RECORD_KEYS:
        return f"keys {list(record)}"
    if type(record["mediaId"]) not in (int, str) or type(record["tagKey"]) is not str:
        return f"types of {record}"
    similarity = record["similarity"]
    exact = type(similarity) is str and re.fullmatch(r"[01]\.[0-9]{3}", similarity)
    return None if exact else f"similarity {similarity!r}"


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
