"""When to ask again, how a chunk is cut, and when a chunk is taken for the cause. Pure: numbers in, numbers out."""

import json
from collections import deque

from engine.api.answers import NotNow
from engine.api.backoff import Backoff, Gate
from engine.delivery.backlog import MOST_HELD, READ_AHEAD, Backlog
from engine.delivery.chunks import Chunk, Entry, Limits, failures_needed, fill
from engine.ledger.schema import OutboxItem
from engine.types import Media

AWAY = NotNow("refused", reached=False)
BUSY = NotNow("503")


def items(*sizes: int) -> list[OutboxItem]:
    return [
        OutboxItem(seq, Media(seq, "", seq), json.dumps([(f"t{i}", 0.9) for i in range(size)]), 0)
        for seq, size in enumerate(sizes, 1)
    ]


def entries(*sizes: int) -> list[Entry]:
    return [Entry.of(item) for item in items(*sizes)]


def test_back_off_is_full_jitter_under_a_cap_and_heeds_the_server() -> None:
    backoff = Backoff(base_s=1, cap_s=8, longest_s=100, seed=3)
    for attempt, most in [(0, 1), (1, 2), (2, 4), (3, 8), (9, 8), (5000, 8)]:
        delays = [backoff.delay(attempt) for _ in range(200)]
        assert 0 <= min(delays) < most / 8
        assert most * 7 / 8 < max(delays) <= most
    assert backoff.delay(0, 42) == 42
    assert backoff.delay(0, 1e9) == 100
    assert backoff.delay(0, 0) <= 1


def test_the_gate_opens_with_a_yes_and_shuts_when_the_service_is_away() -> None:
    gate = Gate(Backoff(seed=1), 4)
    states = [gate.open]
    gate.yes()
    states.append(gate.open)
    gate.not_now(AWAY, 100.0)
    states.append(gate.open)
    assert gate.away_since == 100.0
    assert 100 < gate.opens_at <= 101
    gate.yes()
    states.append(gate.open)
    assert states == [False, True, False, True]
    assert gate.away_since is None


def test_the_gate_bears_single_failures_but_not_a_row_of_them() -> None:
    gate = Gate(Backoff(seed=1), 4)
    gate.yes()
    states = []
    for now in range(4):
        gate.not_now(BUSY, float(now))
        states.append((gate.open, gate.opens_at > 0))
    assert states == [(True, False)] * 3 + [(False, True)]
    gate.yes()
    gate.not_now(NotNow("429", retry_after=60.0), 10.0)
    assert (gate.open, gate.opens_at) == (True, 70.0)


def test_knocks_grow_rarer_and_the_requests_of_one_moment_count_once() -> None:
    gate = Gate(Backoff(base_s=1, cap_s=64, seed=1), 99)
    gate.yes()
    for _ in range(20):  # all that were under way when the service went
        gate.not_now(AWAY, 0.0)
    assert gate.opens_at <= 2
    waits = []
    for _ in range(8):
        now = gate.opens_at
        gate.not_now(AWAY, now)
        waits.append(gate.opens_at - now)
    assert max(waits) > 8
    assert max(waits) <= 64


def test_fill_keeps_the_limits_and_lets_one_larger_medium_pass_alone() -> None:
    waiting = deque(entries(3, 4, 9, 1, 1))
    cuts = []
    while waiting:
        cuts.append([entry.item.seq for entry in fill(waiting, Limits(records=7))])
    assert cuts == [[1, 2], [3], [4, 5]]
    size = entries(1)[0].size
    assert len(list(fill(deque(entries(*[1] * 9)), Limits(bytes=4 * size)))) == 4


def test_halving_keeps_order_and_origin() -> None:
    chunk = Chunk(tuple(entries(1, 1, 1, 1, 1)), since=3)
    left, right = chunk.halves()
    assert [entry.item.seq for half in (left, right) for entry in half.entries] == [1, 2, 3, 4, 5]
    assert left.since == right.since == 3
    assert [len(part.entries) for part in chunk.repacked(Limits(records=2))] == [2, 2, 1]


def test_failures_count_only_while_others_succeed() -> None:
    chunk = Chunk(tuple(entries(1)))
    for _ in range(10):
        chunk.failed(7, nothing_else=False)
    assert chunk.failures == 1
    chunk.failed(8, nothing_else=False)
    chunk.failed(8, nothing_else=True)
    assert chunk.failures == 3
    assert chunk.since == 7


def test_five_failures_suffice_only_where_failures_are_rare() -> None:
    assert failures_needed(0, 30) == 5
    assert failures_needed(20, 980) == 5
    assert failures_needed(0, 9) == 7  # nine answers are little to go by
    assert failures_needed(25, 75) == 12  # 0.25**11 is still above one in ten million
    assert failures_needed(90, 10) > 100


def test_the_backlog_holds_no_more_than_its_bound_when_all_fails() -> None:
    outbox = items(*[1] * (3 * MOST_HELD))
    backlog = Backlog(lambda after, limit: [i for i in outbox if i.seq > after][:limit], Limits(records=100))
    while chunk := backlog.next(0.0, knocking=True):
        backlog.put_off(chunk, due=1.0)
    held = sum(len(chunk.entries) for chunk in backlog._put_off)
    assert MOST_HELD <= held < MOST_HELD + READ_AHEAD
    due = backlog.next(1.0, knocking=False)
    assert due
    assert due.entries[0].item.seq == 1
