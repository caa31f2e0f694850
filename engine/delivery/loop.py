"""The delivery: sends what the outbox holds to the media API, a few requests at a time, and books the answers.

    outbox ──► Backlog ──► Chunk ──► media API ──► DeliveryPolicy ──► stored or rejected: the media leave the outbox
                  ▲                                      │
                  └──────── wait, or cut smaller ────────┴──► the service is at fault: the run stops

A medium leaves the outbox only when the service has answered for all its records. The work is done by one coroutine and
a task for each chunk, on the client's event loop, so every wait can be broken off at once.
"""

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from engine.api.answers import NotNow, shown_url
from engine.api.client import MediaApi
from engine.api.messages import bulk_body, idempotency_key
from engine.delivery.backlog import Backlog
from engine.delivery.chunks import Chunk, Limits, OutboxMedium, Rejected
from engine.delivery.entries import entry
from engine.delivery.policy import (
    Decision,
    DeliveryPolicy,
    Halve,
    PutOff,
    RejectMedium,
    RejectRecord,
    Settle,
    Shrink,
    StopRun,
    TryAnother,
)
from engine.flow.channels import Meter
from engine.ledger.ledger import Ledger
from engine.types import Tagged

log = logging.getLogger(__name__)

SHARED_COMMIT_S = 0.002
"""How long the answer to a single record waits for others, to be kept by one commit."""
SINK = "media API"
"""The name of its entries in the outbox."""


@dataclass
class Counters:
    """What the delivery did in this run."""

    requests: int = 0
    repeats: int = 0  # of these, requests sent again after "not now"
    records: int = 0  # stored
    refused: int = 0  # single records that the service gave a reason against
    done: int = 0  # media
    rejected: int = 0  # media


