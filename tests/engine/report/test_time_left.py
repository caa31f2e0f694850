"""The time left, in runs on a clock of their own: right within a quarter from a tenth of the run on."""

import random
from collections.abc import Callable, Iterator

import pytest

from engine.report.time_left import Rate, Standing, media_left
from engine.types import Position

TICK_S = 0.25
PAGE = 100
UNDER_WAY = 150
"""Media between the listing and the last stage; what else the outbox holds comes on top."""


class Simulated:
    """A run: listing, tagging and delivering, each at its speed, on a catalogue whose ids have gaps."""

    def __init__(
        self,
        count: int,
        speed: Callable[[float], float],
        *,
        done: Callable[[int], bool] = lambda i: False,
        delivery: float = 1e9,
        limit: int | None = None,
        pages_a_second: float = 200,
        batch: int = 1,
        old_outbox: int = 0,
    ) -> None:
        chance = random.Random(4)
        self._ids = [1000]
        for _ in range(count - 1):
            self._ids.append(self._ids[-1] + chance.choice((1, 1, 2, 3, 9)))
        self._done = [done(i) for i in range(count)]
        self._speed, self._delivery, self._pages, self._batch = speed, delivery, pages_a_second, batch
        self._limit = limit
        self.last_id = self._ids[-1]
        self._listed = self._admitted = self._waiting = self._settled = 0
        self._loading, self._outbox = 0, old_outbox

    def standing(self) -> Standing:
        seen = self._listed
        ended = (seen == len(self._ids) and not self._waiting) or self._limit == 0
        position = Position(
            first_id=self._ids[0] if seen else None,
            id=self._ids[seen - 1] if seen else 0,
            seen=seen,
            admitted=self._admitted,
            waiting=0 if ended else self._waiting,
            settled=sum(self._done),
            limit=self._limit,
            ended=ended,
        )
        return Standing(position, self._settled, self._loading + self._outbox)

    def run(self) -> Iterator[tuple[float, Standing]]:
        """The time and the standing, a few times a second, until all is settled."""
        now, tagging, delivering, listing = 0.0, 0.0, 0.0, 0.0
        while not (self.standing().position.ended and self._loading + self._outbox == 0):
            listing += self._pages * TICK_S
            while listing >= 1 and self._waiting == 0 and self._listed < len(self._ids) and self._limit != 0:
                page = range(self._listed, min(self._listed + PAGE, len(self._ids)))
                self._waiting = sum(not self._done[i] for i in page)
                self._admitted += self._waiting
                self._listed = page.stop
                listing -= 1
                self._hand_on()
            self._hand_on()
            listing = min(listing, 1)
            tagging += self._speed(now) * TICK_S
            while self._loading and tagging >= min(self._batch, self._loading):
                tagged = min(self._batch, self._loading)
                tagging -= tagged
                self._loading -= tagged
                self._outbox += tagged
                self._hand_on()
            tagging = min(tagging, self._batch)
            delivering = min(delivering + self._delivery * TICK_S, self._outbox)
            self._outbox -= int(delivering)
            self._settled += int(delivering)
            delivering -= int(delivering)
            now += TICK_S
            yield now, self.standing()

    def _hand_on(self) -> None:
        new = min(self._waiting, UNDER_WAY - self._loading, len(self._ids) if self._limit is None else self._limit)
        self._waiting -= new
        self._loading += new
        self._limit = None if self._limit is None else self._limit - new


def estimates(run: Simulated) -> list[tuple[float, float | None]]:
    """For each moment, how much was left and how much was thought to be left, in seconds."""
    rate, found = Rate(), []
    for now, standing in run.run():
        rate.note(now, standing.settled)
        left, speed = media_left(standing, run.last_id if now > 2 else None), rate.a_second(now)
        found.append((now, left / speed if left is not None and speed else None))
    end = found[-1][0]
    return [(end - now, guess) for now, guess in found]


RUNS = {
    "from the beginning": Simulated(20_000, lambda _: 20),
    "short": Simulated(1_000, lambda _: 30),
    "slow, in batches of 16": Simulated(1_500, lambda _: 1.1, batch=16),
    "the first 80 % are done": Simulated(20_000, lambda _: 10, done=lambda i: i < 16_000),
    "four of five are done, here and there": Simulated(20_000, lambda _: 10, done=lambda i: i % 5 != 2),
    "the last half is done": Simulated(20_000, lambda _: 20, done=lambda i: i >= 10_000),
    "listing is slow": Simulated(40_000, lambda _: 30, done=lambda i: i < 30_000, pages_a_second=25),
    "with a limit": Simulated(20_000, lambda _: 20, limit=2_000),
    "a limit beyond the end": Simulated(2_000, lambda _: 20, limit=5_000),
    "a limit after what is done": Simulated(20_000, lambda _: 20, limit=1_000, done=lambda i: i < 16_000),
    "the API is slower": Simulated(6_000, lambda _: 40, delivery=6),
    "the API is slower, and an outbox is left": Simulated(6_000, lambda _: 40, delivery=6, old_outbox=3_000),
    "listing ends at once": Simulated(140, lambda _: 1),
    "uneven": Simulated(20_000, lambda now: 14 if int(now / 20) % 2 else 26),
}


@pytest.mark.parametrize("name", RUNS)
def test_it_is_right_within_a_quarter_from_a_tenth_on(name: str) -> None:
    found = estimates(RUNS[name])
    total = found[0][0]
    wrong = [
        (round(left), guess and round(guess))
        for left, guess in found
        if left < 0.9 * total and (guess is None or abs(guess - left) > max(0.25 * left, 0.02 * total))
    ]
    assert not wrong, (len(wrong), len(found), wrong[:: max(1, len(wrong) // 10)])


def test_it_follows_a_speed_that_changes() -> None:
    found = estimates(Simulated(20_000, lambda now: 40 if now < 200 else 10))
    total = found[0][0]
    late = [(left, guess) for left, guess in found if total - left > 200 + 80]
    assert all(guess is not None and abs(guess - left) < max(0.25 * left, 5) for left, guess in late)


def test_a_speed_falls_while_nothing_happens() -> None:
    rate = Rate()
    for second in range(100):
        rate.note(second, second)
    usual = rate.a_second(100)
    assert usual == pytest.approx(1, rel=0.05)
    rate.note(500, 99)
    later = rate.a_second(500)
    assert later is not None and later < 0.3


def test_without_the_last_id_nothing_is_guessed_but_what_is_counted_is() -> None:
    position = Position(first_id=1, id=100, seen=100, admitted=100, waiting=40)
    assert media_left(Standing(position, 0, 60), None) is None
    ended = Position(first_id=1, id=100, seen=100, admitted=100, ended=True)
    assert media_left(Standing(ended, 40, 60), None) == 60
