"""What goes into one request and how large it is, and how it is cut when it fails. Pure: no network, no clock."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from engine.api.answers import Rejection
from engine.api.messages import record_bodies, replace_body, tags_in
from engine.delivery.entries import pairs_of
from engine.delivery.policy import History
from engine.errors import ApiError
from engine.ledger.schema import OutboxItem

Rejected = tuple[int, str | None, str]
"""A rejection as the ledger takes it: (seq, tag or None for the whole medium, reason)."""


@dataclass(frozen=True)
class Limits:
    """Records and bytes of one request, at most (the contract's unless configured)."""

    records: int = 500
    bytes: int = 256 * 1024

    def at_most(self, records: int) -> "Limits":
        """The same with no more records than this, which the service has taught us by a 413.

        The byte limit stays: lowering both would shrink chunks of long records twice. If the service limits bytes, one
        or two more 413s get there.
        """
        return replace(self, records=min(self.records, records))


@dataclass(frozen=True)
class OutboxMedium:
    """A medium of the outbox, with its records as they travel.

    Attributes:
        records: what can be sent apart: a body a record; where tags are replaced, one body with all of them.
        tag_count: how many tags these are.
        count: how many records it is towards the limit of a request.
        whole: whether its tags are replaced and so travel together: half of them would take the other half away.
    """

    item: OutboxItem
    records: tuple[bytes, ...]
    tag_count: int
    count: int
    whole: bool = False

    @cached_property
    def size(self) -> int:
        """Bytes in a bulk body."""
        return sum(len(record) + 2 for record in self.records)

    @cached_property
    def tags(self) -> list[str]:
        """Their names, in the order of the records. Only rejections need them."""
        return tags_in(pairs_of(self.item.entry))

    @classmethod
    def of(cls, item: OutboxItem) -> "OutboxMedium":
        records = record_bodies(item.media, pairs_of(item.entry))
        return cls(item, records, len(records), len(records))

    @classmethod
    def replacing(cls, item: OutboxItem, models: Sequence[str]) -> "OutboxMedium":
        """These tags in place of all that any of `models` gave the medium before; the last of them gave these."""
        text = pairs_of(item.entry)
        tag_count = text.count("\n") + 1 if text else 0
        bodies = [replace_body(item.media, former, "") for former in models[:-1]]
        bodies.append(replace_body(item.media, models[-1], text))
        return cls(item, (b", ".join(bodies),), tag_count, len(bodies) + tag_count, whole=True)

    @property
    def sent(self) -> int:
        """How many of its records had their answer in an earlier run."""
        return 0 if self.whole else self.item.sent


@dataclass(eq=False)
class Chunk:
    """Media that travel in one request; a single one may travel in several, one after the other.

    Attributes:
        sent: how many records have their answer, yes or no (a single medium only).
        rejected: what was rejected on the way.
        history: what the policy remembers of earlier attempts.
        due: when it may be sent again.
    """

    media: tuple[OutboxMedium, ...]
    sent: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    history: History = field(default_factory=History)
    due: float = 0.0

    @property
    def alone(self) -> bool:
        """Whether it is one medium."""
        return len(self.media) == 1

    @property
    def count(self) -> int:
        """How many records it is towards the limit of a request."""
        return sum(medium.count for medium in self.media)

    @cached_property
    def records(self) -> tuple[bytes, ...]:
        return tuple(record for medium in self.media for record in medium.records)

    def next_records(self, at_most: int) -> tuple[bytes, ...]:
        """The records of the next request: of several media all, of a single one no more than `at_most`."""
        return self.records[self.sent : self.sent + at_most] if self.alone else self.records

    def halves(self) -> list["Chunk"]:
        """Two chunks of half the media each."""
        middle = len(self.media) // 2
        return [Chunk(part, history=self.history.of_a_part()) for part in (self.media[:middle], self.media[middle:])]

    def repacked(self, limits: Limits) -> list["Chunk"]:
        """Chunks of the same media under new limits."""
        left = deque(self.media)
        parts = []
        while left:
            parts.append(Chunk(tuple(fill(left, limits)), history=self.history.of_a_part()))
        return parts

    def reject_medium(self, reason: str) -> None:
        """Give up the only medium."""
        self.rejected.append((self.media[0].item.seq, None, reason))

    def reject_record(self, reason: str) -> None:
        """Give up what is to be sent next of the only medium: a record, or all of it where it travels whole."""
        medium = self.media[0]
        self.rejected.append((medium.item.seq, None if medium.whole else medium.tags[self.sent], reason))
        self.sent += 1

    def book(self, rejections: Sequence[Rejection], count: int, url: str) -> int:
        """Note that `count` more of `records` were answered with yes, except these; return how many tags are stored.

        A rejection of a record that was not sent counts for nothing. Raises `ApiError` for a medium that was not sent:
        what else the service misread, nobody knows.
        """
        media = {str(medium.item.media.wire_id): medium for medium in self.media}
        refused: dict[tuple[int, str | None], str] = {}
        for media_id, tag, reason in rejections:
            if media_id not in media:
                raise ApiError(
                    f"the media API at {url} rejected records of medium {media_id} ({reason}), which was not sent: "
                    "nothing of this request was marked as stored"
                )
            medium = media[media_id]
            if tag is None or tag in medium.tags[self._next(medium, count)]:
                refused[medium.item.seq, tag] = reason
        whole = {seq for seq, tag in refused if tag is None}
        lost = sum(seq not in whole for seq, _ in refused)
        lost += sum(self._next_count(medium, count) for medium in self.media if medium.item.seq in whole)
        answered = sum(self._next_count(medium, count) for medium in self.media)
        self.rejected += [(seq, tag, reason) for (seq, tag), reason in refused.items()]
        self.sent = len(self.records) if self.alone and whole else self.sent + count
        return answered - lost

    def _next(self, medium: OutboxMedium, count: int) -> slice:
        """Where the tags of this medium stand that are among the next `count` of `records`."""
        in_part = self.alone and not medium.whole
        return slice(self.sent, self.sent + count) if in_part else slice(None)

    def _next_count(self, medium: OutboxMedium, count: int) -> int:
        return len(range(medium.tag_count)[self._next(medium, count)])

    def close(self) -> None:
        """All is answered: a medium that lost every record is rejected as a whole."""
        for medium in self.media:
            reasons = [reason for seq, tag, reason in self.rejected if seq == medium.item.seq and tag is not None]
            if reasons and len(reasons) == medium.tag_count:
                self.rejected.append((medium.item.seq, None, f"every record was refused, the last with: {reasons[-1]}"))


def fill(
    waiting: deque[OutboxMedium], limits: Limits, may_go: Callable[[OutboxMedium], bool] = lambda _: True
) -> Iterable[OutboxMedium]:
    """Take the next request's media off the left: in order, whole, within the limits (one larger medium goes alone)."""
    records = size = 0
    while waiting and may_go(waiting[0]):
        records += waiting[0].count
        size += waiting[0].size
        if size != waiting[0].size and (records > limits.records or size > limits.bytes):
            return
        yield waiting.popleft()
