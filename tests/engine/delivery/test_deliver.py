"""The delivery when the service is well: order, limits, keys, the end. A real ledger and a service that is not ours."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api.addresses import ApiConfig
from engine.api.client import MediaApi
from engine.api.token import Token
from engine.delivery.chunks import Limits
from engine.delivery.loop import Delivery
from engine.errors import LedgerError
from engine.ledger.ledger import Ledger
from engine.types import Media, TagScore
from tests.support import ledgers
from tests.support.delivery import TOKEN, Bench, expected, tagged
from tests.support.media_server import (
    BULK,
    MediaServer,
    Reply,
    Request,
    at,
)

BOTH = pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "single"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ledger(tmp_path / "state.db") as ledger, MediaServer() as server:
        yield Bench(ledger, server)
        assert server.violations == []


# The ordinary case.


@BOTH
def test_everything_arrives_once_in_the_contracts_shape(bench: Bench, bulk: bool) -> None:
    media = tagged(30, tags=5)
    bench.put(media[:10])
    with bench.delivering(bulk=bulk) as delivery:
        bench.put(media[10:])
        delivery.drain()
        assert delivery.join(60)
    assert bench.server.store == expected(media)
    assert bench.server.stored_twice == []
    assert bench.counts() == {"done": 30}
    assert delivery.error is None
    assert (delivery.counters.done, delivery.counters.records, delivery.counters.repeats) == (30, 150, 0)
    assert delivery.counters.requests == len(bench.server.requests)
    assert bench.server.most_at_once <= 4
    assert delivery.meter.items == 30
    ids = [record["mediaId"] for request in bench.server.posts() for record in request.records]
    assert {type(media_id) for media_id in ids if int(media_id) % 2} == {int}
    assert {type(media_id) for media_id in ids if not int(media_id) % 2} == {str}


def test_records_of_a_medium_keep_their_order_in_single_mode(bench: Bench) -> None:
    media = tagged(8, tags=5)
    bench.put(media)
    bench.deliver(bulk=False)
    for item in media:
        sent = [r["tagKey"] for q in bench.server.posts() for r in q.records if str(r["mediaId"]) == str(item.media.id)]
        assert sent == [tag for tag, _ in item.tags]


def test_as_many_requests_are_under_way_as_there_are_connections(bench: Bench) -> None:
    all_there = threading.Event()

    def hold(request: Request) -> Reply:
        if request.index == 4:
            all_there.set()
        return Reply(wait=all_there if request.index else None, store=True)

    bench.server.rules.append(hold)
    bench.put(tagged(9))
    bench.deliver(limits=Limits(records=3), timeout_s=20)
    assert all_there.is_set()
    assert bench.server.most_at_once == 4
    assert len(bench.server.requests) == 9


def test_chunks_keep_the_limits_and_a_medium_whole(bench: Bench) -> None:
    bench.put([*tagged(40, tags=7), *tagged(1, tags=120, first=900), *tagged(5, tags=2, first=901)])
    bench.deliver(limits=Limits(records=50, bytes=3000))
    for request in bench.server.posts():
        assert len(request.records) <= 50 or len({r["mediaId"] for r in request.records}) == 1
        assert len(request.body) <= 3000 or len({r["mediaId"] for r in request.records}) == 1
    flat = [media_id for ids in bench.posted() for media_id in ids]
    assert len(flat) == len(set(flat)) == 46  # no medium in two requests
    assert ["900"] in bench.posted()


def test_the_key_is_the_ledgers_and_the_contents(bench: Bench, tmp_path: Path) -> None:
    bench.put(tagged(3))
    bench.server.rules.append(at([0, 1], Reply(503), BULK))
    bench.deliver()
    with Ledger(tmp_path / "other.db") as other:
        again = Bench(other, bench.server)
        again.put(tagged(3))
        again.deliver()
    keys = [request.headers["idempotency-key"] for request in bench.server.posts()]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert len({request.body for request in bench.server.posts()}) == 1


def test_a_newer_row_of_a_medium_waits_for_the_older(bench: Bench) -> None:
    release, arrived = threading.Event(), threading.Event()

    def hold_first(request: object) -> Reply | None:
        arrived.set()
        return Reply(wait=release, store=True) if len(bench.server.requests) == 1 else None

    bench.server.rules.append(hold_first)
    (old,) = tagged(1)
    new = ledgers.tagged(Media(1, "new.jpg", 1), TagScore("newer", 0.700))
    bench.put([old])
    with bench.delivering(bulk=False, connections=4) as delivery:
        assert arrived.wait(30)
        bench.put([new, *tagged(3, first=2)])
        release.set()
        delivery.drain()
        assert delivery.join(30)
    newer = [index for index, q in enumerate(bench.server.posts()) if q.records[0]["tagKey"] == "newer"]
    older = [
        index for index, q in enumerate(bench.server.posts()) if q.records[0]["tagKey"] in {tag for tag, _ in old.tags}
    ]
    assert max(older) < min(newer)
    assert bench.counts() == {"done": 4}


# The end.


def test_stop_leaves_a_hanging_request_within_seconds_and_loses_nothing(bench: Bench) -> None:
    release, arrived = threading.Event(), threading.Event()

    def hang(_: object) -> Reply:
        arrived.set()
        return Reply(wait=release)

    bench.server.rules.append(hang)
    bench.put(tagged(4))
    with bench.delivering(grace_s=0.3) as delivery:
        assert arrived.wait(30)
        start = time.monotonic()
        delivery.stop()
        assert delivery.join(20)
        assert 0.3 <= time.monotonic() - start < 0.3 + 2
    release.set()
    assert delivery.error is None
    assert bench.counts() == {"outbox": 4}


def test_an_answer_that_comes_while_stopping_still_counts(bench: Bench) -> None:
    release, arrived = threading.Event(), threading.Event()

    def hold(_: object) -> Reply:
        arrived.set()
        return Reply(wait=release, store=True)

    bench.server.rules.append(hold)
    bench.put(tagged(4))
    with bench.delivering() as delivery:
        assert arrived.wait(30)
        delivery.stop()
        release.set()
        assert delivery.join(5)
    assert bench.counts() == {"done": 4}


def test_a_ledger_that_breaks_ends_the_delivery(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(bench.ledger, "outbox", broken)
    told: list[BaseException] = []
    bench.put(tagged(1))
    api = MediaApi(ApiConfig(bench.server.segment_url, bench.server.recognition_url), Token(TOKEN))
    delivery = Delivery(bench.ledger, api, on_fatal=told.append)
    delivery.start()
    assert delivery.join(10)
    assert told == [delivery.error]
    assert "disk is full" in str(told[0])
    api.close()