class Delivery:
    """Empties a ledger's outbox into the media API; one a run.

    A `Sink`: all methods may be called from any thread, and only `join` waits.

    Args:
        on_fatal: is called, on the client's loop, with the error that ended the delivery; it is kept as `error` too.
        grace_s: how long requests under way may still take when the delivery ends. Where the answer is not waited for,
            the next run sends the same records again.
    """

    def __init__(
        self,
        ledger: Ledger,
        api: MediaApi,
        limits: Limits | None = None,
        meter: Meter | None = None,
        on_fatal: Callable[[BaseException], None] = lambda _: None,
        *,
        grace_s: float = 4.0,
    ) -> None:
        config = api.config
        self.name = SINK
        self.error: BaseException | None = None
        self.meter = meter or Meter("deliver")
        self.counters = Counters()
        self._grace_s = grace_s
        self._ledger = ledger
        self._api = api
        self._url = shown_url(config.post_url)
        self._on_fatal = on_fatal
        self._replaces = config.recognition_replace_url is not None  # all tags of a medium, in place of its old ones
        self._bulk = self._replaces or config.recognition_bulk_url is not None  # else one record a request
        self._max_records_alone = sys.maxsize if self._bulk else 1  # records of a single medium in one request
        self._backlog = Backlog(
            partial(ledger.outbox, SINK),
            partial(ledger.outbox_sample, SINK),
            (limits or Limits()) if self._bulk else Limits(records=1),
            partial(OutboxMedium.replacing, models=ledger.models()) if self._replaces else OutboxMedium.of,
        )
        self._policy = DeliveryPolicy(
            self._url, config.backoff, config.connections, said_yes=api.has_said_yes(config.post_url)
        )
        self._answered: dict[int, int] = {}  # records of media by seq, whose answers the ledger does not know yet
        self._refused: list[tuple[int, str, str]] = []  # of these
        self._commit: asyncio.TimerHandle | None = None
        self._kept: asyncio.Future[None]  # done when the ledger knows them
        self._trouble = ""  # what the service said last instead of yes or no
        self._tasks: set[asyncio.Task[None]] = set()
        self._posting = 0  # requests under way
        self._booked_at = time.perf_counter()
        self._changed = asyncio.Event()
        self._draining = self._stopping = False
        self._ended = threading.Event()

    # What other threads call.

    def entry(self, tagged: Tagged) -> str | None:
        """Its tags with their scores; None for a picture without tags, unless that is to replace some."""
        return entry(tagged, replaces=self._replaces)

    def figures(self) -> Mapping[str, int]:
        """What it did in this run, by the names of `Tally`."""
        counted = self.counters
        return {name: getattr(counted, name) for name in ("records", "refused", "requests")}

    def start(self) -> None:
        """Begin; what an earlier run left in the outbox goes first."""
        self._api.run(self._main())

    def wake(self) -> None:
        """There may be more in the outbox."""
        self._api.call_soon(self._changed.set)

    def drain(self) -> None:
        """Nothing more will enter the outbox: end when it is empty."""
        self._draining = True
        self.wake()

    def stop(self) -> None:
        """End within seconds, whatever the service does; what has no answer stays in the outbox."""
        self._stopping = True
        self.wake()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end after `drain`, `stop` or a fatal error; False if it has not come in time."""
        return self._ended.wait(timeout)

    # The loop.

    async def _main(self) -> None:
        try:
            while not self._stopping:
                self._changed.clear()
                draining = self._draining  # before the outbox is read: whatever entered before `drain` is then found
                now = self._now()
                if self._launch(now, hurry=draining) and draining:
                    break
                self._policy.give_up_after_s = self._api.patience(self._api.config.post_url)
                if self._policy.given_up(now):
                    way_out = "what was tagged is kept in the outbox; `engine deliver` posts it when the API is back"
                    did_not = "neither stored nor refused anything"
                    raise self._api.gone(self._api.config.post_url, self._trouble, did_not, way_out)
                await self._wait(now)
        except Exception as error:  # whatever it is, the run must hear of it
            self.error = error
        finally:
            await self._end_requests()
            self._book_time()
            if self.error:
                self._on_fatal(self.error)
            self._ended.set()

    def _launch(self, now: float, *, hurry: bool) -> bool:
        """Use the free connections; True if nothing is left, in the outbox or under way."""
        while len(self._tasks) < self._policy.allowed(now):
            chunk = self._backlog.next(now, prefer_fresh=self._policy.on_trial, hurry=hurry)
            if chunk is None:
                if hurry and not self._tasks and self._backlog.sample_tried:
                    raise self._policy.nothing_else_to_try().error
                return not self._tasks and self._backlog.empty()
            task = asyncio.create_task(self._deliver(chunk))
            self._tasks.add(task)
            task.add_done_callback(self._task_ended)
        return False

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() and self.error is None:
            self.error = task.exception()
            self._stopping = True
        self._changed.set()

    async def _wait(self, now: float) -> None:
        """Until something changes, or until a moment after `now` comes at which there is something to do."""
        moments = [moment for moment in (*self._policy.turning_points, *self._backlog.due_after(now)) if moment > now]
        self._book_time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(moments, default=None)):
                await self._changed.wait()
        self._book_time()

    async def _end_requests(self) -> None:
        if not self._tasks:
            return
        _, hanging = await asyncio.wait(self._tasks, timeout=self._grace_s)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    # One chunk.

    async def _deliver(self, chunk: Chunk) -> None:
        """Send a chunk and do what the policy decides. Raises `ApiError` and `LedgerError`; then nothing of this
        request is marked."""
        while chunk.sent < len(chunk.records):
            if self._stopping:
                return  # between two requests: what has its answer is in the ledger, the rest stays in the outbox
            records = chunk.next_records(self._max_records_alone)
            decision = await self._attempt(chunk, records)
            before = len(chunk.rejected)
            if isinstance(decision, Settle):
                self.counters.records += chunk.book(decision.rejected, len(records), self._url)
                if self._backlog.sampling:
                    self._backlog.end_sample()
            elif isinstance(decision, RejectRecord):
                chunk.reject_record(decision.reason)
            else:
                return await self._carry_out(decision, chunk)
            if not self._bulk and chunk.sent < len(chunk.records):  # an old service stores twice what is sent twice
                await self._keep_progress(chunk, chunk.rejected[before:])
        await self._settle(chunk)

    async def _attempt(self, chunk: Chunk, records: tuple[bytes, ...]) -> Decision:
        """Send records of a chunk once, and ask the policy what the answer leads to."""
        body = bulk_body(records) if self._bulk else records[0]
        key = idempotency_key(self._ledger.identity, body) if self._bulk else None
        self.counters.requests += 1
        self.counters.repeats += chunk.history.attempts > 0
        self._book_time()
        self._posting += 1
        try:
            answer = await self._api.post(body, key)
        finally:
            self._book_time()
            self._posting -= 1
        others = len(self._tasks) > 1 or self._backlog.has_ready()
        decision = self._policy.decide(
            answer,
            chunk.history,
            alone=chunk.alone,
            whole=len(records) == len(chunk.records),
            records=len(records) if chunk.alone else chunk.count,
            others=others,
            now=self._now(),
        )
        if isinstance(answer, NotNow):
            self._trouble = answer.text
            # Where nothing else is left to send, nothing else can show that the service is well.
            if answer.reached and not others and isinstance(decision, PutOff) and await self._api.lists():
                self._policy.seen_well()
        return decision

    async def _keep_progress(self, chunk: Chunk, rejected: Sequence[Rejected]) -> None:
        """Wait until the ledger knows how many records of a medium are answered.

        The answers of a few milliseconds share one commit: it would cost as much processor time as a request. They
        wait for no more company once no request is under way.
        """
        self._answered[chunk.media[0].item.seq] = chunk.sent
        self._refused += [(seq, tag, reason) for seq, tag, reason in rejected if tag is not None]
        if self._commit is None:
            loop = asyncio.get_running_loop()
            self._kept = loop.create_future()
            self._commit = loop.call_later(SHARED_COMMIT_S, self._commit_progress)
        kept = self._kept
        if not self._posting:
            self._commit_progress()
        await asyncio.shield(kept)

    def _commit_progress(self) -> None:
        if self._commit is None:
            return
        self._commit.cancel()
        written = asyncio.wrap_future(self._ledger.progress(self._answered, self._refused))
        written.add_done_callback(partial(_pass_on, self._kept))
        self._commit, self._answered, self._refused = None, {}, []

    async def _carry_out(self, decision: Decision, chunk: Chunk) -> None:
        """Do with a chunk that was not stored what the policy decided."""
        match decision:
            case PutOff(until, wait_s, reason):
                log.warning("%s: %s; sending again in %.1f s", self._url, reason, wait_s)
                self._backlog.put_off(chunk, until)
            case Halve():
                self._backlog.put_first(chunk.halves())
            case Shrink(records):
                limits = self._backlog.limits = self._backlog.limits.at_most(records)
                self._max_records_alone = min(self._max_records_alone, records)
                log.info("%s: too large; from here on at most %d records a request", self._url, limits.records)
                self._backlog.put_first([chunk] if chunk.alone else chunk.repacked(limits))
            case TryAnother(reason):
                log.warning("%s: %s, before it ever said yes; trying another medium", self._url, reason)
                self._backlog.try_another(chunk)
            case RejectMedium(reason):
                chunk.reject_medium(reason)
                await self._settle(chunk)
            case StopRun(error):
                raise error

    async def _settle(self, chunk: Chunk) -> None:
        """All of it is answered: it leaves the outbox."""
        chunk.close()
        await _on_disk(self._ledger.delivered([medium.item.seq for medium in chunk.media], chunk.rejected))
        self._backlog.settled(chunk)
        rejected = len({seq for seq, tag, _ in chunk.rejected if tag is None})
        self.counters.rejected += rejected
        self.counters.done += len(chunk.media) - rejected
        self.counters.refused += sum(tag is not None for _, tag, _ in chunk.rejected)
        self.meter.add(items=len(chunk.media))

    # Time.

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _book_time(self) -> None:
        """Book the time since the last tick: busy with requests, waiting to try again, or with nothing to do."""
        now = time.perf_counter()
        elapsed, self._booked_at = now - self._booked_at, now
        if self._posting:
            self.meter.add(busy=elapsed)
        elif self._tasks or not self._backlog.empty():
            self.meter.add(waiting_out=elapsed)
        else:
            self.meter.add(waiting_in=elapsed)


def _pass_on(waiting: asyncio.Future[None], written: asyncio.Future[None]) -> None:
    if waiting.done() or written.cancelled():
        return
    if error := written.exception():
        waiting.set_exception(error)
    else:
        waiting.set_result(None)


async def _on_disk(future: Future[None]) -> None:
    """Wait until the ledger has written. A wait that is broken off does not break off the write."""
    await asyncio.shield(asyncio.wrap_future(future))
