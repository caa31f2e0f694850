"""The delivery: outbox -> requests -> the API's yes -> ledger.

A coroutine on the client's loop. It reads the outbox in order, keeps a few requests under way, and takes a medium off
the outbox only when the service has answered for all its records. What fails is put back, cut smaller, or rejected, by
the contract's table; what nobody can heal ends the run with nothing marked.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from engine.api.answers import shown_url
from engine.api.backoff import Gate
from engine.api.client import MediaApi
from engine.delivery.backlog import Backlog
from engine.delivery.chunks import Limits
from engine.delivery.entries import entry
from engine.delivery.requests import Exchange
from engine.errors import ApiAway
from engine.flow.channels import Meter
from engine.ledger.ledger import Ledger
from engine.types import Media, Tagged

GRACE_S = 4.0
"""How long requests under way may end by themselves: an answer that is not waited for is a record sent twice."""


SINK = "media API"
"""The name of its entries in the outbox."""


class Delivery:
    """Empties a ledger's outbox into the media API; one a run.

    A `Sink`. `on_settled` is told of media that left the
    outbox, `on_fatal` of the error that ended the delivery (kept as `error` too); both are called on the client's loop.
    """

    def __init__(
        self,
        ledger: Ledger,
        api: MediaApi,
        limits: Limits | None = None,
        meter: Meter | None = None,
        on_settled: Callable[[Sequence[Media]], None] = lambda _: None,
        on_fatal: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.name = SINK
        self.error: BaseException | None = None
        self.meter = meter or Meter("deliver")
        self._api = api
        self._connections = api.config.connections
        self._patience = api.config.give_up_after_s
        self._on_settled = on_settled
        self._on_fatal = on_fatal
        one_a_request = api.config.recognition_bulk_url is None
        limits = Limits(records=1) if one_a_request else limits or Limits()
        self._backlog = Backlog(partial(ledger.outbox, SINK), limits)
        self._gate = Gate(api.config.backoff, 2 * self._connections)
        self._exchange = Exchange(
            ledger, api, self._backlog, self._gate, self._settled, self._tick, stopping=lambda: self._stopping
        )
        self.counters = self._exchange.counters
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_tick = time.perf_counter()
        self._changed = asyncio.Event()
        self._draining = self._stopping = False
        self._ended = threading.Event()

    def entry(self, tagged: Tagged) -> str | None:
        return entry(tagged)

    def figures(self) -> Mapping[str, int]:
        counted = self.counters
        return {name: getattr(counted, name) for name in ("done", "rejected", "records", "refused", "requests")}

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

    async def _main(self) -> None:
        try:
            while not self._stopping:
                self._changed.clear()
                draining = self._draining  # read before the outbox is: what came before `drain` is still found
                now = asyncio.get_running_loop().time()
                if self._launch(now, hurry=draining) and draining:
                    break
                self._check_patience(now)
                await self._wait(now)
        except Exception as error:  # whatever it is, the run must hear of it
            self.error = error
        finally:
            await self._end_requests()
            self._tick()
            if self.error:
                self._on_fatal(self.error)
            self._ended.set()

    async def _end_requests(self) -> None:
        if not self._tasks:
            return
        _, hanging = await asyncio.wait(self._tasks, timeout=GRACE_S)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    def _launch(self, now: float, *, hurry: bool) -> bool:
        """Fill the free connections; True if nothing is left, in the outbox or under way."""
        while now >= self._gate.opens_at and len(self._tasks) < (self._connections if self._gate.open else 1):
            chunk = self._backlog.next(now, knocking=not self._gate.open, hurry=hurry)
            if chunk is None:
                return not self._tasks and self._backlog.empty()
            task = asyncio.create_task(self._exchange.deliver(chunk))
            self._tasks.add(task)
            task.add_done_callback(self._task_ended)
        return False

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() and self.error is None:
            self.error = task.exception()
            self._stopping = True
        self._changed.set()

    def _check_patience(self, now: float) -> None:
        if self._patience is None or self._gate.away_since is None or now - self._gate.away_since < self._patience:
            return
        url = shown_url(self._api.config.post_url)
        raise ApiAway(
            f"the media API at {url} stored nothing for {self._patience:.0f} s: what was tagged is kept in the "
            "outbox; `engine deliver` posts it when the API is back"
        )

    async def _wait(self, now: float) -> None:
        """Until something changes, or until a moment after `now` comes at which there is something to do."""
        moments = [moment for moment in (self._gate.opens_at, *self._backlog.due_after(now)) if moment > now]
        if self._patience is not None and self._gate.away_since is not None:
            moments.append(self._gate.away_since + self._patience)
        self._tick()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(moments, default=None)):
                await self._changed.wait()
        self._tick()

    def _settled(self, media: Sequence[Media]) -> None:
        self.meter.add(items=len(media))
        self._on_settled(media)

    def _tick(self) -> None:
        """Book the time since the last tick: busy with requests, waiting to try again, or with nothing to do."""
        now = time.perf_counter()
        elapsed, self._last_tick = now - self._last_tick, now
        if self._exchange.posting:
            self.meter.add(busy=elapsed)
        elif self._tasks or not self._backlog.empty():
            self.meter.add(waiting_out=elapsed)
        else:
            self.meter.add(waiting_in=elapsed)
