"""The delivery where the service replaces tags: all of a medium travels together, also the fact that it has none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.delivery.chunks import Chunk, Limits, OutboxMedium
from engine.ledger.ledger import Ledger
from engine.types import Outcome
from tests.support import ledgers
from tests.support.delivery import Bench, expected, outbox_items, tagged
from tests.support.media_server import REPLACE, MediaServer, Reply, at, poisoned, too_many


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ledger(tmp_path / "state.db") as ledger, MediaServer() as server:
        ledger.name_model("first")
        yield Bench(ledger, server)
        assert server.violations == []
        assert {request.path for request in server.posts()} <= {REPLACE}


def test_everything_arrives_and_a_second_time_takes_the_place_of_the_first(bench: Bench) -> None:
    bench.put(tagged(9, tags=5), replaces=True)
    delivery = bench.deliver(replace=True)
    assert bench.server.store == expected(tagged(9, tags=5))
    assert (delivery.counters.done, delivery.counters.records) == (9, 45)
    fewer = [*tagged(4, tags=2), *tagged(5, tags=0, first=5)]
    bench.ledger.retry([item.media for item in fewer]).result()
    bench.put(fewer, replaces=True)
    bench.deliver(replace=True)
    assert bench.server.store == expected(tagged(4, tags=2))
    assert bench.counts() == {"done": 9}


def test_the_models_before_are_emptied_in_the_same_request(bench: Bench) -> None:
    bench.ledger.name_model("second")
    bench.put(tagged(1, tags=1), replaces=True)
    bench.deliver(replace=True)
    [request] = bench.server.posts()
    assert [(item["model"], len(item["tags"])) for item in request.replacements] == [("first", 0), ("second", 1)]
    bench.ledger.name_model("first")
    assert bench.ledger.models() == ("second", "first")


def test_requests_keep_the_limits_and_media_without_tags_count(bench: Bench) -> None:
    bench.put([*tagged(10, tags=3), *tagged(40, tags=0, first=11)], replaces=True)
    bench.deliver(replace=True, limits=Limits(records=9))
    assert bench.server.store == expected(tagged(10, tags=3))
    sizes = [sum(1 + len(item["tags"]) for item in request.replacements) for request in bench.server.posts()]
    assert max(sizes) <= 9 and len(sizes) >= 80 / 9
    assert bench.counts() == {"done": 50}


def test_too_large_is_cut_between_media_and_never_within_one(bench: Bench) -> None:
    bench.server.rules.append(too_many(6))
    bench.put([*tagged(6, tags=4), *tagged(1, tags=7, first=50), *tagged(1, tags=2, first=60)], replaces=True)
    bench.deliver(replace=True)
    assert bench.server.store == expected([*tagged(6, tags=4), *tagged(1, tags=2, first=60)])
    assert bench.counts() == {"done": 7, "rejected": 1}  # that one alone is more than the service takes
    [(media_id, _, reason)] = bench.ledger.reasons(Outcome.REJECTED)
    assert media_id == 50 and "413" in reason


def test_after_too_large_requests_are_half_as_large_and_no_smaller(bench: Bench) -> None:
    bench.server.rules.append(too_many(40))
    bench.put(tagged(16, tags=4), replaces=True)
    bench.deliver(replace=True)
    assert [len(request.records) for request in bench.server.posts()] == [64, 32, 32]


def test_a_bad_medium_is_found_and_rejected_alone(bench: Bench) -> None:
    bench.server.rules.append(poisoned([5], Reply(400, b"no")))
    bench.put(tagged(9), replaces=True)
    bench.deliver(replace=True, limits=Limits(records=8))
    assert bench.counts() == {"done": 8, "rejected": 1}
    assert bench.server.store == expected([*tagged(4), *tagged(4, first=6)])


def test_single_tags_that_the_service_refuses_are_noted(bench: Bench) -> None:
    media = tagged(2, tags=2)
    refused = [{"mediaId": 1, "tagKey": media[0].tags[0].tag, "reason": "locked"}]
    body = json.dumps({"rejected": refused}).encode()
    bench.server.rules.append(at([0], Reply(207, body, store=True)))
    bench.put(media, replaces=True)
    delivery = bench.deliver(replace=True)
    assert bench.counts() == {"done": 2}
    assert bench.ledger.refused() == [(1, media[0].tags[0].tag, "locked")]
    assert delivery.counters.records == 3


def test_a_medium_that_was_sent_in_part_by_single_calls_is_sent_whole(bench: Bench) -> None:
    [medium] = tagged(1, tags=4)
    bench.put([medium], replaces=True)
    [item] = ledgers.outbox(bench.ledger)
    bench.ledger.progress({item.seq: 4}).result()
    bench.deliver(replace=True)
    assert bench.server.store == expected([medium])


def test_a_request_that_is_sent_again_carries_the_same_key(bench: Bench) -> None:
    bench.server.rules.append(at([0, 1], Reply(cut=True, store=True)))
    bench.put(tagged(3), replaces=True)
    bench.deliver(replace=True)
    assert len({(r.body, r.headers["idempotency-key"]) for r in bench.server.posts()}) == 1
    assert bench.server.store == expected(tagged(3))


def test_an_outbox_with_media_without_tags_can_go_to_a_service_that_does_not_replace(tmp_path: Path) -> None:
    for bulk in (True, False):
        with Ledger(tmp_path / f"{bulk}.db") as ledger, MediaServer() as server:
            bench = Bench(ledger, server)
            media = [*tagged(2, tags=0), *tagged(3, tags=1, first=3), *tagged(2, tags=0, first=6)]
            bench.put(media, replaces=True)
            bench.deliver(bulk=bulk)
            assert server.store == expected(media) and bench.counts() == {"done": 7}


def test_one_medium_is_one_item_whatever_its_tags() -> None:
    [item] = outbox_items(3)
    medium = OutboxMedium.replacing(item, ["old", "new"])
    assert (len(medium.records), medium.count, medium.sent) == (1, 5, 0)
    chunk = Chunk((medium,))
    chunk.reject_record("too large")
    chunk.close()
    assert chunk.rejected == [(1, None, "too large")] and chunk.sent == 1
