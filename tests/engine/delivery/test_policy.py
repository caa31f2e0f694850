"""What an answer leads to: each row of the contract's table, and who is at fault when a failure repeats itself."""

import json

import pytest

from engine.api.answers import NotNow, Rejection, Reply, Yes, classify
from engine.api.backoff import Backoff
from engine.delivery.policy import (
    CircuitBreaker,
    Decision,
    DeliveryPolicy,
    Halve,
    History,
    PutOff,
    RejectMedium,
    RejectRecord,
    Settle,
    Shrink,
    StopRun,
    TryAnother,
    attempts_needed,
)
from engine.errors import ApiError, Unauthorized, WrongAddress

URL = "http://localhost/post"
AWAY = NotNow("refused", reached=False)
BUSY = NotNow("503: busy")
LOGIN_PAGE = b"<!DOCTYPE html><title>Sign in</title>"


class Service:
    """A policy and what it is told; a chunk is ten records of several media among other requests unless said."""

    def __init__(self, stored: int = 0, **settings) -> None:
        self.policy = DeliveryPolicy(URL, Backoff(base_s=1, cap_s=8, seed=1), 4, **settings)
        for _ in range(stored):
            self.says(Yes())

    def says(
        self, answer, history: History | None = None, *, alone=False, whole=True, records=10, others=True, now=0.0
    ) -> Decision:
        return self.policy.decide(
            answer, history or History(), alone=alone, whole=whole, records=records, others=others, now=now
        )

    def answers(self, status: int, body: bytes = b"", retry_after: str | None = None, **situation) -> Decision:
        reply = Reply(URL, status, body, retry_after=retry_after)
        return self.says(classify(reply, said_yes=True), **situation)


def stopped(decision: Decision) -> str:
    """The sentence with which the run stops."""
    assert isinstance(decision, StopRun), decision
    return str(decision.error)


# The contract's table. A row: what is answered, to several media and to one alone, before the first yes and after it.

NOT_NOW = [
    *((status, b"") for status in (408, 425, 429, 500, 502, 503, 504)),
    (200, b'{"code": 500, "msg": "busy"}'),
    (200, b'{"success": false}'),
    (200, b'{"code": 7}'),  # after a yes; before it, see below
]


@pytest.mark.parametrize("stored", [0, 1], ids=["before a yes", "after a yes"])
@pytest.mark.parametrize("alone", [False, True], ids=["several", "alone"])
@pytest.mark.parametrize(
    "body", [b"", b"stored", b'{"code": 200}', b'{"code": "0"}', b'{"success": true}', b'{"data": 1}']
)
def test_a_yes_settles(body: bytes, alone: bool, stored: int) -> None:
    assert Service(stored).answers(200, body, alone=alone) == Settle()


def test_a_yes_with_exceptions_settles_all_but_those() -> None:
    body = json.dumps({"rejected": [{"mediaId": 7, "tagKey": "x", "reason": "unknown"}]}).encode()
    assert Service().answers(207, body) == Settle((Rejection("7", "x", "unknown"),))


@pytest.mark.parametrize("stored", [0, 1], ids=["before a yes", "after a yes"])
@pytest.mark.parametrize("alone", [False, True], ids=["several", "alone"])
@pytest.mark.parametrize(("status", "body"), NOT_NOW)
def test_not_now_is_sent_again_later(status: int, body: bytes, alone: bool, stored: int) -> None:
    decision = Service(stored).answers(status, body, alone=alone, now=100.0)
    assert isinstance(decision, PutOff)
    assert 100 <= decision.until == 100 + decision.wait_s <= 101
    assert decision.reason.startswith(str(status))


def test_retry_after_is_the_wait() -> None:
    service = Service(stored=1)
    decision = service.answers(429, retry_after="60", now=100.0)
    assert isinstance(decision, PutOff) and decision.until == 160
    assert (service.policy.allowed(159.9), service.policy.allowed(160.0)) == (0, 4)


