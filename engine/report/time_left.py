"""How much of a run is left: media by what is listed and what the ids promise, seconds by the speed of late."""

from collections import deque
from dataclasses import dataclass

from engine.types import Position

WINDOW_S = 60.0
"""The speed is that of the last minute, ..."""
WINDOW_SHARE = 0.2
"""... or of this share of the run where that is longer: the pictures of a minute may be larger than others, ..."""
WINDOW_CHANGES = 20
"""... or of so many changes: with 16 s a batch a minute would hold three or four."""
POINTS = 200
"""Counts that are kept of a window, about."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands.

    Attributes:
        position: of the listing.
        settled: media that this run is through with, delivery included.
        unsettled: media under way, or waiting for delivery.
    """

    position: Position
    settled: int
    unsettled: int


def media_left(standing: Standing, last_id: int | None) -> int | None:
    """How many media the run has still to settle; None where there is no ground for an estimate yet.

    The ids have gaps: as many media an id are supposed in the rest of the catalogue as so far. Of these, the ones that
    the ledger knows to be settled, and that the listing has not come across yet, need nothing.

    Args:
        last_id: the catalogue's highest id, if it is known.
    """
    p = standing.position
    to_come = p.waiting
    if not p.ended:
        unlisted = _unlisted(p, last_id)
        if unlisted is None and p.limit is None:
            return None
        to_come = p.limit or 0 if unlisted is None else p.waiting + unlisted
    return standing.unsettled + (to_come if p.limit is None else min(to_come, p.limit))


def _unlisted(p: Position, last_id: int | None) -> int | None:
    if last_id is None or p.first_id is None:
        return None
    density = p.seen / (p.id - p.first_id + 1)
    settled = p.settled - (p.seen - p.admitted)
    return max(0, round(max(0, last_id - p.id) * density) - max(0, settled))


class Rate:
    """The speed of late of something that is counted."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._seen = 0
        self._points: deque[tuple[float, int]] = deque()  # (seconds, count) after a change; the first is the start

    def note(self, now: float, count: int) -> None:
        """The count at this time; called a few times a second."""
        if self._began is None:
            self._began, self._seen = now, count
        window = max(WINDOW_S, WINDOW_SHARE * (now - self._began))
        if count == self._seen or (self._points and now - self._points[-1][0] < window / POINTS):
            return
        self._seen = count
        self._points.append((now, count))
        while len(self._points) > WINDOW_CHANGES and self._points[1][0] <= now - window:
            self._points.popleft()

    def a_second(self, now: float) -> float | None:
        """The speed; None before there were two changes. It falls while a change is overdue."""
        if len(self._points) < 2:
            return None
        (start, first), (end, last) = self._points[0], self._points[-1]
        usual = (end - start) / (len(self._points) - 1)
        return (last - first) / (max(end, now - usual) - start)
