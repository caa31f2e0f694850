"""The delivery when the service says no: every row of the contract's table, and the requests it takes."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
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
    delivery = bench.fails(ApiAway, "neither stored nor refused anything", give_up_after_s=0.5, backoff=backoff)
    assert bench.counts() == {"outbox": 500}
    assert "engine deliver" in str(delivery.error)
    assert delivery.counters.requests < 60
    assert bench.server.most_at_once == 1


def test_no_service_at_all(bench: Bench) -> None:
    bench.put(tagged(5))
    for patience in ({"give_up_after_s": 0.2}, {"first_answer_s": 0.2}):
        sentence = "has never answered (nothing listens at 127.0.0.1:9): check the address"
        bench.fails(WrongAddress, sentence, recognition_bulk_url="http://127.0.0.1:9/bulk", **patience)
    assert bench.counts() == {"outbox": 5}


def test_a_service_that_ever_answered_is_waited_for(bench: Bench) -> None:
    bench.put(tagged(1))
    bench.deliver()
    port = int(bench.server.url.rpartition(":")[2])
    bench.server.__exit__()
    bench.put(tagged(5, first=2))
    with bench.delivering(first_answer_s=0.01) as delivery:
        delivery.drain()
        assert not delivery.join(0.3) and delivery.error is None
        with MediaServer(port=port) as back:
            assert delivery.join(10)
    assert bench.counts() == {"done": 6}
    assert len(back.store) == 15
    bench.server = back


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
@pytest.mark.parametrize("there", [3, 2000])
def test_a_refusal_of_all_that_is_tried_before_any_yes_stops(bench: Bench, bulk: bool, there: int) -> None:
    bench.server.rules.append(always(Reply(400, b"no such field: tagKey")))
    bench.put(tagged(there))
    delivery = bench.fails(ApiError, "no such field: tagKey", bulk=bulk)
    assert bench.counts() == {"outbox": there}
    tried = [ids[0] for ids in bench.posted() if len(ids) == 1]
    assert len(tried) == len(set(tried)) == min(20, there)
    assert delivery.counters.requests == len(tried) + bulk  # the first chunk, then one medium each
    if there == 2000:  # from everywhere
        assert {int(media_id) // 200 for media_id in tried} == set(range(10))


@BOTH
@pytest.mark.parametrize("bad", [[1], [1, 2, 3], range(1, 1500)], ids=["one", "three", "most"])
def test_bad_media_first_do_not_stop_the_others(bench: Bench, bulk: bool, bad: Sequence[int]) -> None:
    bench.server.rules.append(poisoned(bad, Reply(422, b"no such medium")))
    media = tagged(2000, tags=1)
    bench.put(media)
    bench.deliver(bulk=bulk)
    # With most of them bad, the run stops at the twentieth in a row; but it has begun, and goes on when it is told to.
    good = [item for item in media if item.media.id not in bad]
    if len(good) > 1000:
        assert bench.counts() == {"done": len(good), "rejected": len(bad)}
        assert bench.server.store == expected(good)
    else:
        assert bench.counts()["done"] > 0
    assert bench.server.stored_twice == []


def test_where_this_address_said_yes_before_bad_media_are_rejected_at_once(bench: Bench) -> None:
    bench.put(tagged(1))
    bench.deliver()
    bench.server.rules.append(always(Reply(422, b"no such medium")))
    bench.put(tagged(2, first=2))
    bench.deliver()
    assert bench.counts() == {"done": 1, "rejected": 2}
    bench.put(tagged(2, first=4))  # another address has to say yes itself
    bench.fails(ApiError, "never said yes", bulk=False)
    assert bench.counts() == {"done": 1, "rejected": 2, "outbox": 2}


def test_a_medium_that_was_tried_and_put_off_is_not_lost(bench: Bench) -> None:
    bench.server.rules += [at([0], Reply(422, b"no")), at([1, 2, 3], Reply(503, b"busy")), poisoned([1], Reply(422))]
    media = tagged(30)
    bench.put(media)
    bench.deliver()
    assert bench.counts() == {"done": 29, "rejected": 1}
    assert bench.server.store == expected(media[1:])
    assert bench.server.stored_twice == []


def test_one_refused_record_costs_that_record_in_single_mode(bench: Bench) -> None:
    bad = "tag 1 of 2: 赤"
    refuse = lambda request: Reply(422, b"locked") if request.records[0]["tagKey"] == bad else None  # noqa: E731
    bench.server.rules.append(refuse)
    media = tagged(3)
    bench.put(media)
    delivery = bench.deliver(bulk=False)
    assert bench.counts() == {"done": 3}
    assert bench.ledger.refused() == [(2, bad, "422: locked")]
    assert bench.server.store == {key: value for key, value in expected(media).items() if key[1] != bad}
    assert (delivery.counters.refused, delivery.counters.records) == (1, 8)


def test_a_refused_record_is_known_after_a_break(bench: Bench) -> None:
    refuse = lambda request: Reply(422, b"locked") if request.records[0]["tagKey"].startswith("tag 1") else None  # noqa: E731
    bench.server.rules += [refuse, from_request(2, Reply(404))]
    bench.put(tagged(1, tags=5))
    bench.fails(WrongAddress, "404", bulk=False)
    assert bench.ledger.refused() == [(1, "tag 1 of 1: 赤", "422: locked")]
    assert [item.sent for item in ledgers.outbox(bench.ledger)] == [2]


@pytest.mark.parametrize("failing", [[3], [1, 2, 3]])
def test_poison_that_is_all_that_is_left_is_rejected(bench: Bench, failing: list[int]) -> None:
    bench.server.rules.append(poisoned(failing, Reply(500, b"NullPointerException")))
    media = tagged(3)
    bench.put(media)
    delivery = bench.deliver(limits=Limits(records=3))
    assert bench.counts() == ({"done": 3 - len(failing)} if len(failing) < 3 else {}) | {"rejected": len(failing)}
    assert delivery.counters.requests < 3 + len(failing) * 14


def test_a_service_that_lists_nothing_either_is_no_mediums_fault(bench: Bench) -> None:
    bench.server.rules.append(lambda request: Reply(500) if request.index < 60 else None)
    bench.put(tagged(1))
    bench.deliver()
    assert bench.counts() == {"done": 1}


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


def test_rejected_records_that_were_not_sent_count_for_nothing(bench: Bench) -> None:
    rejected = [{"mediaId": 1, "tagKey": f"never sent {i}"} for i in range(500)]
    rejected += [{"mediaId": 1, "tagKey": "tag 1 of 1: 赤", "reason": "unknown"}] * 3
    bench.server.rules.append(always(Reply(207, json.dumps({"rejected": rejected}).encode())))
    bench.put(tagged(1))
    delivery = bench.deliver()
    assert (delivery.counters.refused, delivery.counters.records) == (1, 2)
    assert bench.ledger.refused() == [(1, "tag 1 of 1: 赤", "unknown")]


def test_a_medium_rejected_after_some_pieces_counts_none_below_zero(bench: Bench) -> None:
    reject = lambda request: Reply(207, b'{"rejected": [{"mediaId": 1, "reason": "gone"}]}')  # noqa: E731
    bench.server.rules += [too_many(10), lambda request: reject(request) if len(request.records) == 5 else None]
    bench.put(tagged(1, tags=95))
    delivery = bench.deliver(limits=Limits(records=7))
    assert delivery.counters.records == 0
    assert sum(len(request.records) == 5 for request in bench.server.posts()) == 1  # the rest of it is not sent
    assert bench.counts() == {"rejected": 1}


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
