"""What becomes of a chunk: sent, and by the service's answer settled, put off, cut smaller or rejected."""

import asyncio
import hashlib
import logging
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from engine.api.answers import Answer, NotNow, TooLarge, Yes, shown_url
from engine.api.backoff import Gate
from engine.api.client import MediaApi
from engine.api.messages import bulk_body
from engine.delivery.backlog import Backlog
from engine.delivery.chunks import ATTEMPTS, Chunk, failures_needed, rejections
from engine.errors import ApiError
from engine.ledger.ledger import Ledger
from engine.types import Media

MOST_REJECTED = 20
"""Media rejected in a row, after which it is the service, or we, and not the media (the contract's)."""

log = logging.getLogger(__name__)


@dataclass
class Counters:
    """What the delivery did in this run."""

    requests: int = 0
    repeats: int = 0  # of these, requests sent again after "not now"
    records: int = 0  # stored
    refused: int = 0  # single records that the service gave a reason against
    done: int = 0  # media
    rejected: int = 0  # media


class Exchange:
    """Carries chunks through the API, several at a time, by the contract's table of answers.

    `bulk`: all of a chunk in one request; else one record a request. `posting` counts requests under way, `tick` is
    called before it changes.
    """

    def __init__(
        self,
        ledger: Ledger,
        api: MediaApi,
        backlog: Backlog,
        gate: Gate,
        on_settled: Callable[[Sequence[Media]], None],
        tick: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        self.counters = Counters()
        self.posting = 0
        self._bulk = api.config.recognition_bulk_url is not None
        self._piece = sys.maxsize if self._bulk else 1  # records a request for one medium alone; a 413 lowers it
        self._ledger = ledger
        self._api = api
        self._url = shown_url(api.config.post_url)
        self._backlog = backlog
        self._gate = gate
        self._on_settled = on_settled
        self._tick = tick
        self._stopping = stopping
        self._under_way = 0
        self._yeses = 0
        self._transient = 0  # failures of chunks that succeeded later
        self._rejected_in_a_row = 0

    async def deliver(self, chunk: Chunk) -> None:
        """Send a chunk and do what its answer asks for. Raises `ApiError` and `LedgerError`, with nothing marked."""
        self._under_way += 1
        try:
            await self._deliver(chunk)
        finally:
            self._under_way -= 1

    async def _deliver(self, chunk: Chunk) -> None:
        """Send a chunk, or one medium's records piece by piece, until the service says anything but yes."""
        while chunk.sent < len(chunk.records):
            if self._stopping():
                return None  # between two requests: what has its answer is in the ledger, the rest stays in the outbox
            end = chunk.sent + self._piece if chunk.alone else len(chunk.records)
            piece = chunk.records[chunk.sent : end]
            answer = await self._post(chunk, piece)
            if isinstance(answer, Yes):
                await self._stored(chunk, answer, len(piece))
            elif isinstance(answer, NotNow):
                return await self._not_now(chunk, answer)
            elif isinstance(answer, TooLarge):
                return self._too_large(chunk, piece, answer.text)
            else:
                return await self._bad(chunk, answer.text)
        await self._settle(chunk)

    async def _post(self, chunk: Chunk, piece: Sequence[bytes]) -> Answer:
        body = bulk_body(piece) if self._bulk else piece[0]
        key = hashlib.sha256(self._ledger.identity.encode() + body).hexdigest() if self._bulk else None
        self.counters.requests += 1
        self.counters.repeats += chunk.tries > 0
        self._tick()
        self.posting += 1
        try:
            return await self._api.post(body, key)
        finally:
            self._tick()
            self.posting -= 1

    async def _stored(self, chunk: Chunk, answer: Yes, count: int) -> None:
        lost = rejections(chunk, answer, self._url)
        self._gate.yes()
        self._yeses += 1
        self._rejected_in_a_row = 0
        self._transient += chunk.failures
        chunk.tries = chunk.failures = 0
        chunk.lost += lost
        chunk.sent += count
        self.counters.records += count - chunk.count_records(lost)
        if not self._bulk:  # an old service stores twice what is sent twice
            await _on_disk(self._ledger.progress(chunk.entries[0].item.seq, chunk.sent))

    async def _not_now(self, chunk: Chunk, answer: NotNow) -> None:
        """Put it off; but the chunk that alone keeps failing is itself the cause: narrow it down."""
        now = asyncio.get_running_loop().time()
        self._gate.not_now(answer, now)
        if answer.reached:
            chunk.failed(self._yeses, nothing_else=self._under_way == 1 and self._backlog.only_put_off())
        if chunk.failures >= ATTEMPTS and not chunk.alone:
            return self._backlog.first(chunk.halves())
        proven = chunk.since is not None and self._yeses > chunk.since  # others succeed; it is these media
        if proven and chunk.alone and chunk.failures >= failures_needed(self._transient, self._yeses):
            return await self._reject(chunk, answer.text)
        # While a bad medium is narrowed down there is nothing to spare the service; the last word takes its time.
        attempt = 0 if proven and not chunk.alone else chunk.tries
        delay = self._api.config.backoff.delay(attempt, answer.retry_after)
        chunk.tries += 1
        log.warning("%s: %s; sending again in %.1f s", self._url, answer.text, delay)
        self._backlog.put_off(chunk, now + delay)

    def _too_large(self, chunk: Chunk, piece: Sequence[bytes], text: str) -> None:
        self._gate.alive()
        if len(piece) == 1:
            return self._lose_record(chunk, text)
        self._piece = min(self._piece, len(piece) // 2)
        self._backlog.limits = self._backlog.limits.lowered(len(piece))
        log.info("%s: too large; from here on at most %d records a request", self._url, self._backlog.limits.records)
        return self._backlog.first([chunk] if chunk.alone else chunk.repacked(self._backlog.limits))

    def _lose_record(self, chunk: Chunk, text: str) -> None:
        """A single record that is too large: nothing is left to halve."""
        self._count_rejection(text)
        entry = chunk.entries[0]
        chunk.lost.append((entry.item.seq, entry.tags[chunk.sent].tag, text))
        chunk.sent += 1
        self._backlog.first([chunk])

    async def _bad(self, chunk: Chunk, text: str) -> None:
        """The service finds fault with these records: halve until the bad medium is alone."""
        self._gate.alive()
        if chunk.alone:
            return await self._reject(chunk, text)
        self._check_proven(text)
        return self._backlog.first(chunk.halves())

    async def _reject(self, chunk: Chunk, text: str) -> None:
        self._count_rejection(text)
        chunk.lost.append((chunk.entries[0].item.seq, None, text))
        await self._settle(chunk)

    def _check_proven(self, text: str) -> None:
        if not self._yeses:
            raise ApiError(
                f"the media API at {self._url} refuses the first records it was sent ({text}): "
                "check the address and what it expects; nothing was marked"
            )

    def _count_rejection(self, text: str) -> None:
        self._check_proven(text)
        self._rejected_in_a_row += 1
        if self._rejected_in_a_row >= MOST_REJECTED:
            raise ApiError(
                f"the media API at {self._url} refused {MOST_REJECTED} media in a row, the last with {text}: "
                "see to the service, then run the same command again; what is not marked rejected is kept in the outbox"
            )

    async def _settle(self, chunk: Chunk) -> None:
        """All of it is answered: it leaves the outbox. A medium that lost every record is rejected."""
        for entry in chunk.entries:
            reasons = [reason for seq, tag, reason in chunk.lost if seq == entry.item.seq and tag is not None]
            if reasons and len(reasons) == len(entry.records):
                chunk.lost.append((entry.item.seq, None, f"every record was refused, the last with: {reasons[-1]}"))
        await _on_disk(self._ledger.delivered([entry.item.seq for entry in chunk.entries], chunk.lost))
        self._backlog.settled(chunk)
        rejected = len({seq for seq, tag, _ in chunk.lost if tag is None})
        self.counters.rejected += rejected
        self.counters.done += len(chunk.entries) - rejected
        self.counters.refused += sum(tag is not None for _, tag, _ in chunk.lost)
        self._on_settled([entry.item.media for entry in chunk.entries])


async def _on_disk(future: Future[None]) -> None:
    """Wait for the ledger; breaking off the wait must not break off the write."""
    await asyncio.shield(asyncio.wrap_future(future))
