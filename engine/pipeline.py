"""The whole engine on one page.

    source ──► read ──► decode + fit ──► batch ──► infer ──► record ──► ledger ──► deliver ──► the media API
      ▲          │            │                                            │  ▲         │
    catalogue    └── failed ──┴────────────────────────────────────────────┘  └── yes ──┘

Every arrow is bounded, so a stage that is slow makes those before it wait, and the slowest is never idle. A medium
takes room in the outbox before it is read; its records are in the ledger before they are posted, and leave it only
after the API's yes. Ending early loses at most the batches on their way: the next run computes them again.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from engine.batch import Batcher
from engine.config import RunConfig
from engine.deliver import Delivery
from engine.flow import Channel, Meter, Room, Stop, run_stage
from engine.infer import Inference
from engine.inflight import InFlight
from engine.load import Limits, Loader
from engine.machine import cores
from engine.report import Tally
from engine.session import Session
from engine.source import Catalogue, Source
from engine.state import FileState
from engine.storage import Storage
from engine.types import Job, Media, Outcome, Preprocessing, Tagged

TICK_S = 0.25
"""How often the main thread looks up: for progress, and because Windows delivers Ctrl-C only to a thread that wakes."""
LEAVE_S = 8.0
"""How long an ending run waits for its threads: one stuck in a dead mount must not keep the user."""


class Register(Protocol):
    """Where media and results are kept: the ledger, or the console for `engine tag`."""

    def admit(self, page: Sequence[Media]) -> list[Media]: ...
    def store(self, tagged: Sequence[Tagged]) -> Future[None]: ...
    def fail(self, media: Media, outcome: Outcome, reason: str, file: FileState | None = None) -> Future[None]: ...
    def on_room(self, give_back: Callable[[int], None]) -> None: ...


@dataclass(frozen=True)
class Parts:
    """What a pipeline is made of."""

    catalogue: Catalogue
    storage: Storage
    preprocessing: Preprocessing
    tags: Sequence[str]
    threshold: float
    session: Session
    register: Register
    delivery: Delivery | None = None


class Pipeline:
    """The stages and the joints between them. `run` works until the catalogue ends or `stop` is set."""

    def __init__(self, parts: Parts, config: RunConfig, stop: Stop, *, waiting: int = 0) -> None:
        """`waiting` media are in the outbox already and take room there."""
        self.tally = Tally()
        self._register, self._delivery, self._stop, self._config = parts.register, parts.delivery, stop, config
        shape = parts.preprocessing
        room = Room(config.outbox_limit, stop)
        room.take(waiting)
        parts.register.on_room(room.give_back)
        self._in_flight = InFlight(room, stop)
        todo: Channel[Job] = Channel(4 * parts.session.batch_size + config.read_threads, stop)
        self._batcher = Batcher(parts.session.batch_size, shape.height, shape.width, stop, 2 + config.submitters)
        self.source = Source(
            parts.catalogue, parts.register, self._in_flight, self._batcher, todo, stop,
            start=config.segment_start, page_size=config.segment_size, limit=config.limit,
        )  # fmt: skip
        limits = Limits(config.max_file_size, config.max_pixels)
        self.loader = Loader(
            parts.storage, shape, limits, config.read_ahead, self._batcher, todo, self._in_flight, self._failed, stop
        )
        self.inference = Inference(
            parts.session, self._batcher, parts.register, parts.tags, parts.threshold, self._stored, stop
        )

    @property
    def meters(self) -> list[Meter]:
        """One for each stage, in the order of the flow."""
        load, infer = self.loader, self.inference
        delivering = [self._delivery.meter] if self._delivery else []
        return [self.source.meter, load.reading, load.decoding, infer.inferring, infer.recording, *delivering]

    def run(self, tick: Callable[[], None] = lambda: None) -> None:
        """Run all stages; call `tick` a few times a second. Raises what stopped the run, if anything did."""
        threads = list(self._start())
        self._wait(tick, lambda: not _join_any(threads))
        if self._delivery:
            self._delivery.stop() if self._stop.is_set() else self._delivery.drain()
            self._wait(tick, partial(self._delivery.join, TICK_S))
        if self._stop.error:
            raise self._stop.error

    def _wait(self, tick: Callable[[], None], ended: Callable[[], bool]) -> None:
        """Until `ended`, which itself waits a tick; a stopped run is not waited for longer than `LEAVE_S`."""
        stopped_at: float | None = None
        while not ended():
            tick()
            if self._stop.is_set():
                if self._delivery:
                    self._delivery.stop()
                stopped_at = stopped_at or time.monotonic()
                if time.monotonic() - stopped_at > LEAVE_S:
                    return

    def _start(self) -> Iterator[threading.Thread]:
        if self._delivery:
            self._delivery.start()
        load, infer, config = self.loader, self.inference, self._config
        stages = [
            (self.source.meter, 1, self.source.run, self.source.close),
            (load.reading, config.read_threads, load.read, load.loaded.close),
            (load.decoding, config.decode_threads or cores(), load.decode, lambda: None),
            (infer.inferring, config.submitters, infer.infer, infer.scored.close),
            (infer.recording, 1, infer.record, lambda: None),
        ]
        for meter, count, work, at_end in stages:
            meter.threads = count
            yield from run_stage(meter.name, count, work, self._stop, at_end)

    def _failed(self, media: Media, outcome: Outcome, reason: str, file: FileState | None) -> None:
        """A medium that ends before the session."""
        self.tally.add(**{outcome.value: 1})

        def settled(future: Future[None]) -> None:
            if future.exception() is None:
                self._in_flight.leave(media)

        self._register.fail(media, outcome, reason, file).add_done_callback(settled)

    def _stored(self, tagged: Sequence[Tagged]) -> None:
        """A batch whose results are on the disk."""
        self.tally.add(images=len(tagged), done=sum(not item.records for item in tagged))
        for item in tagged:
            self._in_flight.leave(item.media)


def _join_any(threads: Sequence[threading.Thread]) -> bool:
    """Wait a tick for a thread that is still alive; False when none is."""
    for thread in threads:
        if thread.is_alive():
            thread.join(TICK_S)
            return True
    return False
