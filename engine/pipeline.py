"""The whole engine on one page.

                                  ┌──┐ failed: a second chance, after the sweep
                                  ▼  │
    catalogue ─► source ─ todo ─► read ─ loaded ─► decode + fit ─ a row ─► batcher ─► infer ─ scored ─► record ─► ledger
                                  │                  │                                                             │
                                  └──── failed ──────┴──── failed, skipped ───────────────────────────────► ledger │
                                                                                                                   ▼
                                                             the media API ◄─ chunks ─ delivery (a sink) ◄─ outbox

Every arrow is bounded, so a stage that is slow makes those before it wait, and the slowest is never idle. Each medium
has a ticket from its admission to its outcome (`stages/ticket.py`). It takes a place in the outbox before it is read;
its results are in the ledger before they go to a sink, and leave it only after the sink's yes. Ending early loses at
most the batches on their way: the next run computes them again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.config import WAITS, RunConfig, Waits
from engine.errors import EngineError
from engine.families.family import Family, Select
from engine.flow.channels import Channel, Meter, Stop
from engine.flow.stage import Stage
from engine.machine import cores, return_large_blocks
from engine.model.session import Session
from engine.report.time_left import Standing
from engine.sink import Sink
from engine.stages.batch import Batcher
from engine.stages.failure_budget import FailureBudget
from engine.stages.infer import Inference, Recorder, Scored
from engine.stages.load import Loader
from engine.stages.readers import FIRST, MOST
from engine.stages.source import Admission, Catalogue, Source
from engine.stages.storage_watch import ReadWatch, RootWatch, StormWatch
from engine.stages.ticket import InFlight, OutcomeStore, Ticket
from engine.storage import Storage


class Books(Admission, OutcomeStore, Protocol):
    """What knows which media are to be tagged and keeps how each ended: the ledger, or the printer of `engine tag`."""


class Cluster(Protocol):
    """Machines that do what lies between `todo` and `scored`: read, decode, fit, and the session.

    Attributes:
        ahead: how many media shall wait in `todo`.
        meters: where the time goes there, in the order of the flow.
    """

    ahead: int
    meters: list[Meter]

    def stage(
        self, todo: Channel[Ticket], scored: Channel[Scored], in_flight: InFlight, storage: Storage, stop: Stop
    ) -> Stage:
        """The stage that hands media out to the machines, and their scores on; at its end it closes `scored`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a pipeline is made of.

    Attributes:
        select: of a picture's scores, the tags that count; made by `family.selection`.
        sinks: where results go; without any, a tagged medium is done.
        on_change: takes what the catalogue is to call, from any thread, when it has changed.
        features: how many numbers of a picture's vector follow its scores in what the session gives; 0: none.
        session: None with a cluster, which has sessions of its own.
        cluster: other machines that read, decode and score in place of this one.
    """

    catalogue: Catalogue
    storage: Storage
    family: Family
    session: Session | None
    select: Select
    books: Books
    sinks: Sequence[Sink] = ()
    features: int = 0
    on_change: Callable[[Callable[[], None]], None] = lambda _: None
    cluster: Cluster | None = None


class Pipeline:
    """The stages and what lies between them. `run` works until the catalogue ends or `stop` is set."""

    def __init__(
        self,
        parts: Parts,
        config: RunConfig,
        stop: Stop,
        *,
        say: Callable[[str], None] = lambda _: None,
        in_outbox: int = 0,
        waits: Waits = WAITS,
    ) -> None:
        """`say` gets sentences for the user; `in_outbox` media wait there from an earlier run and keep their places."""
        self._sinks, self._stop, self._waits = parts.sinks, stop, waits
        for sink in parts.sinks:
            sink.meter.of_sink = True
        self.in_flight = in_flight = InFlight(
            store=parts.books,
            budget=FailureBudget(config.max_failures, shares=not config.retry_failed),
            stop=stop,
            places=config.outbox_limit,
            taken=in_outbox,
        )
        self.tally = in_flight.tally
        ahead = parts.cluster.ahead if parts.cluster else 4 * _session(parts).batch_size
        todo: Channel[Ticket] = Channel(ahead + (config.read_threads or MOST), stop)
        scored: Channel[Scored] = Channel(4, stop)

        self.source = source = Source(
            catalogue=parts.catalogue,
            admission=parts.books,
            storage=parts.storage,
            in_flight=in_flight,
            todo=todo,
            config=config,
            waits=waits,
            stop=stop,
            say=say,
            on_change=parts.on_change,
        )
        recorder = Recorder(parts.select, parts.sinks, in_flight, scored, features=parts.features)

        self._looks: list[Callable[[], None]] = []
        self._checks: list[Callable[[], None]] = [in_flight.check]
        if parts.cluster:
            between = [parts.cluster.stage(todo, scored, in_flight, parts.storage, stop)]
            meters = list(parts.cluster.meters)
        else:
            between = self._on_this_machine(parts, config, todo, scored, say)
            meters = [stage.meter for stage in between]
        self._stages = [
            Stage(source.meter, 1, source.run, stop, at_end=source.close),
            *between,
            Stage(recorder.recording, 1, recorder.record, stop),
        ]
        self.meters = [source.meter, *meters, recorder.recording, *(sink.meter for sink in parts.sinks)]
        """One for each stage and sink, in the order of the flow."""

    def _on_this_machine(
        self,
        parts: Parts,
        config: RunConfig,
        todo: Channel[Ticket],
        scored: Channel[Scored],
        say: Callable[[str], None],
    ) -> list[Stage]:
        """What lies between the source and the recorder: read, decode and fit, the batcher, the session."""
        session, stop, waits = _session(parts), self._stop, self._waits
        batcher = Batcher(
            session.batch_size,
            parts.family.preprocessing,
            self.in_flight,
            stop,
            buffers=2 + config.submitters,
            partial_wait_s=waits.partial_batch,
            slow_read_s=waits.slow_read,
        )
        # A storage's client that keeps the time itself comes first: it can say more than that there was no answer.
        usual_readers = config.read_threads or FIRST
        loader = Loader(
            storage=parts.storage,
            family=parts.family,
            todo=todo,
            batcher=batcher,
            reads=ReadWatch(1.25 * config.read_timeout, 4 * usual_readers, parts.storage, say, waits),
            root=RootWatch(parts.storage, stop, say, waits, many=max(4, usual_readers)),
            storm=StormWatch(max(4, usual_readers), stop, say, waits),
            config=config,
            stop=stop,
            say=say,
            waits=waits,
            hashes=parts.features > 0,
        )
        inference = Inference(session, batcher, scored, stop)
        reading = Stage(loader.reading, loader.most, loader.read, stop, at_end=loader.loaded.close)
        self._looks.append(loader.adapt)
        self._checks.insert(0, lambda: loader.give_up(replace=reading.replace))  # reads that hang
        return [
            reading,
            Stage(loader.decoding, config.decode_threads or cores(), loader.decode, stop),
            Stage(inference.inferring, config.submitters, inference.infer, stop, at_end=scored.close),
        ]

    def standing(self) -> Standing:
        """How far the run is."""
        return Standing(self.source.position, self.in_flight.settled, self.in_flight.places.taken)

    def run(self, tick: Callable[[], None] = lambda: None) -> None:
        """Run all stages; call `tick` a few times a second. Raises what stopped the run, if anything did."""
        return_large_blocks()
        for sink in self._sinks:
            sink.start()
        for stage in self._stages:
            stage.start()
        self._wait(tick, self._stages)
        for sink in self._sinks:
            sink.drain()
        self._wait(tick, self._sinks)
        if self._stop.error:
            raise self._stop.error

    def _wait(self, tick: Callable[[], None], parts: Sequence[Stage | Sink]) -> None:
        """Until all `parts` have ended; a stopped run is not waited for longer than `Waits.leave`."""
        leave_at: float | None = None
        ended = False
        while not ended:
            ended = all(part.join(self._waits.tick) for part in parts)
            for look in self._looks:
                look()
            for meter in self.meters:
                meter.look()
            tick()
            try:
                self._check()
            except EngineError as error:
                self._stop.set(error)
            if self._stop.is_set():
                leave_at = leave_at or time.monotonic() + self._waits.leave
                for sink in self._sinks:
                    sink.stop()
                if time.monotonic() > leave_at:
                    return

    def _check(self) -> None:
        """What only a look from outside can see: reads that hang, and media that a stage forgot."""
        for check in self._checks:
            check()


def _session(parts: Parts) -> Session:
    if parts.session is None:
        raise TypeError("a pipeline needs a session, or a cluster")
    return parts.session
