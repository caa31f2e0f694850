"""What waits to be sent, and which of it goes next. Pure but for the outbox it reads; the clock is the caller's."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

from engine.delivery.chunks import Chunk, Limits, OutboxMedium, fill
from engine.ledger.schema import OutboxItem


class Backlog:
    """What waits: chunks that were cut anew and go first, chunks that were put off, and media not yet in a chunk.

    Where the service refuses what it is sent and has never said yes, a sample is sent instead: single media from all
    over the outbox (`try_another`), until one of them is stored.

    Args:
        read: `read(after, limit)` gives rows of the outbox with seq > after, ascending.
        read_sample: `read_sample(count, without)` gives up to `count` rows from as many parts of the outbox.
        limits: of one request.
        pack: makes of a row what travels.
        linger_s: how long media wait for more before a request goes half full. It costs no throughput, as tagging does
            not wait for the delivery, and spares a slow service most of its requests.
        read_ahead: rows of the outbox that are read at a time.
        most_put_off: media in chunks put off, above which no new ones are taken up; 2,000 are some 10 MB.
        most_sampled: media in a sample.
    """

    def __init__(
        self,
        read: Callable[[int, int], list[OutboxItem]],
        read_sample: Callable[[int, Collection[int]], list[OutboxItem]],
        limits: Limits,
        pack: Callable[[OutboxItem], OutboxMedium] = OutboxMedium.of,
        *,
        linger_s: float = 0.5,
        read_ahead: int = 500,
        most_put_off: int = 2000,
        most_sampled: int = 20,
    ) -> None:
        self.limits = limits
        self.sampling = False
        self._read_outbox = read
        self._read_sample = read_sample
        self._pack = pack
        self._linger_s = linger_s
        self._read_ahead = read_ahead
        self._most_put_off = most_put_off
        self._most_sampled = most_sampled
        self._sampled: set[int] = set()  # seqs; these media are not read once more
        self._sample: deque[OutboxItem] = deque()
        self._refused: list[Chunk] = []  # of the sample
        self._last_seq = 0
        self._read: deque[OutboxMedium] = deque()
        self._lingering_since: float | None = None
        self._first: deque[Chunk] = deque()
        self._put_off: list[Chunk] = []
        self._in_chunks: set[int] = set()  # media ids: a medium's newer records must not overtake its older ones

    def next(self, now: float, *, prefer_fresh: bool, hurry: bool = True) -> Chunk | None:
        """The chunk to send now, if there is one; without `hurry` a chunk that is not full lingers for more media.

        `prefer_fresh` takes new media before chunks that were put off. A service that is on trial is asked that way:
        the chunk that failed last may be the very thing it fails at.
        """
        if self._first:
            return self._first.popleft()
        due = min((chunk for chunk in self._put_off if chunk.due <= now), key=lambda chunk: chunk.due, default=None)
        if self.sampling:
            fresh = self._next_of_sample()
        else:
            fresh = self._fresh(now, hurry) if prefer_fresh or not due else None
        if due and not fresh:
            self._put_off.remove(due)
            return due
        return fresh

    def put_first(self, chunks: Iterable[Chunk]) -> None:
        """These go before all else, in this order."""
        self._first.extendleft(reversed(list(chunks)))

    def put_off(self, chunk: Chunk, until: float) -> None:
        """This one waits."""
        chunk.due = until
        self._put_off.append(chunk)

    def try_another(self, refused: Chunk) -> None:
        """Go on with a sample; a single medium that was refused belongs to it. Nothing else may be under way."""
        if not self.sampling:
            self.sampling = True
            # What was read is read again later: nothing of it was settled.
            for waiting in (self._read, self._first, self._put_off, self._in_chunks):
                waiting.clear()
            self._last_seq = 0
        if refused.alone:
            item = refused.media[0].item
            self._sampled.add(item.seq)
            self._in_chunks.add(item.media.id)
            self._refused.append(refused)

    def end_sample(self) -> None:
        """One of the sample was stored: those that were refused are sent again, and all else follows."""
        self.sampling = False
        self._sample.clear()
        self._first.extend(self._refused)
        self._refused.clear()

    @property
    def sample_tried(self) -> bool:
        """Whether a sample was sent and nothing of it waits to be sent again."""
        return self.sampling and not (self._first or self._sample or self._put_off)

    def settled(self, chunk: Chunk) -> None:
        """The service has answered for all of it."""
        self._in_chunks.difference_update(medium.item.media.id for medium in chunk.media)

    def empty(self) -> bool:
        """Nothing is left but what is under way."""
        return not (self._put_off or self.sampling or self.has_ready())

    def has_ready(self) -> bool:
        """Whether there is anything besides what was put off."""
        return bool(self._first or self._read or self._sample)

    def due_after(self, now: float) -> Iterator[float]:
        """When what was put off, or lingers, may go."""
        yield from (chunk.due for chunk in self._put_off if chunk.due > now)
        if self._lingering_since is not None:
            yield self._lingering_since + self._linger_s

    def _fresh(self, now: float, hurry: bool) -> Chunk | None:
        """A chunk of media that were not sent before."""
        if sum(len(chunk.media) for chunk in self._put_off) >= self._most_put_off:
            return None
        if len(self._read) < self.limits.records:
            items = self._read_outbox(self._last_seq, self._read_ahead)
            self._last_seq = items[-1].seq if items else self._last_seq
            self._read.extend(self._pack(item) for item in items if item.seq not in self._sampled)
        if not hurry and self._lingers(now):
            return None
        self._lingering_since = None
        media = []
        for medium in fill(self._read, self.limits, lambda medium: medium.item.media.id not in self._in_chunks):
            self._in_chunks.add(medium.item.media.id)
            media.append(medium)
        if not media:
            return None
        return Chunk(tuple(media), sent=media[0].sent if len(media) == 1 else 0)

    def _next_of_sample(self) -> Chunk | None:
        if not self._sample and len(self._sampled) < self._most_sampled:
            self._sample.extend(self._read_sample(self._most_sampled - len(self._sampled), self._sampled))
        if not self._sample:
            return None
        medium = self._pack(self._sample.popleft())
        self._sampled.add(medium.item.seq)
        self._in_chunks.add(medium.item.media.id)
        return Chunk((medium,), sent=medium.sent)

    def _lingers(self, now: float) -> bool:
        """Whether what was read is less than a chunk, and has not waited long."""
        if not self._read or sum(medium.count for medium in self._read) >= self.limits.records:
            return False
        if self._lingering_since is None:
            self._lingering_since = now
        return now < self._lingering_since + self._linger_s