@pytest.mark.parametrize(
    ("alone", "stored", "decision"),
    [
        (False, 1, Halve()),
        (True, 1, RejectMedium("422: unknown tag")),
        (False, 0, TryAnother("422: unknown tag")),
        (True, 0, TryAnother("422: unknown tag")),
    ],
)
def test_bad_records_are_narrowed_down(alone: bool, stored: int, decision: Decision) -> None:
    assert Service(stored).answers(422, b"unknown tag", alone=alone) == decision


def test_a_bad_record_that_travels_alone_costs_itself_and_not_its_medium() -> None:
    assert Service(1).answers(422, b"no", alone=True, whole=False, records=1) == RejectRecord("422: no")
    assert Service(1).answers(422, b"no", alone=True, whole=False, records=9) == RejectMedium("422: no")


def test_a_yes_of_an_earlier_run_settles_that_the_address_is_right() -> None:
    assert Service(said_yes=True).answers(422, b"no", alone=True) == RejectMedium("422: no")


def test_before_any_yes_twenty_media_are_tried_and_then_the_run_stops() -> None:
    service = Service()
    assert isinstance(service.answers(422, b"no"), TryAnother)  # several media: which of them was it?
    decisions = [service.answers(422, b"no", alone=True) for _ in range(20)]
    assert set(decisions[:19]) == {TryAnother("422: no")}
    assert "never said yes, and refuses each of 20 media" in stopped(decisions[-1])
    service = Service()
    for _ in range(19):
        service.answers(422, b"no", alone=True)
    service.says(Yes())
    assert isinstance(service.answers(422, b"no", alone=True), RejectMedium)


