"""The whole engine on one page.

    source ──► read ──► decode + fit ──► batch ──► infer ──► record ──► ledger ──► deliver ──► the media API
      ▲          │            │                                            │  ▲         │
    catalogue    └── failed ──┴────────────────────────────────────────────┘  └── yes ──┘

Every arrow is bounded, so a stage that is slow makes those before it wait, and the slowest is never idle. A medium
takes room in the outbox before it is read; its records are in the ledger before they are posted, and leave it only
after the API's yes. Ending early loses at most the batches on their way: the next run computes them again.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from engine.config import RunConfig
from engine.delivery.loop import Delivery
from engine.errors import EngineError
from engine.flow.channels import Channel, Meter, Room, Stop
from engine.flow.stage import Stage
from engine.machine import cores
from engine.model.open import Session
from engine.report.summary import Tally
from engine.stages import infer, source
from engine.stages.batch import Batcher
from engine.stages.failure_budget import FailureBudget
from engine.stages.infer import Inference
from engine.stages.load import Loader
from engine.stages.source import Catalogue, Source
from engine.stages.storage_watch import ReadWatch, RootWatch
from engine.stages.ticket import InFlight
from engine.storage.folder import Storage
from engine.types import FileState, Job, Media, Outcome, Preprocessing, Tagged

TICK_S = 0.25
"""How often the main thread looks up: for progress, and because Windows delivers Ctrl-C only to a thread that wakes."""
LEAVE_S = 8.0
"""How long an ending run waits for its threads: one stuck in a dead mount must not keep the user."""


class Register(source.Register, infer.Register, Protocol):
    """Where media and results are kept: the ledger, or the console for `engine tag`."""

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

    def __init__(
        self, parts: Parts, config: RunConfig, stop: Stop, say: Callable[[str], None] = lambda _: None, waiting: int = 0
    ) -> None:
        """`say` gets sentences for the user; `waiting` media are in the outbox already and take room there."""
        self.tally = Tally()
        self._register, self._delivery, self._stop = parts.register, parts.delivery, stop
        self._budget = FailureBudget(config.max_failures, shares=not config.retry_failed)
        shape, rows, room = parts.preprocessing, parts.session.batch_size, Room(config.outbox_limit, stop)
        room.take(waiting)
        parts.register.on_room(room.give_back)
        self._in_flight = in_flight = InFlight(room, stop)
        todo: Channel[Job] = Channel(4 * rows + config.read_threads, stop)
        batcher = Batcher(rows, shape.height, shape.width, stop, buffers=2 + config.submitters)
        root = RootWatch(parts.storage, stop, say)
        reads = ReadWatch(config.read_timeout, most_given_up=4 * config.read_threads)
        self.source = Source(parts.catalogue, parts.register, parts.storage, in_flight, batcher, todo, config, stop)
        self._load = load = Loader(
            parts.storage, shape, config, batcher, todo, in_flight, self._budget.passed, self._failed, root, reads, stop
        )
        inference = Inference(parts.session, batcher, parts.register, parts.tags, parts.threshold, self._stored, stop)
        self._reading = Stage(load.reading, config.read_threads, load.read, stop, at_end=load.loaded.close)
        self._stages = [
            Stage(self.source.meter, 1, self.source.run, stop, at_end=self.source.close),
            self._reading,
            Stage(load.decoding, config.decode_threads or cores(), load.decode, stop),
            Stage(inference.inferring, config.submitters, inference.infer, stop, at_end=inference.scored.close),
            Stage(inference.recording, 1, inference.record, stop),
        ]

    @property
    def meters(self) -> list[Meter]:
        """One for each stage, in the order of the flow."""
        return [stage.meter for stage in self._stages] + ([self._delivery.meter] if self._delivery else [])

    def run(self, tick: Callable[[], None] = lambda: None) -> None:
        """Run all stages; call `tick` a few times a second. Raises what stopped the run, if anything did."""
        if self._delivery:
            self._delivery.start()
        for stage in self._stages:
            stage.start()
        self._wait(tick, lambda: not any(stage.join(TICK_S) for stage in self._stages))
        if self._delivery:
            self._delivery.drain()
            self._wait(tick, partial(self._delivery.join, TICK_S))
        if self._stop.error:
            raise self._stop.error

    def _wait(self, tick: Callable[[], None], ended: Callable[[], bool]) -> None:
        """Until `ended`, which itself waits a tick; a stopped run is not waited for longer than `LEAVE_S`."""
        leave_at: float | None = None
        while not ended():
            for meter in self.meters:
                meter.look()
            tick()
            try:
                self._load.give_up_hanging(self._reading)
            except EngineError as error:  # nearly all hang, or one failure too many
                self._stop.set(error)
            if self._stop.is_set():
                leave_at = leave_at or time.monotonic() + LEAVE_S
                if self._delivery:
                    self._delivery.stop()
                if time.monotonic() > leave_at:
                    return

    def _failed(self, media: Media, outcome: Outcome, reason: str, file: FileState | None) -> None:
        """A medium that ends before the session."""
        self.tally.add(**{outcome.value: 1})

        def settled(future: Future[None]) -> None:
            if future.exception() is None:
                self._in_flight.leave(media)

        self._register.fail(media, outcome, reason, file).add_done_callback(settled)
        if outcome is Outcome.FAILED:
            self._budget.failed(media, reason)

    def _stored(self, tagged: Sequence[Tagged]) -> None:
        """A batch whose results are on the disk."""
        self.tally.add(images=len(tagged), done=sum(not item.records for item in tagged))
        self._in_flight.leave(*(item.media for item in tagged))
