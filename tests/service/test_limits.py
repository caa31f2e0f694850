"""What one kind of request, or one client that never asks, can take from the others: little."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
import pytest

from service import pages, server
from service.embedded import Running, embedded
from service.search.find import Search

SEGMENT = {"segmentStart": 1, "limit": 10}


def ask_segment(running: Running) -> int:
    headers = {"Authorization": f"Bearer {running.token}"}
    return len(httpx.post(running.segment_url, json=SEGMENT, headers=headers, timeout=10).json()["data"])


class Gate(NamedTuple):
    """Searches do not end before `open` is set; `reached`: one has come to it."""

    reached: threading.Event
    open: threading.Event


@pytest.fixture
def gate(monkeypatch) -> Iterator[Gate]:
    gate = Gate(threading.Event(), threading.Event())
    find = Search.find

    def stuck(*arguments, **options):
        gate.reached.set()
        gate.open.wait()
        return find(*arguments, **options)

    monkeypatch.setattr(Search, "find", stuck)
    monkeypatch.setattr(pages, "_PATIENCE", 0.2)
    yield gate
    gate.open.set()


def test_searches_that_hang_keep_neither_the_media_api_nor_pictures_waiting(gate, library, tmp_path):
    with embedded(library, db=tmp_path / "l.db", rescan=0) as running, ThreadPoolExecutor(60) as clients:
        try:
            searches = [clients.submit(httpx.get, f"{running.url}/page/pictures", timeout=60) for _ in range(60)]
            done = as_completed(searches, timeout=60)
            refused = [next(done).result() for _ in range(60 - pages._SEARCHES)]  # all but those that have a thread
            assert {one.status_code for one in refused} == {503}
            assert refused[0].headers["retry-after"]
            assert "try again" in refused[0].json()["error"]
            assert ask_segment(running) == 4
            assert httpx.get(f"{running.url}/thumb/1").status_code == 200
            assert httpx.get(f"{running.url}/health").json() == {"status": "ok"}
        finally:
            gate.open.set()
        assert sum(one.result().status_code == 200 for one in searches) == pages._SEARCHES


def test_pictures_on_a_share_that_hangs_keep_the_media_api_waiting_neither(running, monkeypatch):
    back = threading.Event()
    opened = threading.Semaphore(0)
    open_file = anyio.open_file

    def hang() -> None:
        opened.release()
        back.wait()

    async def hanging(*arguments, **options):
        await anyio.to_thread.run_sync(hang)  # as the real one does, in one of the threads that all files share
        return await open_file(*arguments, **options)

    monkeypatch.setattr(anyio, "open_file", hanging)
    with ThreadPoolExecutor(50) as clients:
        try:
            pictures = [clients.submit(httpx.get, f"{running.url}/picture/1", timeout=60) for _ in range(50)]
            for _ in range(40):  # all of those threads
                assert opened.acquire(timeout=60)
            assert ask_segment(running) == 4
            assert httpx.get(f"{running.url}/page/pictures", timeout=10).status_code == 200
        finally:
            back.set()
        assert {one.result().status_code for one in pictures} == {200}


@pytest.mark.parametrize("path", ["/page/pictures", "/page/facets", "/page/pictures/1/next"])
def test_a_query_without_end_is_bounded(idle, path):
    for query in ("a" * 9_999, "(" * 9_999, " or ".join(f"t{i}" for i in range(1_000)), "-" * 9_999):
        assert idle.get(path, params={"q": query}).status_code == 200
    refused = idle.get(path, params={"q": "a" * 10_001})
    assert refused.status_code == 422
    assert "10000 characters" in refused.json()["error"]


def half_open(running: Running, count: int, stack: ExitStack) -> list[socket.socket]:
    """Connections that have begun a request and leave it there."""
    address = urlsplit(running.url)
    opened = [stack.enter_context(socket.create_connection((address.hostname, address.port))) for _ in range(count)]
    for one in opened:
        one.sendall(b"GET / HTTP/1.1\r\nHost: ")
    return opened


def test_connections_that_never_ask_give_way_to_those_that_do(running, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 10)
    monkeypatch.setattr(server, "RESERVED", 0)
    with ExitStack() as stack:
        opened = half_open(running, 60, stack)
        assert ask_segment(running) == 4
        assert httpx.get(running.url, timeout=10).status_code == 200
        opened[0].settimeout(10)
        assert _closed(opened[0])


def test_a_request_that_does_not_come_is_not_waited_for(running, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    with ExitStack() as stack:
        (one,) = half_open(running, 1, stack)
        one.settimeout(10)
        assert _closed(one)
        address = urlsplit(running.url)
        kept = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in kept.recv(65536)
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: ")  # and the second one never comes whole
        assert _closed(kept)


def _closed(one: socket.socket) -> bool:
    """Whether the other side closes it, before this side's time is up."""
    try:
        while one.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_slow_request_under_way_is_not_cut(gate, library, tmp_path, monkeypatch):
    limit = 2.0  # long enough for a request to arrive on a busy machine
    monkeypatch.setattr(server, "REQUEST_SECONDS", limit)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(server, "RESERVED", 0)
    with embedded(library, db=tmp_path / "l.db", rescan=0) as running, ThreadPoolExecutor(1) as client:
        slow = client.submit(httpx.get, f"{running.url}/page/pictures", timeout=60)
        assert gate.reached.wait(60)
        reached = time.monotonic()
        while time.monotonic() < reached + limit:  # while it is under way it keeps its place: others are turned away
            with pytest.raises(httpx.TransportError):
                httpx.get(running.url, timeout=10)
        gate.open.set()
        assert slow.result().status_code == 200
