"""What the delivery sends next, on a clock of the test's own."""

from collections.abc import Collection

from engine.delivery.backlog import Backlog
from engine.delivery.chunks import Limits
from engine.ledger.schema import OutboxItem
from tests.support.delivery import outbox_items


def outbox(count: int) -> list[OutboxItem]:
    return outbox_items(*[2] * count)


def backlog(rows: list[OutboxItem], records: int = 10, **settings) -> Backlog:
    def sample(count: int, without: Collection[int]) -> list[OutboxItem]:
        left = [row for row in rows if row.seq not in without]
        return left[:: max(1, len(left) // count)][:count]

    return Backlog(
        lambda after, limit: [row for row in rows if row.seq > after][:limit],
        sample,
        Limits(records=records),
        **settings,
    )


def test_a_full_chunk_goes_at_once_and_the_rest_lingers_for_company() -> None:
    waiting = backlog(outbox(7), linger_s=0.25)
    first = waiting.next(100.0, prefer_fresh=False, hurry=False)
    assert first is not None and len(first.records) == 10
    assert waiting.next(100.0, prefer_fresh=False, hurry=False) is None
    assert list(waiting.due_after(100.0)) == [100.0 + 0.25]
    assert not waiting.empty()
    rest = waiting.next(100.0 + 0.25, prefer_fresh=False, hurry=False)
    assert rest is not None and len(rest.records) == 4


def test_company_that_comes_in_time_travels_along() -> None:
    rows = outbox(2)
    waiting = backlog(rows)
    assert waiting.next(0.0, prefer_fresh=False, hurry=False) is None
    rows += outbox(5)[2:]
    full = waiting.next(0.1, prefer_fresh=False, hurry=False)
    assert full is not None and len(full.records) == 10


def test_nothing_lingers_at_the_end() -> None:
    rest = backlog(outbox(1)).next(0.0, prefer_fresh=False, hurry=True)
    assert rest is not None and len(rest.records) == 2


def test_it_holds_no_more_than_its_bound_when_all_fails() -> None:
    waiting = backlog(outbox(100), records=4, most_put_off=20, read_ahead=5)
    held = 0
    while chunk := waiting.next(0.0, prefer_fresh=True):
        waiting.put_off(chunk, until=1.0)
        held += len(chunk.media)
    assert 20 <= held < 20 + 5
    due = waiting.next(1.0, prefer_fresh=False)
    assert due and due.media[0].item.seq == 1


def test_on_trial_a_fresh_chunk_goes_before_one_that_failed() -> None:
    waiting = backlog(outbox(4), records=4)
    failed = waiting.next(0.0, prefer_fresh=False)
    assert failed
    waiting.put_off(failed, until=1.0)
    fresh = waiting.next(1.0, prefer_fresh=True)
    assert fresh and fresh is not failed
    assert waiting.next(1.0, prefer_fresh=True) is failed  # nothing fresh is left


def test_what_was_cut_anew_goes_first_and_in_order() -> None:
    waiting = backlog(outbox(4), records=4)
    chunk = waiting.next(0.0, prefer_fresh=False)
    assert chunk
    halves = chunk.halves()
    waiting.put_first(halves)
    assert [waiting.next(0.0, prefer_fresh=True) for _ in halves] == halves
