"""How long to wait before asking again, and when not to ask from all sides. Policy only: the clock is the caller's."""

import random
from dataclasses import dataclass, field

from engine.api.answers import NotNow


@dataclass(frozen=True)
class Backoff:
    """Exponential back-off with full jitter: uniform in 0..min(cap, base * 2**attempt), in seconds.

    Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter") spreads clients that failed together.
    A server that names a time (Retry-After) is taken at its word, up to `longest_s`; a Retry-After of 0 says nothing.
    """

    base_s: float = 1.0
    cap_s: float = 30.0
    longest_s: float = 3600.0
    seed: int | None = None
    _random: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_random", random.Random(self.seed))  # noqa: S311 - jitter, not a secret

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after failure number `attempt` (the first is 0)."""
        if retry_after:
            return min(retry_after, self.longest_s)
        return self._random.uniform(0, min(self.cap_s, self.base_s * 2.0 ** min(attempt, 60)))


class Gate:
    """Whether the service is there, as far as the answers tell: open lets all connections through, closed one knock.

    It is closed until the first yes, after a connection that did not come about, and after `in_a_row` answers of "not
    now" without a yes between them. So a service that is away, or that refuses everything because it is set up wrongly,
    is asked by one request at a time, and less and less often. Times are in seconds of one monotonic clock.
    """

    def __init__(self, backoff: Backoff, in_a_row: int) -> None:
        self.open = False
        self.opens_at = 0.0
        self.away_since: float | None = None
        self._backoff = backoff
        self._limit = in_a_row
        self._in_a_row = 0
        self._knocks = 0

    def yes(self) -> None:
        """Something was stored."""
        self.open = True
        self._in_a_row = self._knocks = 0
        self.alive()

    def alive(self) -> None:
        """The service judged a request, whatever it found."""
        self.away_since = None

    def not_now(self, answer: NotNow, now: float) -> None:
        """The service, or the network, put a request off."""
        if self.away_since is None:
            self.away_since = now
        self._in_a_row += 1
        was_open = self.open
        if not answer.reached or self._in_a_row >= self._limit:
            self.open = False
        if self.open and not answer.retry_after:
            return  # one request's bad luck; the others go on
        delay = self._backoff.delay(self._knocks, answer.retry_after)
        if not was_open and now >= self.opens_at:  # a knock, not one of those under way when the gate fell shut
            self._knocks += 1
        self.opens_at = max(self.opens_at, now + delay)
