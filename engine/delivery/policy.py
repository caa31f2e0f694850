"""What an answer of the media API leads to: is a medium at fault, or the service, and what is done about it.

Pure: no network, no thread, no clock, no event loop. `DeliveryPolicy` is told each answer and says what to do with the
chunk it was for. All it remembers are a few counts, and a `History` for each chunk.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from engine.api.answers import Answer, NotNow, Rejection, TooLarge, Yes
from engine.api.backoff import Backoff
from engine.errors import ApiError


@dataclass(frozen=True)
class Settle:
    """The records that were sent are stored, except what `rejected` lists."""

    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class PutOff:
    """Send the same chunk again, not before `until`, which is `wait_s` seconds from now."""

    until: float
    wait_s: float
    reason: str


@dataclass(frozen=True)
class Halve:
    """Cut the chunk into two of half the media each, and send both at once: one of them may be good."""


@dataclass(frozen=True)
class Shrink:
    """From here on send at most so many records in one request; cut this chunk to that size and send it again."""

    records: int


@dataclass(frozen=True)
class RejectMedium:
    """The chunk's only medium is at fault: give it up."""

    reason: str


@dataclass(frozen=True)
class RejectRecord:
    """The only record that was sent is at fault: give it up and go on with the medium's next one."""

    reason: str


@dataclass(frozen=True)
class TryAnother:
    """The service has never said yes, so nobody can tell which side is at fault: keep the chunk, try other media."""

    reason: str


@dataclass(frozen=True)
class StopRun:
    """The service is at fault, or the way it is asked: end the run. Nothing more is marked."""

    error: ApiError


Decision = Settle | PutOff | Halve | Shrink | RejectMedium | RejectRecord | TryAnother | StopRun


@dataclass
class History:
    """What the policy remembers of one chunk. Only the policy changes it.

    Attributes:
        attempts: failed attempts in a row, whatever their cause; the back-off grows with them.
        counted: those of them that count against the chunk, because other requests succeeded in the meantime.
        successes_when_counted: how many requests of all had succeeded when the last of these was counted.
        successes_at_first_failure: how many had when the chunk, or the one it was cut from, first failed.
        rejected: whether anything of it was given up.
    """

    attempts: int = 0
    counted: int = 0
    successes_when_counted: int = -1
    successes_at_first_failure: int | None = None
    rejected: bool = False

    def of_a_part(self) -> "History":
        """The history with which a chunk begins that is cut from this one."""
        return History(successes_at_first_failure=self.successes_at_first_failure)


