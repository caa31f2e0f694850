"""Batches filled by real threads."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from engine.errors import Stopped
from engine.flow.channels import Closed, Stop
from engine.ledger.ledger import Ledger
from engine.stages.batch import Batcher
from engine.stages.failure_budget import FailureBudget
from engine.stages.ticket import InFlight, Ticket
from engine.types import Media, Preprocessing
from tests.support.ledgers import tagged


def row(number: int) -> np.ndarray:
    return np.full((4, 5, 3), number % 251, np.uint16)


class Batches:
    """A batcher for small pictures, with tickets of a real ledger."""

    def __init__(self, ledger: Ledger, size: int, **settings) -> None:
        self.stop = Stop()
        self.in_flight = InFlight(ledger, FailureBudget(None), self.stop, places=1000)
        self.batcher = Batcher(size, Preprocessing("deepdanbooru", 4, 5), self.in_flight, self.stop, **settings)

    def admit(self, number: int) -> Ticket:
        ticket = self.in_flight.admit(Media(number, f"{number}.jpg", number))
        assert ticket
        return ticket

    def add(self, ticket: Ticket) -> None:
        self.batcher.add(ticket, row(ticket.media.id))

    def take(self) -> list[int]:
        """The media of the next batch."""
        return [ticket.media.id for ticket in self.batcher.take().tickets]

    def taking(self) -> tuple[threading.Thread, list[list[int]]]:
        """A thread that takes the next batch, and what it took."""
        taken: list[list[int]] = []
        thread = threading.Thread(target=lambda: taken.append(self.take()), daemon=True)
        thread.start()
        return thread, taken


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "s.db") as opened:
        yield opened


def test_every_picture_is_in_one_row_beside_its_medium(ledger: Ledger) -> None:
    batches = Batches(ledger, 8)
    tickets = [batches.admit(i) for i in range(500)]
    batches.in_flight.close()

    def fill(mine: list[Ticket]) -> None:
        for ticket in mine:
            batches.add(ticket)

    threads = [threading.Thread(target=fill, args=(tickets[i::4],), daemon=True) for i in range(4)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    sizes: list[int] = []
    with pytest.raises(Closed):
        while True:
            batch = batches.batcher.take()
            sizes.append(len(batch.tickets))
            for index, ticket in enumerate(batch.tickets):
                assert (batch.pixels[index] == ticket.media.id % 251).all()
                seen.append(ticket.media.id)
            assert batch.pixels.shape == (8, 4, 5, 3)
            batches.in_flight.store(batch.tickets, [tagged(ticket.media) for ticket in batch.tickets], {})  # at once
            batches.batcher.give_back(batch)
    assert sorted(seen) == list(range(500))
    assert sizes.count(8) == 62 and sum(sizes) == 500  # full batches and one padded tail


def test_a_failure_leaves_no_hole(ledger: Ledger) -> None:
    batches = Batches(ledger, 2)
    first, broken, last = (batches.admit(i) for i in (1, 2, 3))
    batches.add(first)
    broken.fail("broken")
    batches.add(last)
    assert batches.take() == [1, 3]


def test_a_partial_batch_goes_when_nothing_is_on_its_way(ledger: Ledger) -> None:
    batches = Batches(ledger, 8)
    first, broken = batches.admit(1), batches.admit(2)
    batches.add(first)
    broken.fail("broken")
    assert batches.take() == [1]  # though the source has not ended


def test_a_partial_batch_does_not_wait_for_a_source_that_rests(ledger: Ledger) -> None:
    batches = Batches(ledger, 8, partial_wait_s=1e6)  # without the pause, the test would hang
    for number in (1, 2):
        batches.add(batches.admit(number))
    resting = threading.Thread(target=batches.in_flight.second_chances, daemon=True)
    resting.start()
    assert batches.take() == [1, 2]
    batches.stop.set()
    resting.join(10)


def test_a_pause_ends_the_wait_for_the_source(ledger: Ledger) -> None:
    batches = Batches(ledger, 8, partial_wait_s=1e6)
    batches.add(batches.admit(1))
    thread, taken = batches.taking()
    batches.in_flight.close()
    thread.join(10)
    assert taken == [[1]]


def test_a_source_that_goes_on_is_waited_for_again(ledger: Ledger) -> None:
    """After a pause, what is admitted next may fill the batch."""
    batches = Batches(ledger, 2, partial_wait_s=1e6)
    assert batches.in_flight.second_chances() == []  # the sweep has ended, nothing waits
    batches.add(batches.admit(1))
    thread, taken = batches.taking()
    batches.add(batches.admit(2))
    thread.join(10)
    assert taken == [[1, 2]]


def test_a_partial_batch_waits_for_what_is_on_its_way(ledger: Ledger) -> None:
    batches = Batches(ledger, 2, partial_wait_s=0)
    first, second = batches.admit(1), batches.admit(2)
    batches.add(first)
    thread, taken = batches.taking()
    batches.add(second)
    thread.join(10)
    assert taken == [[1, 2]]


def test_stop_wakes_both_sides(ledger: Ledger) -> None:
    batches = Batches(ledger, 1, buffers=1)
    first, second = batches.admit(1), batches.admit(2)
    batches.add(first)
    ended: list[str] = []

    def attempt(name: str, work) -> None:
        try:
            work()
        except Stopped:
            ended.append(name)

    batches.take()
    threads = [
        threading.Thread(target=attempt, args=("add", lambda: batches.add(second)), daemon=True),
        threading.Thread(target=attempt, args=("take", batches.take), daemon=True),
    ]
    for thread in threads:
        thread.start()
    batches.stop.set()
    for thread in threads:
        thread.join(10)
    assert sorted(ended) == ["add", "take"]


def test_a_batch_is_taken_only_when_its_tickets_know(ledger: Ledger, monkeypatch) -> None:
    """A session that takes no time would settle them while they still count as on their way."""
    batches = Batches(ledger, 1)
    taken, order = threading.Event(), []
    batched = batches.in_flight.batched

    def late(ticket: Ticket) -> None:
        taken.wait(0.2)
        order.append("batched")
        batched(ticket)

    monkeypatch.setattr(batches.in_flight, "batched", late)
    adding = threading.Thread(target=batches.add, args=(batches.admit(1),), daemon=True)
    adding.start()
    batches.take()
    order.append("taken")
    taken.set()
    adding.join(10)
    assert order == ["batched", "taken"]


def test_finished_rows_do_not_wait_for_one_slow_read(ledger: Ledger) -> None:
    batches = Batches(ledger, 4, slow_read_s=0.05)
    slow, *quick = [batches.admit(i) for i in range(3)]
    thread, taken = batches.taking()
    for ticket in quick:
        batches.add(ticket)
    thread.join(10)
    assert taken == [[1, 2]]
    batches.add(slow)
    assert batches.take() == [0]
    tickets = [slow, *quick]
    batches.in_flight.store(tickets, [tagged(ticket.media) for ticket in tickets], {})


def test_rows_that_keep_coming_fill_the_batch(ledger: Ledger) -> None:
    """However long the first of them waits."""
    batches = Batches(ledger, 4, slow_read_s=0.5)
    tickets = [batches.admit(i) for i in range(4)]
    thread, taken = batches.taking()
    for ticket in tickets:
        time.sleep(0.2)
        batches.add(ticket)
    thread.join(10)
    assert taken == [[0, 1, 2, 3]]
    batches.in_flight.store(tickets, [tagged(ticket.media) for ticket in tickets], {})
