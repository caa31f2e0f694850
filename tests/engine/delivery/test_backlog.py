"""What the delivery sends next, on a clock of the test's own."""

from engine.delivery.backlog import LINGER_S, Backlog
from engine.delivery.chunks import Limits
from engine.ledger.schema import OutboxItem
from engine.types import Media


def outbox(count: int) -> list[OutboxItem]:
    return [OutboxItem(i, Media(i, f"{i}.jpg", i), '[["a", 0.9], ["b", 0.8]]', 0) for i in range(1, count + 1)]


def backlog(rows: list[OutboxItem], records: int = 10) -> Backlog:
    return Backlog(lambda after, limit: [row for row in rows if row.seq > after][:limit], Limits(records=records))


def test_a_full_chunk_goes_at_once_and_the_rest_lingers_for_company() -> None:
    waiting = backlog(outbox(7))
    first = waiting.next(100.0, knocking=False, hurry=False)
    assert first is not None and len(first.records) == 10
    assert waiting.next(100.0, knocking=False, hurry=False) is None
    assert list(waiting.due_after(100.0)) == [100.0 + LINGER_S]
    assert not waiting.empty()
    rest = waiting.next(100.0 + LINGER_S, knocking=False, hurry=False)
    assert rest is not None and len(rest.records) == 4


def test_company_that_comes_in_time_travels_along() -> None:
    rows = outbox(2)
    waiting = backlog(rows)
    assert waiting.next(0.0, knocking=False, hurry=False) is None
    rows += outbox(5)[2:]
    full = waiting.next(0.1, knocking=False, hurry=False)
    assert full is not None and len(full.records) == 10


def test_nothing_lingers_at_the_end() -> None:
    rest = backlog(outbox(1)).next(0.0, knocking=False, hurry=True)
    assert rest is not None and len(rest.records) == 2