class DeliveryPolicy:
    """Decides for each answer whether the media or the service are at fault; one a run.

        yes            settle
        not now        put off; after `attempts` failures while others succeeded halve; if alone, reject it once its
                       failures are more than bad luck
        too large      shrink, or reject if it was a single record
        bad records    halve, or reject if alone; of a medium that travels record by record, the record

    Before the address has ever said yes, bad records are nobody's fault yet: up to `most_rejected` single media are
    tried, and without a yes the run stops. It stops also after as many rejections in a row, and when no request was
    judged, with yes or no, for `give_up_after_s`. Times are seconds of one monotonic clock, which the caller reads.

    Args:
        url: the address as it is shown in messages.
        backoff: how long to wait before an attempt is repeated.
        connections: requests under way at a time while the service is well.
        give_up_after_s: stop the run when no request was judged for so long; None waits for ever. May be changed.
        said_yes: whether this address has ever said yes to this ledger.
        attempts: failures of one request, while others succeed, after which it is suspected itself.
        bad_luck: the accepted risk of rejecting a good medium because of a bad network.
        most_rejected: media rejected in a row after which the service is at fault and not the media.
    """

    def __init__(
        self,
        url: str,
        backoff: Backoff,
        connections: int,
        give_up_after_s: float | None = None,
        *,
        said_yes: bool = False,
        attempts: int = 5,
        bad_luck: float = 1e-7,
        most_rejected: int = 20,
    ) -> None:
        self._url = url
        self._backoff = backoff
        self._connections = connections
        self.give_up_after_s = give_up_after_s
        self._said_yes = said_yes
        self._attempts = attempts
        self._bad_luck = bad_luck
        self._most_rejected = most_rejected
        self._breaker = CircuitBreaker(backoff, in_a_row=2 * connections)
        self._successes = 0
        self._passing_failures = 0  # counted failures of chunks that succeeded later: the network's, or the service's
        self._rejected_in_a_row = 0
        self._tried = 0  # media that were refused one by one before the first yes
        self._refusal = ""

    # What to do with a chunk.

    def decide(
        self, answer: Answer, history: History, *, alone: bool, whole: bool, records: int, others: bool, now: float
    ) -> Decision:
        """What to do with a chunk after this answer.

        Args:
            answer: what the service said.
            history: the chunk's; it is brought up to date.
            alone: whether the chunk is a single medium, which cannot be halved.
            whole: whether all of its records were sent, and not some of a single medium's.
            records: how many records were sent.
            others: whether other requests are under way or could go at once. If not, none can succeed in the meantime,
                and a failure counts against the chunk all the same.
            now: the present.
        """
        if isinstance(answer, Yes):
            return self._stored(answer, history)
        if isinstance(answer, NotNow):
            return self._not_now(answer, history, alone, others, now)
        self._breaker.answered()
        if isinstance(answer, TooLarge) and records > 1:
            return Shrink(records // 2)
        if not self._said_yes:
            return self._refused_before_any_yes(answer.text, alone)
        if isinstance(answer, TooLarge) or (records == 1 and not whole):
            return self._reject(RejectRecord(answer.text), history)
        return self._reject(RejectMedium(answer.text), history) if alone else Halve()

    def seen_well(self) -> None:
        """The service did something else that it was asked: what fails from here on fails for a reason of its own."""
        self._successes += 1

    def _stored(self, answer: Yes, history: History) -> Settle:
        self._breaker.succeeded()
        self._successes += 1
        self._said_yes = True
        self._rejected_in_a_row = 0
        self._passing_failures += history.counted
        history.attempts = history.counted = 0
        return Settle(answer.rejected)

    def _not_now(self, answer: NotNow, history: History, alone: bool, others: bool, now: float) -> Decision:
        """Wait and send it again; but a chunk that fails again and again while others succeed is at fault itself."""
        self._breaker.put_off(answer, now)
        if answer.reached:
            self._count(history, others)
        suspect = (
            history.successes_at_first_failure is not None and self._successes > history.successes_at_first_failure
        )
        if history.counted >= self._attempts:
            if not alone:
                return Halve()
            needed = attempts_needed(self._passing_failures, self._successes, self._attempts, self._bad_luck)
            if suspect and history.counted >= needed:
                return self._reject(RejectMedium(answer.text), history)
        # A suspect chunk is cut down with the shortest waits: the service is well and needs no sparing.
        # A single medium is given growing ones, since the next step is to reject it.
        wait_s = self._backoff.delay(0 if suspect and not alone else history.attempts, answer.retry_after)
        history.attempts += 1
        return PutOff(now + wait_s, wait_s, answer.text)

    def _count(self, history: History, others: bool) -> None:
        """Count a failure against a chunk if others succeeded since the last one, or if there are no others."""
        if history.successes_at_first_failure is None:
            history.successes_at_first_failure = self._successes
        if self._successes > history.successes_when_counted or not others:
            history.counted += 1
            history.successes_when_counted = self._successes

    def _reject(self, rejection: RejectMedium | RejectRecord, history: History) -> Decision:
        """Give it up, unless the service refuses so much that the media cannot be at fault."""
        self._rejected_in_a_row += not history.rejected
        history.rejected = True
        if self._rejected_in_a_row < self._most_rejected:
            return rejection
        return StopRun(
            ApiError(
                f"the media API at {self._url} refused {self._most_rejected} media in a row, the last with "
                f"{rejection.reason}: see to the service, then run the same command again; "
                "what is not marked rejected is kept in the outbox"
            )
        )

    def _refused_before_any_yes(self, text: str, alone: bool) -> Decision:
        """Records are refused by an address that never said yes: it may be the wrong one, or these may be bad."""
        self._refusal = text
        self._tried += alone
        return TryAnother(text) if self._tried < self._most_rejected else self.nothing_else_to_try()

    def nothing_else_to_try(self) -> StopRun:
        """The end of the run, where all media that were tried before the first yes were refused."""
        return StopRun(
            ApiError(
                f"the media API at {self._url} has never said yes, and refuses each of {self._tried} media that were "
                f"tried, the last with {self._refusal}: check the address and what it expects; nothing was marked"
            )
        )

    # How many requests may go, and when.

    def allowed(self, now: float) -> int:
        """How many requests may be under way at this moment."""
        return self._breaker.allowed(now, self._connections)

    @property
    def on_trial(self) -> bool:
        """Whether the service must prove itself: then one request goes at a time, with a chunk that has not failed."""
        return not self._breaker.closed

    @property
    def turning_points(self) -> Iterator[float]:
        """The moments at which `allowed` and `given_up` change by themselves; some may be past."""
        yield self._breaker.retry_at
        if self.give_up_after_s is not None and self._breaker.failing_since is not None:
            yield self._breaker.failing_since + self.give_up_after_s

    def given_up(self, now: float) -> bool:
        """Whether the service has put off every request for as long as the user wants to wait."""
        since, patience = self._breaker.failing_since, self.give_up_after_s
        return since is not None and patience is not None and now >= since + patience


class CircuitBreaker:
    """Spares a service that is away or fails all the time: it is asked by one request at a time, with growing waits.

    The usual pattern (Nygard, "Release It!"): closed, all connections are used; open, nothing is sent until `retry_at`;
    half-open, from then on one trial request goes at a time, until a success closes it or a failure opens it again.

    It begins half-open, for nobody knows yet whether the service works. It opens when no connection comes about, and
    after `in_a_row` answers of "not now" without a success between them. A Retry-After holds back all requests, also
    while it is closed.

    Attributes:
        closed: whether the service is thought to be well.
        retry_at: nothing is sent before this moment.
        failing_since: when the first failure came that was followed by failures only; None if there is none.
    """

    def __init__(self, backoff: Backoff, in_a_row: int) -> None:
        self.closed = False
        self.retry_at = 0.0
        self.failing_since: float | None = None
        self._backoff = backoff
        self._limit = in_a_row
        self._in_a_row = 0
        self._failed_trials = 0

    def allowed(self, now: float, connections: int) -> int:
        """How many of the connections may be in use."""
        if now < self.retry_at:
            return 0
        return connections if self.closed else 1

    def succeeded(self) -> None:
        """Something was stored."""
        self.closed = True
        self._in_a_row = self._failed_trials = 0
        self.answered()

    def answered(self) -> None:
        """The service judged a request, whatever it found: it is there."""
        self.failing_since = None

    def put_off(self, answer: NotNow, now: float) -> None:
        """The service, or the network, put a request off."""
        if self.failing_since is None:
            self.failing_since = now
        self._in_a_row += 1
        was_closed = self.closed
        if not answer.reached or self._in_a_row >= self._limit:
            self.closed = False
        if self.closed and not answer.retry_after:
            return  # a single failure: the other requests go on
        wait_s = self._backoff.delay(self._failed_trials, answer.retry_after)
        # Requests that were under way when the breaker opened fail too, but they were no trials.
        if not was_closed and now >= self.retry_at:
            self._failed_trials += 1
        self.retry_at = max(self.retry_at, now + wait_s)


def attempts_needed(passing_failures: int, successes: int, at_least: int = 5, bad_luck: float = 1e-7) -> int:
    """How many failures in a row prove a medium bad, given how often requests failed and succeeded later.

    At a failure rate p, k failures in a row are bad luck with probability p**k, so k is the least with
    p**k <= `bad_luck`, and not below `at_least`, which suffices while the rate is below 4 %. Laplace's rule of
    succession estimates the rate as (failed + 1) / (all + 2), so the policy is careful while it has seen little.
    """
    rate = (passing_failures + 1) / (passing_failures + successes + 2)
    return max(at_least, math.ceil(math.log(bad_luck) / math.log(rate)))