@pytest.mark.parametrize(
    ("records", "alone", "stored", "decision"),
    [
        (500, False, 1, Shrink(250)),
        (500, False, 0, Shrink(250)),
        (3, True, 0, Shrink(1)),
        (1, True, 1, RejectRecord("413: huge")),
        (1, True, 0, TryAnother("413: huge")),
    ],
)
def test_too_large_halves_the_size(records: int, alone: bool, stored: int, decision: Decision) -> None:
    assert Service(stored).answers(413, b"huge", alone=alone, records=records) == decision


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        *((status, b"", WrongAddress) for status in (301, 302, 307, 404, 405, 406, 415, 501)),
        (200, LOGIN_PAGE, WrongAddress),
        (401, b"", Unauthorized),
        (403, b"", Unauthorized),
        (200, b'{"code": 401}', Unauthorized),
        (200, b'{"code": "403"}', Unauthorized),
    ],
)
def test_what_no_waiting_heals_never_reaches_the_policy(status: int, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        Service(stored=1).answers(status, body)


def test_an_unknown_code_before_any_yes_never_reaches_the_policy() -> None:
    with pytest.raises(ApiError, match="ok_codes"):
        classify(Reply(URL, 200, b'{"code": 7}'), said_yes=False)


# The same request fails again and again: is it at fault?


def test_five_failures_while_others_succeed_halve_a_chunk() -> None:
    service, history = Service(stored=1), History()
    decisions = []
    for _ in range(5):
        decisions.append(service.says(BUSY, history))
        service.says(Yes())
    assert [type(decision) for decision in decisions] == [PutOff] * 4 + [Halve]


def test_a_yes_to_a_piece_clears_the_medium() -> None:
    service, history = Service(stored=10_000), History()
    for _ in range(20):
        assert isinstance(service.says(BUSY, history, alone=True), PutOff)
        service.says(Yes(), history)


def test_failures_without_a_success_between_them_are_the_services() -> None:
    service, history = Service(stored=1), History()
    for _ in range(50):
        assert isinstance(service.says(BUSY, history), PutOff)
    assert (history.attempts, history.counted) == (50, 1)


def test_when_nothing_else_is_left_each_failure_counts() -> None:
    service, history = Service(stored=1), History()
    decisions = [service.says(BUSY, history, others=False) for _ in range(5)]
    assert isinstance(decisions[-1], Halve)


def test_a_service_that_is_not_there_is_no_chunks_fault() -> None:
    service, history = Service(stored=1), History()
    for _ in range(20):
        assert isinstance(service.says(AWAY, history, others=False), PutOff)
        service.says(Yes())
    assert (history.attempts, history.counted, history.successes_at_first_failure) == (20, 0, None)


def test_a_medium_that_fails_alone_while_others_succeed_is_rejected() -> None:
    service, history = Service(stored=100), History()
    for _ in range(4):
        assert isinstance(service.says(BUSY, history, alone=True), PutOff)
        service.says(Yes())
    assert service.says(BUSY, history, alone=True) == RejectMedium("503: busy")


def test_a_medium_is_not_rejected_before_others_have_succeeded() -> None:
    service, history = Service(), History()
    for _ in range(50):
        assert isinstance(service.says(BUSY, history, alone=True, others=False), PutOff)
    assert history.counted == 50
    service.says(Yes())  # one success: the failures were the medium's
    assert isinstance(service.says(BUSY, history, alone=True), RejectMedium)


def test_a_network_that_fails_often_asks_for_more_failures() -> None:
    service = Service(stored=75)
    for _ in range(25):  # requests that failed, and succeeded when they were sent again
        history = History()
        service.says(BUSY, history)
        service.says(Yes(), history)
    history, failures = History(), 1
    while not isinstance(service.says(BUSY, history, alone=True), RejectMedium):
        failures += 1
        service.says(Yes())
    assert failures == 10  # a fifth of the requests failed: 0.2**10 is about one in ten million


def test_a_part_is_suspect_from_the_start() -> None:
    """What was cut from a chunk that failed is tried again with the shortest waits, until it is a single medium."""
    service, history = Service(stored=1), History()
    service.says(BUSY, history)
    service.says(Yes())
    part = history.of_a_part()
    waits = []
    for _ in range(4):
        decision = service.says(BUSY, part)
        assert isinstance(decision, PutOff)
        waits.append(decision.wait_s)
        service.says(Yes())
    assert max(waits) <= 1  # the first step of the back-off


def test_the_back_off_of_a_chunk_grows_until_a_yes() -> None:
    service, history = Service(), History()
    waits = []
    for _ in range(40):
        decision = service.says(AWAY, history)
        assert isinstance(decision, PutOff)
        waits.append(decision.wait_s)
    assert waits[0] <= 1 and waits[1] <= 2 and 6 < max(waits) <= 8
    service.says(Yes(), history)
    assert (history.attempts, history.counted) == (0, 0)


def test_attempts_needed_are_five_only_where_failures_are_rare() -> None:
    assert attempts_needed(0, 30) == 5
    assert attempts_needed(20, 980) == 5
    assert attempts_needed(0, 9) == 7  # nine answers are little to go by
    assert attempts_needed(25, 75) == 12  # 0.25**11 is still above one in ten million
    assert attempts_needed(90, 10) > 100
    assert attempts_needed(0, 9, at_least=8) == 8


# Rejections in a row: the media, or the service?


def test_twenty_rejections_in_a_row_are_the_services_fault() -> None:
    service = Service(stored=1)
    decisions = [service.answers(422, b"no", alone=True) for _ in range(19)]
    assert set(decisions) == {RejectMedium("422: no")}
    assert "refused 20 media in a row, the last with 422: no" in stopped(service.answers(422, b"no", alone=True))


def test_a_medium_that_loses_many_records_counts_once_in_the_row() -> None:
    service, history = Service(stored=1), History()
    for _ in range(60):
        assert isinstance(service.answers(422, history=history, alone=True, whole=False, records=1), RejectRecord)


def test_all_ways_to_be_rejected_count_and_a_yes_ends_the_row() -> None:
    service = Service(stored=1, most_rejected=3)
    assert isinstance(service.answers(422, alone=True), RejectMedium)
    assert isinstance(service.answers(413, alone=True, records=1), RejectRecord)
    service.says(Yes())
    assert isinstance(service.answers(422, alone=True), RejectMedium)
    assert isinstance(service.answers(422, alone=True), RejectMedium)
    assert "3 media in a row" in stopped(service.answers(413, alone=True, records=1))


# How many requests may go, and when to give up.


def test_one_request_at_a_time_until_the_first_yes() -> None:
    service = Service()
    assert (service.policy.allowed(0.0), service.policy.on_trial) == (1, True)
    service.says(Yes())
    assert (service.policy.allowed(0.0), service.policy.on_trial) == (4, False)


def test_a_service_that_went_away_is_left_alone_and_then_tried() -> None:
    service = Service(stored=1)
    service.says(AWAY, now=100.0)
    (retry_at,) = service.policy.turning_points
    assert 100 < retry_at <= 101
    assert (service.policy.allowed(100.0), service.policy.allowed(retry_at), service.policy.on_trial) == (0, 1, True)


def test_giving_up_counts_from_the_first_failure() -> None:
    service = Service(stored=1, give_up_after_s=30)
    assert service.policy.given_up(1e9) is False
    service.says(BUSY, now=100.0)
    service.says(BUSY, now=120.0)
    assert 130.0 in service.policy.turning_points
    assert service.policy.given_up(129.9) is False
    assert service.policy.given_up(130.0)


@pytest.mark.parametrize("status", [200, 413, 422])
def test_a_service_that_judges_is_not_given_up(status: int) -> None:
    service = Service(stored=1, give_up_after_s=30)
    service.says(BUSY, now=100.0)
    service.answers(status)
    assert service.policy.given_up(1000.0) is False


def test_without_patience_set_it_never_gives_up() -> None:
    service = Service()
    service.says(AWAY, now=0.0)
    assert service.policy.given_up(1e9) is False


def test_a_service_that_is_back_is_asked_within_five_seconds() -> None:
    policy, history, now = DeliveryPolicy(URL, Backoff(seed=2), 4), History(), 0.0
    for _ in range(100):
        decision = policy.decide(AWAY, history, alone=True, whole=True, records=1, others=False, now=now)
        assert isinstance(decision, PutOff)
        asked_again = max(decision.until, *policy.turning_points)
        assert asked_again - now < 5
        now = asked_again


# The circuit breaker.


def test_the_breaker_closes_with_a_success_and_opens_when_the_service_is_away() -> None:
    breaker = CircuitBreaker(Backoff(seed=1), 4)
    states = [breaker.closed]
    breaker.succeeded()
    states.append(breaker.closed)
    breaker.put_off(AWAY, 100.0)
    states.append(breaker.closed)
    assert breaker.failing_since == 100.0
    assert 100 < breaker.retry_at <= 101
    breaker.succeeded()
    states.append(breaker.closed)
    assert states == [False, True, False, True]
    assert breaker.failing_since is None


def test_the_breaker_bears_single_failures_but_not_a_row_of_them() -> None:
    breaker = CircuitBreaker(Backoff(seed=1), 4)
    breaker.succeeded()
    states = []
    for now in range(4):
        breaker.put_off(BUSY, float(now))
        states.append((breaker.closed, breaker.retry_at > 0))
    assert states == [(True, False)] * 3 + [(False, True)]
    breaker.succeeded()
    breaker.put_off(NotNow("429", retry_after=60.0), 10.0)
    assert (breaker.closed, breaker.retry_at) == (True, 70.0)


def test_trials_grow_rarer_and_the_requests_of_one_moment_count_once() -> None:
    breaker = CircuitBreaker(Backoff(base_s=1, cap_s=64, seed=1), 99)
    breaker.succeeded()
    for _ in range(20):  # all that were under way when the service went
        breaker.put_off(AWAY, 0.0)
    assert breaker.retry_at <= 2
    waits = []
    for _ in range(8):
        now = breaker.retry_at
        breaker.put_off(AWAY, now)
        waits.append(breaker.retry_at - now)
    assert max(waits) > 8
    assert max(waits) <= 64
    breaker.succeeded()
    breaker.put_off(AWAY, 1000.0)
    assert breaker.retry_at <= 1001
