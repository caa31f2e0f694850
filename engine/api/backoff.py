"""How long to wait before an attempt is repeated. Numbers only: the clock is the caller's."""

import random
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Backoff:
    """Exponential back-off with full jitter: uniform in 0..min(cap, base * 2**attempt), in seconds.

    Full jitter spreads clients that failed together (AWS Architecture Blog, "Exponential Backoff And Jitter"). If the
    server names a time (Retry-After), that is the wait, up to `longest_s`; a Retry-After of 0 is ignored.

    Attributes:
        base_s: the longest wait after the first failure.
        cap_s: the longest wait after any number of failures. A service that is back is to be noticed within 5 s, and
            as only one request goes to a service that is away, a request every two seconds costs it nothing.
        longest_s: the longest wait that a Retry-After can ask for.
        seed: of the random numbers; None for other ones in each run.
    """

    base_s: float = 1.0
    cap_s: float = 4.0
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
