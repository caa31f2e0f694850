"""The life of a medium: admitted once, settled once, never forgotten."""

import gc
from pathlib import Path

import pytest

from engine.errors import EngineError, Stopped
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.stages.failure_budget import FailureBudget
from engine.stages.ticket import InFlight, Ticket
from engine.types import Media, Outcome, TagScore
from tests.support.ledgers import outbox, tagged
from tests.support.ledgers import store as put


def medium(number: int) -> Media:
    return Media(number, f"{number}.jpg", number)


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "s.db") as opened:
        opened.admit([medium(i) for i in range(20)])
        yield opened


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def in_flight(ledger: Ledger, stop: Stop) -> InFlight:
    return InFlight(ledger, FailureBudget(None), stop, places=8)


def admit(in_flight: InFlight, number: int) -> Ticket:
    ticket = in_flight.admit(medium(number))
    assert ticket
    return ticket


def counts(in_flight: InFlight) -> tuple[int, int, int]:
    """Media under way, on their way to a batch, places taken."""
    return len(in_flight), in_flight.loading, in_flight.places.taken


def test_a_medium_is_under_way_once(in_flight: InFlight) -> None:
    ticket = admit(in_flight, 1)
    assert in_flight.admit(medium(1)) is None
    assert counts(in_flight) == (1, 1, 1)
    ticket.skip("a video")


def test_a_failure_gives_everything_back(in_flight: InFlight, ledger: Ledger) -> None:
    admit(in_flight, 1).fail("broken")
    ledger.retry([]).result()  # whatever was written before is on the disk now
    assert counts(in_flight) == (0, 0, 0)
    assert ledger.counts()[Outcome.FAILED] == 1 == in_flight.tally.failed


def test_results_keep_their_place_until_the_sink_has_them(in_flight: InFlight, ledger: Ledger) -> None:
    ticket = admit(in_flight, 1)
    ticket.in_batch()
    assert counts(in_flight) == (1, 0, 1)
    in_flight.store([ticket], [tagged(ticket.media, TagScore("a", 0.9))], {"media API": ["x"]}).result()
    assert counts(in_flight) == (0, 0, 1)
    ledger.delivered([item.seq for item in outbox(ledger)]).result()
    assert counts(in_flight) == (0, 0, 0)


def test_a_second_chance_comes_when_all_else_is_settled(in_flight: InFlight) -> None:
    ticket = admit(in_flight, 1)
    assert ticket.wait_for_second_chance() and not ticket.last_chance
    del ticket  # it waits in the list, and is not forgotten
    assert counts(in_flight) == (1, 0, 1)
    [again] = in_flight.second_chances()
    assert again.media.id == 1 and again.last_chance and in_flight.loading == 1
    again.skip("a video")
    assert in_flight.second_chances() == [] and not in_flight.forgotten


def test_those_who_wait_leave_places_for_the_others(in_flight: InFlight) -> None:
    tickets = [admit(in_flight, i) for i in range(5)]
    assert [ticket.wait_for_second_chance() for ticket in tickets] == [True] * 4 + [False]  # half of the 8 places
    tickets[4].skip("a video")


@pytest.mark.parametrize("second", ["fail", "skip", "in_batch", "wait_for_second_chance"])
def test_a_ticket_cannot_be_settled_twice(in_flight: InFlight, second: str) -> None:
    ticket = admit(in_flight, 1)
    ticket.skip("a video")
    with pytest.raises(AssertionError, match="settled, not loading"):
        getattr(ticket, second)(*(["again"] if second in ("fail", "skip") else []))
    assert in_flight.loading == 0


def test_a_medium_is_stored_only_from_a_batch(in_flight: InFlight) -> None:
    ticket = admit(in_flight, 1)
    with pytest.raises(AssertionError, match="loading, not batched"):
        in_flight.store([ticket], [tagged(ticket.media)], {})
    ticket.skip("a video")


@pytest.mark.parametrize("state", ["loading", "batched"])
def test_a_dropped_ticket_is_noticed_at_once(in_flight: InFlight, state: str) -> None:
    ticket = admit(in_flight, 7)
    if state == "batched":
        ticket.in_batch()
    in_flight.check()
    del ticket
    gc.collect()
    with pytest.raises(EngineError, match=r"medium 7 \('7.jpg'\) was dropped without an outcome"):
        in_flight.check()


def test_a_run_that_ends_may_drop_what_is_under_way(in_flight: InFlight, stop: Stop) -> None:
    ticket = admit(in_flight, 7)
    stop.set()
    del ticket
    in_flight.check()


def test_an_earlier_run_s_outbox_takes_places(ledger: Ledger, stop: Stop) -> None:
    put(ledger, [tagged(medium(i), TagScore("a", 0.9)) for i in range(3)]).result()
    in_flight = InFlight(ledger, FailureBudget(None), stop, places=4, taken=ledger.in_outbox())
    admit(in_flight, 10).skip("a video")
    ledger.retry([]).result()  # whatever was written before is on the disk now
    assert in_flight.places.taken == 3


def test_waiting_for_a_place_ends_with_the_run(ledger: Ledger, stop: Stop) -> None:
    in_flight = InFlight(ledger, FailureBudget(None), stop, places=1, taken=1)
    stop.set()
    with pytest.raises(Stopped):
        in_flight.admit(medium(1))
