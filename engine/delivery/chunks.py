"""How the outbox is cut into requests, and cut again when a request fails: pure logic, no network, no clock."""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from engine.api.answers import Yes
from engine.api.messages import record_body
from engine.delivery.entries import tags_of
from engine.errors import ApiError
from engine.ledger.schema import OutboxItem
from engine.types import TagScore

ATTEMPTS = 5
"""Failures of one request, while others succeed, after which it is suspected itself (the contract's)."""
CHANCE = 1e-7
"""A medium is not rejected while its failures could be a bad network's with more than this probability."""

Lost = tuple[int, str | None, str]
"""A rejection as the ledger takes it: (seq, tag or None for the whole medium, reason)."""


@dataclass(frozen=True)
class Limits:
    """Records and bytes of one request, at most (the contract's unless configured)."""

    records: int = 500
    bytes: int = 256 * 1024

    def lowered(self, records: int) -> "Limits":
        """What a 413 to a request of so many records teaches: half of them.

        The bytes stay: halved too, they would cut chunks of long records short twice. A service that counts bytes is
        met all the same, by a request or two more.
        """
        return replace(self, records=max(1, min(self.records, records // 2)))


@dataclass(frozen=True)
class Entry:
    """A medium of the outbox, with its records as they travel."""

    item: OutboxItem
    tags: tuple[TagScore, ...]
    records: tuple[bytes, ...]

    @cached_property
    def size(self) -> int:
        """Bytes in a bulk body."""
        return sum(len(record) + 2 for record in self.records)

    @classmethod
    def of(cls, item: OutboxItem) -> "Entry":
        tags = tags_of(item.entry)
        return cls(item, tags, tuple(record_body(item.media, tag) for tag in tags))


@dataclass(eq=False)
class Chunk:
    """Media that travel in one request; a single one may travel in several, one after the other.

    Attributes:
        sent: how many records have been answered with yes (a single medium only).
        lost: what was rejected on the way.
        tries: failures in a row, for the back-off; whatever their cause.
        failures: of these, those that speak against the chunk itself.
        mark: the run's count of yeses when the last of these was counted.
        since: the run's count of yeses when this chunk, or the one it was cut from, first failed.
        due: when it may be tried again.
    """

    entries: tuple[Entry, ...]
    sent: int = 0
    lost: list[Lost] = field(default_factory=list)
    tries: int = 0
    failures: int = 0
    mark: int = -1
    since: int | None = None
    due: float = 0.0

    @property
    def alone(self) -> bool:
        """Whether it is one medium."""
        return len(self.entries) == 1

    @cached_property
    def records(self) -> tuple[bytes, ...]:
        return tuple(record for entry in self.entries for record in entry.records)

    def count_records(self, lost: list[Lost]) -> int:
        """How many records a list of losses stands for."""
        whole = {seq for seq, tag, _ in lost if tag is None}
        in_whole = sum(len(entry.records) for entry in self.entries if entry.item.seq in whole)
        return in_whole + sum(seq not in whole for seq, _, _ in lost)

    def halves(self) -> list["Chunk"]:
        """Two chunks of half the media each."""
        middle = len(self.entries) // 2
        return [Chunk(part, since=self.since) for part in (self.entries[:middle], self.entries[middle:])]

    def repacked(self, limits: Limits) -> list["Chunk"]:
        """Chunks of the same media under new limits."""
        left = deque(self.entries)
        parts = []
        while left:
            parts.append(Chunk(tuple(fill(left, limits)), since=self.since))
        return parts

    def failed(self, yeses: int, *, nothing_else: bool) -> None:
        """Count a failure. While nothing else succeeds it says nothing about the chunk, unless nothing else is left."""
        self.since = yeses if self.since is None else self.since
        if yeses > self.mark or nothing_else:
            self.failures += 1
            self.mark = yeses


def fill(waiting: deque[Entry], limits: Limits, may_go: Callable[[Entry], bool] = lambda _: True) -> Iterable[Entry]:
    """Take the next request's media off the left: in order, whole, within the limits (one larger medium goes alone)."""
    records = size = 0
    while waiting and may_go(waiting[0]):
        records += len(waiting[0].records)
        size += waiting[0].size
        if size != waiting[0].size and (records > limits.records or size > limits.bytes):
            return
        yield waiting.popleft()


def failures_needed(transient: int, yeses: int) -> int:
    """Failures in a row that tell a bad medium from bad luck, where so many requests failed and succeeded later.

    At a failure rate p, k failures in a row are chance with p**k. Laplace's rule of succession estimates the rate as
    (failed + 1) / (all + 2), so a young run is careful; the contract's five suffice while it is below 4 %.
    """
    rate = (transient + 1) / (transient + yeses + 2)
    return max(ATTEMPTS, math.ceil(math.log(CHANCE) / math.log(rate)))


def rejections(chunk: Chunk, answer: Yes, url: str) -> list[Lost]:
    """What a yes left out.

    Raises `ApiError` for a medium that was not sent: what else the service misread, nobody knows.
    """
    seqs = {str(entry.item.media.wire_id): entry.item.seq for entry in chunk.entries}
    lost: list[Lost] = []
    for media_id, tag, reason in answer.rejected:
        if media_id not in seqs:
            raise ApiError(
                f"the media API at {url} rejected records of medium {media_id} ({reason}), which was not sent: "
                "nothing of this request was marked as stored"
            )
        lost.append((seqs[media_id], tag, reason))
    return lost
