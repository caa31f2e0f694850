"""The first stage: the media of a catalogue, page by page, each that is still to be tagged handed on once."""

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

from engine.config import RunConfig
from engine.flow.channels import Channel, Meter, Stop
from engine.stages.batch import Batcher
from engine.stages.ticket import InFlight
from engine.storage.folder import Storage
from engine.types import FileState, Job, Media, Outcome, Position

SECOND_CHANCE_S = 5.0
"""A "not found" is cached by an SMB client for some seconds; after that the file is asked for once more."""
FULL_SWEEP_S = 3600.0
"""Media become visible out of id order, when their download ends: behind the tail, only a full sweep finds them."""

RETRIED = (Outcome.FAILED, Outcome.REJECTED)
"""What `--retry-failed` tries again."""


class Catalogue(Protocol):
    """Where pages of media come from: the media API, or a list of files."""

    def segment(self, start: int, limit: int) -> list[Media]:
        """At most `limit` media with id >= start, ascending by id; empty at the end."""
        ...


class Register(Protocol):
    """What remembers which media are settled: the ledger."""

    def admit(self, page: Sequence[Media], again: Collection[Outcome] = ()) -> list[Media]: ...
    def failed(self, after: int = -1, limit: int = 500) -> list[tuple[Media, FileState | None]]: ...
    def retry(self, media: Sequence[Media]) -> Future[None]: ...


class Source:
    """Sweeps the catalogue from `segment_start` to its end; with `follow`, again and again."""

    def __init__(
        self,
        catalogue: Catalogue,
        register: Register,
        storage: Storage,
        in_flight: InFlight,
        batcher: Batcher,
        todo: Channel[Job],
        config: RunConfig,
        stop: Stop,
    ) -> None:
        self._catalogue, self._register, self._storage = catalogue, register, storage
        self._in_flight, self._batcher, self._todo = in_flight, batcher, todo
        self._config, self._stop = config, stop
        self._left = config.limit
        self.meter = Meter("source")
        self.position = Position()

    def run(self) -> None:
        """The stage's thread: ends when the catalogue does, or with `follow` never."""
        self._retry_changed()
        tail = self._sweep(self._config.segment_start, RETRIED if self._config.retry_failed else ())
        full_sweep_due = time.monotonic() + FULL_SWEEP_S
        while self._config.follow and self._left != 0 and not self._stop.event.wait(self._config.follow):
            if time.monotonic() < full_sweep_due:
                tail = self._sweep(tail)
            else:
                self._retry_changed()
                tail = self._sweep(self._config.segment_start)
                full_sweep_due = time.monotonic() + FULL_SWEEP_S

    def close(self) -> None:
        """Tell the stages behind that nothing more will come."""
        self._todo.close()
        self._batcher.close()

    def _sweep(self, start: int, again: Collection[Outcome] = ()) -> int:
        """Hand on every medium with id >= start that is still to be tagged; the id after the last one seen.

        Media at one of the outcomes `again` are tagged once more.
        """
        self.position = Position()
        while self._left != 0:
            with self.meter.working(items=0):
                page = self._catalogue.segment(start, self._config.segment_size)
                todo = self._register.admit(page, again) if page else []
            if not page:
                break
            for media in todo:
                if self._left != 0 and self._in_flight.enter(media, self.meter):
                    self._hand_on(Job(media))
                    self._left = None if self._left is None else self._left - 1
            start = max(media.id for media in page) + 1
            self._passed(page)
        self.position = replace(self.position, ended=True)
        self._batcher.pause()
        self._second_chances()
        return start

    def _hand_on(self, job: Job) -> None:
        self._batcher.expect()
        self.meter.add(items=1)
        self._todo.put(job, self.meter)

    def _second_chances(self) -> None:
        """Wait until all media are settled; those whose read failed are tried once more."""
        waiting = self._in_flight.second_chances()
        if waiting:
            self._stop.event.wait(SECOND_CHANCE_S)
        for media in waiting:
            self._hand_on(Job(media, last_chance=True))
        self._in_flight.second_chances()

    def _retry_changed(self) -> None:
        """Make failed media pending again whose file is another now."""
        after = -1
        while page := self._register.failed(after):
            again = [media for media, file in page if self._is_another(media.storage_url, file)]
            if again:
                self._register.retry(again).result()
            after = page[-1][0].id
            if self._stop.is_set():
                return

    def _is_another(self, key: str, failed: FileState | None) -> bool:
        """Whether the file is another than the one that failed; one that is not there is none (nor is the share)."""
        state = self._storage.state(key)
        return state is not None and state != failed

    def _passed(self, page: Sequence[Media]) -> None:
        first = page[0].id if self.position.first_id is None else self.position.first_id
        self.position = Position(first, max(media.id for media in page), self.position.seen + len(page))


class FileList:
    """A catalogue of files that are named one by one: `engine tag`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._media = [Media(i, name, i) for i, name in enumerate(names)]

    def segment(self, start: int, limit: int) -> list[Media]:
        return self._media[start : start + limit]


def last_id(catalogue: Catalogue) -> int | None:
    """The highest id of a catalogue, by doubling and halving: some 40 small questions; None if it is empty."""
    low, high = -1, 1  # a medium with id >= low is known (or low is -1), none with id >= high
    while page := catalogue.segment(high, 1):
        low, high = page[0].id, 2 * page[0].id + 1
    if low < 0:
        page = catalogue.segment(0, 1)
        return page[0].id if page else None
    while high - low > 1:
        middle = (low + high) // 2
        page = catalogue.segment(middle, 1)
        low, high = (page[0].id, high) if page else (low, middle)
    return low
