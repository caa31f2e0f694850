"""The delivery when the service says no: every row of the contract's table, and the requests it takes."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api.backoff import Backoff
from engine.delivery.chunks import Limits
from engine.errors import ApiAway, ApiError, Unauthorized, WrongAddress
from engine.ledger.ledger import Ledger
from engine.types import Media, Outcome, TagScore
from tests.support import ledgers
from tests.support.delivery import TOKEN, Bench, expected, tagged
from tests.support.media_server import (
    FAILURES,
    LOGIN_PAGE,
    MediaServer,
    Reply,
    always,
    at,
    from_request,
    poisoned,
    randomly,
    too_many,
)

BOTH = pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "single"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ledger(tmp_path / "state.db") as ledger, MediaServer() as server:
        yield Bench(ledger, server)
        assert server.violations == []


# Not now.


@BOTH
def test_a_bad_network_loses_nothing(bench: Bench, bulk: bool) -> None:
    bench.server.rules.append(randomly(0.25, FAILURES, seed=7))
    media = tagged(50, tags=3)
    bench.put(media)
    delivery = bench.deliver(bulk=bulk, limits=Limits(records=12))
    assert delivery.error is None
    assert bench.server.store == expected(media)
    assert bench.counts() == {"done": 50}
    assert 0 < delivery.counters.repeats < 0.6 * delivery.counters.requests


def test_a_connection_cut_after_the_store_repeats_one_record_at_most(bench: Bench) -> None:
    bench.server.rules.append(at([4], Reply(cut=True, store=True)))
    media = tagged(3, tags=6)
    bench.put(media)
    bench.deliver(bulk=False, connections=1)
    assert bench.server.store == expected(media)
    assert len(bench.server.stored_twice) == 1


def test_single_mode_goes_on_at_the_first_unanswered_record(bench: Bench) -> None:
    release = threading.Event()
    media = tagged(1, tags=6)
    bench.put(media)
    bench.server.rules.append(from_request(4, Reply(404)))
    bench.fails(WrongAddress, "404", bulk=False)
    assert [item.sent for item in ledgers.outbox(bench.ledger)] == [4]
    bench.server.rules.clear()
    bench.deliver(bulk=False)
    release.set()
    assert bench.server.store == expected(media)
    assert bench.server.stored_twice == []


def test_a_service_that_is_away_is_asked_by_one_request_at_a_time(bench: Bench) -> None:
    bench.server.rules.append(lambda request: Reply(503, b"starting") if request.index < 12 else None)
    media = tagged(40)
    bench.put(media)
    delivery = bench.deliver(bulk=False)
    assert bench.server.store == expected(media)
    assert bench.server.stored_twice == []
    assert bench.counts() == {"done": 40}
    assert delivery.counters.rejected == 0


def test_retry_after_holds_all_requests_back(bench: Bench) -> None:
    bench.server.rules.append(at([1], Reply(429, b"slow down", {"Retry-After": "3600"})))
    bench.put(tagged(30))
    backoff = Backoff(base_s=0.002, cap_s=0.01, longest_s=0.3)
    start = time.monotonic()
    delivery = bench.deliver(bulk=False, backoff=backoff)
    assert time.monotonic() - start >= 0.3
    assert delivery.counters.requests == 91
    assert bench.counts() == {"done": 30}


def test_giving_up_names_the_way_on_and_keeps_all(bench: Bench) -> None:
    bench.server.rules.append(always(Reply(502)))
    bench.put(tagged(500))
    backoff = Backoff(base_s=0.02, cap_s=0.1, seed=1)
    delivery = bench.fails(ApiAway, "engine deliver", give_up_after_s=0.5, backoff=backoff)
    assert bench.counts() == {"outbox": 500}
    assert delivery.counters.requests < 60
    assert bench.server.most_at_once == 1


def test_no_service_at_all(bench: Bench) -> None:
    bench.put(tagged(5))
    bench.fails(ApiAway, "engine deliver", give_up_after_s=0.2, recognition_bulk_url="http://127.0.0.1:9/bulk")
    assert bench.counts() == {"outbox": 5}


def test_media_that_make_the_service_fail_are_found_and_rejected(bench: Bench) -> None:
    bench.server.rules.append(poisoned([17, 63], Reply(500, b"NullPointerException")))
    media = tagged(100)
    bench.put(media)
    delivery = bench.deliver(limits=Limits(records=30))
    assert bench.counts() == {"done": 98, "rejected": 2}
    assert "NullPointerException" in bench.ledger.reasons(Outcome.REJECTED)[0][2]
    assert bench.server.store == expected(item for item in media if item.media.id not in (17, 63))
    # Ten chunks; then for each of the two some six attempts and a good half at each of five levels. Attempts of the
    # two at one moment do not count against either, so there may be some more.
    assert delivery.counters.requests < 10 + 2 * 5 * (6 + 1) + 30


def test_a_medium_that_fails_alone_is_rejected_in_single_mode(bench: Bench) -> None:
    bench.server.rules.append(poisoned([2], Reply(500, b"boom")))
    bench.put(tagged(40))
    bench.deliver(bulk=False)
    assert bench.counts() == {"done": 39, "rejected": 1}


# Too large.


def test_the_size_is_learned_from_413(bench: Bench) -> None:
    bench.server.rules.append(too_many(50))
    media = tagged(300, tags=10)
    bench.put(media)
    delivery = bench.deliver()
    assert bench.server.store == expected(media)
    assert bench.counts() == {"done": 300}
    refused = sum(len(request.records) > 50 for request in bench.server.posts())
    assert refused <= 8
    assert len(bench.server.posts()) - refused <= 3000 / 25 + 8
    assert delivery.counters.records == 3000


def test_a_medium_larger_than_the_service_takes_goes_in_pieces(bench: Bench) -> None:
    bench.server.rules.append(too_many(10))
    media = [*tagged(2), *tagged(1, tags=95, first=7)]
    bench.put(media)
    bench.deliver(limits=Limits(records=20))
    assert bench.server.store == expected(media)
    pieces = [[r["tagKey"] for r in q.records] for q in bench.server.posts() if q.records[0]["mediaId"] == 7]
    sent = [tag for piece in pieces if len(piece) <= 10 for tag in piece]
    assert sent == [tag for tag, _ in media[-1].tags]


def test_a_record_that_is_too_large_alone_is_refused_alone(bench: Bench) -> None:
    bench.server.rules.append(lambda q: Reply(413, b"huge") if len(q.body) > 2000 else None)
    big = ledgers.tagged(Media(2, "b", 2), TagScore("x", 0.9), TagScore("y" * 3000, 0.800), TagScore("z", 0.700))
    bench.put([*tagged(1), big])
    delivery = bench.deliver()
    assert bench.counts() == {"done": 2}
    assert [tag for media_id, tag in bench.server.store if media_id == "2"] == ["x", "z"]
    assert (delivery.counters.refused, delivery.counters.rejected) == (1, 0)


# Bad records.


def test_one_bad_medium_among_thousands_of_records_is_found_by_halving(bench: Bench) -> None:
    bench.server.rules.append(poisoned([777], Reply(422, b"unknown tag")))
    media = tagged(1000, tags=5)
    bench.put(media)
    delivery = bench.deliver()
    assert bench.counts() == {"done": 999, "rejected": 1}
    assert bench.ledger.reasons(Outcome.REJECTED) == [(777, "777.jpg", "422: unknown tag")]
    assert bench.server.store == expected(item for item in media if item.media.id != 777)
    assert delivery.counters.requests <= 10 + 2 * 7  # ten chunks of a hundred media, two requests a halving


@BOTH
def test_a_refusal_before_any_yes_stops(bench: Bench, bulk: bool) -> None:
    bench.server.rules.append(always(Reply(400, b"no such field: tagKey")))
    bench.put(tagged(50))
    delivery = bench.fails(ApiError, "no such field: tagKey", bulk=bulk)
    assert bench.counts() == {"outbox": 50}
    assert delivery.counters.requests == 1


def test_twenty_rejected_in_a_row_stop(bench: Bench) -> None:
    bench.server.rules.append(from_request(1, Reply(422, b"no more")))
    bench.put(tagged(200))
    bench.fails(ApiError, "20 media in a row", limits=Limits(records=30))
    assert bench.counts() == {"done": 10, "outbox": 171, "rejected": 19}


def test_rejected_records_are_kept_with_their_reason_and_the_rest_is_done(bench: Bench) -> None:
    body = {
        "rejected": [
            {"mediaId": 1, "tagKey": "tag 1 of 1: 赤", "reason": "unknown"},
            {"mediaId": "2", "reason": "gone"},
        ]
    }
    bench.server.rules.append(always(Reply(207, json.dumps(body).encode())))
    bench.put(tagged(3))
    delivery = bench.deliver()
    assert bench.counts() == {"done": 2, "rejected": 1}
    assert bench.ledger.reasons(Outcome.REJECTED) == [(2, "2.jpg", "gone")]
    assert (delivery.counters.refused, delivery.counters.rejected, delivery.counters.records) == (1, 1, 5)


def test_a_rejection_of_what_was_not_sent_stops(bench: Bench) -> None:
    bench.server.rules.append(always(Reply(207, b'{"rejected": [{"mediaId": 99, "reason": "?"}]}')))
    bench.put(tagged(3))
    bench.fails(ApiError, "medium 99")
    assert bench.counts() == {"outbox": 3}


# What no waiting heals.


@BOTH
@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (Reply(404), WrongAddress, "not the media API"),
        (Reply(302, b"", {"Location": "/login"}), WrongAddress, "302"),
        (LOGIN_PAGE, WrongAddress, "HTML page"),
        (Reply(401), Unauthorized, "ENGINE_API_TOKEN"),
        (Reply(200, b'{"code": 401}'), Unauthorized, "ENGINE_API_TOKEN"),
        (Reply(200, b'{"code": 20000}'), ApiError, 'ok_codes = ["0", "200", "20000"]'),
    ],
)
def test_what_no_waiting_heals_stops_with_nothing_marked(
    bench: Bench, bulk: bool, reply: Reply, error: type[Exception], text: str
) -> None:
    bench.server.rules.append(always(reply))
    bench.put(tagged(50))
    delivery = bench.fails(error, text, bulk=bulk)
    assert bench.counts() == {"outbox": 50}
    assert delivery.counters.requests == 1
    assert TOKEN not in str(delivery.error)


def test_a_token_refused_in_the_middle_stops_and_the_rest_is_kept(bench: Bench) -> None:
    bench.server.rules.append(from_request(7, Reply(401)))
    media = tagged(200)
    bench.put(media)
    bench.fails(Unauthorized, "nothing is lost", limits=Limits(records=30))
    done, waiting = bench.counts()["done"], bench.counts()["outbox"]
    assert (done, waiting) == (70, 130)
    bench.server.rules.clear()
    bench.deliver()
    assert bench.server.store == expected(media)
    assert bench.server.stored_twice == []
