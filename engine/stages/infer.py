"""The third stage: batches through the session, scores into records, records into the ledger.

Submitting and recording are threads of their own: while the ledger waits for the disk, the session has its next batch.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

import numpy as np

from engine.errors import SessionError, Stopped
from engine.families.selection import records
from engine.flow.channels import Channel, Closed, Meter, Stop
from engine.model.open import Session
from engine.stages.batch import Batcher
from engine.types import Media, Scores, Tagged

COMMITS_AHEAD = 8
"""Batches on their way to the disk at once: enough for a disk with 30 ms an fsync, few to lose in a kill."""


class Scored(NamedTuple):
    """The media of a batch and their scores, float32 [len(media), tags]."""

    media: tuple[Media, ...]
    scores: Scores


class Register(Protocol):
    """What keeps the results: the ledger's outbox, or the console."""

    def store(self, tagged: Sequence[Tagged]) -> Future[None]: ...


class Inference:
    """Runs the session on batches and stores what it says."""

    def __init__(
        self,
        session: Session,
        batcher: Batcher,
        register: Register,
        tags: Sequence[str],
        threshold: float,
        stored: Callable[[Sequence[Tagged]], None],
        stop: Stop,
    ) -> None:
        self._session = session
        self._batcher = batcher
        self._register = register
        self._tags = tags
        self._threshold = threshold
        self._stored = stored
        self._stop = stop
        self.scored: Channel[Scored] = Channel(4, stop)
        self.inferring = Meter("infer")
        self.recording = Meter("record")
        self.inferring.depth = batcher.__len__
        self.recording.depth = self.scored.__len__
        stop.on_stop(session.terminate)

    def infer(self) -> None:
        """A submitter's thread."""
        while True:
            batch = self._batcher.take(self.inferring)
            media = tuple(batch.media)
            try:
                with self.inferring.working(items=len(media)):
                    scores = self._session.run(batch.pixels)[: len(media)]
            except SessionError:
                if self._stop.is_set():  # the batch was ended on purpose; it is computed again by the next run
                    raise Stopped from None
                raise
            finally:
                self._batcher.give_back(batch)
            self._check(scores, media)
            self.scored.put(Scored(media, scores), self.inferring)

    def record(self) -> None:
        """The recorder's thread. A few batches may be on their way to the disk, so that they share its commits."""
        committing: deque[Future[None]] = deque()
        while True:
            try:
                media, scores = self.scored.get(self.recording)
            except Closed:
                for future in committing:
                    future.result()
                raise
            with self.recording.working(items=len(media)):
                committing.append(self._store(media, scores))
            if len(committing) > COMMITS_AHEAD:
                with self.recording.working(items=0):
                    committing.popleft().result()

    def _store(self, media: Sequence[Media], scores: Scores) -> Future[None]:
        tagged = [
            Tagged(item, records(row, self._tags, self._threshold)) for item, row in zip(media, scores, strict=True)
        ]
        future = self._register.store(tagged)
        future.add_done_callback(lambda done: None if done.exception() else self._stored(tagged))
        return future

    def _check(self, scores: Scores, media: Sequence[Media]) -> None:
        """A NaN compares as false with any threshold: without this check it would read as "no tags"."""
        if not np.isfinite(scores).all():
            raise SessionError(
                f"the model gave scores that are no numbers in the batch of medium {media[0].id}: "
                "convert again, or use --precision fp32"
            )
