"""The third stage: batches through the session, scores into results, results into the ledger.

Submitting and recording are threads of their own: while the ledger waits for the disk, the session has its next batch.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from engine.errors import SessionError, Stopped
from engine.families.family import Select
from engine.flow.channels import Channel, Closed, Meter, Stop
from engine.model.session import Session
from engine.sink import Sink
from engine.stages.batch import Batch, Batcher
from engine.stages.ticket import InFlight, Ticket
from engine.types import Scores, Tagged

COMMITS_AHEAD = 8
"""Batches on their way to the disk at once: enough to hide an fsync of 30 ms, few enough to lose little in a kill."""


class Scored(NamedTuple):
    """The tickets of a batch and what the session gave, float32 [len(tickets), tags + features]."""

    tickets: tuple[Ticket, ...]
    scores: Scores


class Inference:
    """Runs the session on batches."""

    def __init__(self, session: Session, batcher: Batcher, scored: Channel[Scored], stop: Stop) -> None:
        self._session = session
        self._batcher = batcher
        self._scored = scored
        self._stop = stop
        self.inferring = Meter("infer")
        self.inferring.depth = batcher.__len__
        stop.on_stop(session.terminate)

    def infer(self) -> None:
        """A submitter's thread."""
        while True:
            self._infer(self._batcher.take(self.inferring))

    def _infer(self, batch: Batch) -> None:
        tickets = tuple(batch.tickets)
        try:
            with self.inferring.working(items=len(tickets)):
                scores = self._session.run(batch.pixels)[: len(tickets)]
        except SessionError:
            if self._stop.is_set():  # the batch was ended on purpose; it is computed again by the next run
                raise Stopped from None
            raise
        finally:
            self._batcher.give_back(batch)
        self._scored.put(Scored(tickets, scores), self.inferring)


class Recorder:
    """Makes results of scores, and settles the media with them."""

    def __init__(
        self,
        select: Select,
        sinks: Sequence[Sink],
        in_flight: InFlight,
        scored: Channel[Scored],
        *,
        features: int = 0,
    ) -> None:
        """`features`: how many numbers of a picture's vector follow its scores in what the session gives."""
        self._features = features
        self._select = select
        self._sinks = sinks
        self._in_flight = in_flight
        self._scored = scored
        self.recording = Meter("record")
        self.recording.depth = scored.__len__

    def record(self) -> None:
        """The recorder's thread. A few batches may be on their way to the disk, so that they share its commits."""
        committing: deque[Future[None]] = deque()
        while True:
            try:
                committing.append(self._store(self._scored.get(self.recording)))
            except Closed:
                for future in committing:
                    future.result()
                raise
            if len(committing) > COMMITS_AHEAD:
                with self.recording.working(items=0):
                    committing.popleft().result()

    def _store(self, scored: Scored) -> Future[None]:
        with self.recording.working(items=len(scored.tickets)):
            _check(scored)
            pairs = zip(scored.tickets, scored.scores, strict=True)
            tagged = [self._tagged(ticket, row) for ticket, row in pairs]
            entries = {sink.name: [sink.entry(item) for item in tagged] for sink in self._sinks}
            return self._in_flight.store(scored.tickets, tagged, entries)

    def _tagged(self, ticket: Ticket, row: Scores) -> Tagged:
        if not self._features:
            return Tagged(ticket.media, self._select(row), row)
        scores, features = row[: -self._features], row[-self._features :]
        return Tagged(ticket.media, self._select(scores), scores, features, ticket.hash)


def _check(scored: Scored) -> None:
    """A NaN compares as false with any threshold: without this check it would read as "no tags"."""
    if not np.isfinite(scored.scores).all():
        raise SessionError(
            f"the model gave scores that are no numbers in the batch of medium {scored.tickets[0].media.id}: "
            "convert again, or use --precision fp32"
        )
