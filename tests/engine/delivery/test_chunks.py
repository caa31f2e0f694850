"""How the outbox is cut into requests, and what a chunk remembers. Pure."""

from collections import deque

import pytest

from engine.api.answers import Rejection
from engine.delivery.chunks import Chunk, Limits, OutboxMedium, fill
from engine.delivery.policy import History
from engine.errors import ApiError
from engine.ledger.schema import OutboxItem
from engine.types import Media
from tests.support.delivery import outbox_media

URL = "http://localhost/bulk"


def seqs(chunk: Chunk) -> list[int]:
    return [medium.item.seq for medium in chunk.media]


def test_fill_keeps_the_limits_and_lets_one_larger_medium_pass_alone() -> None:
    waiting = deque(outbox_media(3, 4, 9, 1, 1))
    cuts = []
    while waiting:
        cuts.append([medium.item.seq for medium in fill(waiting, Limits(records=7))])
    assert cuts == [[1, 2], [3], [4, 5]]
    size = outbox_media(1)[0].size
    assert len(list(fill(deque(outbox_media(*[1] * 9)), Limits(bytes=4 * size)))) == 4


def test_parts_keep_the_order_and_know_when_the_whole_first_failed() -> None:
    chunk = Chunk(
        outbox_media(1, 1, 1, 1, 1),
        history=History(attempts=4, counted=5, successes_when_counted=9, successes_at_first_failure=3),
    )
    halves, thirds = chunk.halves(), chunk.repacked(Limits(records=2))
    assert [seqs(half) for half in halves] == [[1, 2], [3, 4, 5]]
    assert [seqs(third) for third in thirds] == [[1, 2], [3, 4], [5]]
    assert {(part.history.attempts, part.history.counted) for part in halves + thirds} == {(0, 0)}
    assert {part.history.successes_at_first_failure for part in halves + thirds} == {3}


def test_only_a_single_medium_travels_in_pieces() -> None:
    alone, several = Chunk(outbox_media(5), sent=1), Chunk(outbox_media(2, 3))
    assert alone.next_records(3) == alone.records[1:4]
    assert several.next_records(3) == several.records


def test_a_yes_with_rejections_counts_what_is_stored() -> None:
    chunk = Chunk(outbox_media(2, 3, 1))
    rejections = [Rejection("1", "t0", "unknown"), Rejection("2", None, "gone")]
    assert chunk.book(rejections, 6, URL) == 6 - 1 - 3
    assert chunk.rejected == [(1, "t0", "unknown"), (2, None, "gone")]
    assert chunk.sent == 6


def test_a_rejection_of_what_was_not_sent_books_nothing() -> None:
    chunk = Chunk(outbox_media(2))
    with pytest.raises(ApiError, match=r"medium 9 .*which was not sent"):
        chunk.book([Rejection("1", "t0", "unknown"), Rejection("9", None, "gone")], 2, URL)
    assert (chunk.rejected, chunk.sent) == ([], 0)


def test_a_medium_that_lost_every_record_is_rejected() -> None:
    chunk = Chunk(outbox_media(2, 3))
    of_both = [Rejection(medium, tag, f"no {tag}") for medium in ("1", "2") for tag in ("t0", "t1")]
    chunk.book(of_both, 5, URL)
    chunk.close()
    assert [item for item in chunk.rejected if item[1] is None] == [
        (1, None, "every record was refused, the last with: no t1")
    ]


@pytest.mark.parametrize(
    "entry",
    [
        '[["1girl",0.99812],["a\\tb",0.5]]',
        '[["1girl","0.998"],["a\\tb","0.500"]]',
        b'[["1girl",0.99812],["a\\tb",0.5]]',
        b'"1girl"\t0.998\n"a\\tb"\t0.500',
    ],
)
def test_what_earlier_versions_left_in_the_outbox_is_sent_as_they_would_have(entry: str | bytes) -> None:
    item = OutboxItem(1, Media(7, "7.jpg", "7"), entry, 0)
    now = OutboxItem(1, item.media, '"1girl"\t0.998\n"a\\tb"\t0.500', 0)
    assert OutboxMedium.of(item).records == OutboxMedium.of(now).records
    assert OutboxMedium.of(item).tags == ["1girl", "a\tb"]
    assert OutboxMedium.replacing(item, ["m"]).records == OutboxMedium.replacing(now, ["m"]).records


@pytest.mark.parametrize("entry", ["", "[]"])
def test_a_medium_without_tags_is_an_item_of_a_replace_request_and_no_record(entry: str) -> None:
    item = OutboxItem(1, Media(7, "7.jpg", 7), entry, 0)
    assert (OutboxMedium.of(item).records, OutboxMedium.of(item).tags) == ((), [])
    emptied = OutboxMedium.replacing(item, ["m"])
    assert emptied.records == (b'{"mediaId": 7, "model": "m", "tags": []}',)
    assert (emptied.count, emptied.tag_count) == (1, 0)
