"""What the delivery has still to send, and which of it goes next. No network, no threads; the clock is the caller's."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from engine.delivery.chunks import Chunk, Entry, Limits, fill
from engine.ledger.schema import OutboxItem

MOST_HELD = 2000
"""Media in chunks put off, at most, before no new ones are taken up: some 10 MB."""
READ_AHEAD = 500
LINGER_S = 0.5
"""How long records wait for company before a request goes half full: it costs no throughput, as tagging does not wait
for it, and spares a slow service most of its requests."""


class Backlog:
    """Chunks in three places: cut anew and first in line, put off until they are due, and fresh from the outbox."""

    def __init__(self, read: Callable[[int, int], list[OutboxItem]], limits: Limits) -> None:
        """`read(after, limit)` gives rows of the outbox with seq > after, ascending."""
        self.limits = limits
        self._read_outbox = read
        self._after = 0
        self._read: deque[Entry] = deque()
        self._waiting_since: float | None = None  # when the first of them began to wait for company
        self._first: deque[Chunk] = deque()
        self._put_off: list[Chunk] = []
        self._busy: set[int] = set()  # ids in chunks: a medium's newer records never overtake older ones

    def next(self, now: float, *, knocking: bool, hurry: bool = True) -> Chunk | None:
        """The chunk to send now, if any; without `hurry` a chunk that is not full lingers for company.

        A service that is away (`knocking`) is asked with a fresh chunk each time: the last may be what it chokes on.
        """
        if self._first:
            return self._first.popleft()
        due = min((chunk for chunk in self._put_off if chunk.due <= now), key=lambda chunk: chunk.due, default=None)
        fresh = self._fresh(now, hurry) if knocking or not due else None
        if due and not fresh:
            self._put_off.remove(due)
            return due
        return fresh

    def first(self, chunks: Iterable[Chunk]) -> None:
        """These go before all else, in this order."""
        self._first.extendleft(reversed(list(chunks)))

    def put_off(self, chunk: Chunk, due: float) -> None:
        """This one waits."""
        chunk.due = due
        self._put_off.append(chunk)

    def settled(self, chunk: Chunk) -> None:
        """The service has answered for all of it."""
        self._busy.difference_update(entry.item.media.id for entry in chunk.entries)

    def empty(self) -> bool:
        """Nothing left but what is under way."""
        return not (self._first or self._put_off or self._read)

    def only_put_off(self) -> bool:
        """Nothing left that could go at once."""
        return not (self._first or self._read)

    def due_after(self, now: float) -> Iterator[float]:
        """When what is put off, or lingers, may go."""
        yield from (chunk.due for chunk in self._put_off if chunk.due > now)
        if self._waiting_since is not None:
            yield self._waiting_since + LINGER_S

    def _fresh(self, now: float, hurry: bool) -> Chunk | None:
        if sum(len(chunk.entries) for chunk in self._put_off) >= MOST_HELD:
            return None
        if len(self._read) < self.limits.records:
            items = self._read_outbox(self._after, READ_AHEAD)
            self._after = items[-1].seq if items else self._after
            self._read.extend(Entry.of(item) for item in items)
        if self._lingers(now) and not hurry:
            return None
        self._waiting_since = None
        entries = []
        for entry in fill(self._read, self.limits, lambda entry: entry.item.media.id not in self._busy):
            self._busy.add(entry.item.media.id)
            entries.append(entry)
        if not entries:
            return None
        return Chunk(tuple(entries), sent=entries[0].item.sent if len(entries) == 1 else 0)

    def _lingers(self, now: float) -> bool:
        """Whether what was read is less than a chunk, and has not waited long."""
        if not self._read or sum(len(entry.records) for entry in self._read) >= self.limits.records:
            return False
        if self._waiting_since is None:
            self._waiting_since = now
        return now < self._waiting_since + LINGER_S
