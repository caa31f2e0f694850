"""The first stage: the media of a catalogue, page by page, each that is still to be tagged handed on once."""

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

from engine.config import RunConfig, Waits
from engine.flow.channels import Channel, Meter, Stop
from engine.stages.ticket import InFlight, Ticket
from engine.storage import Storage
from engine.types import FileState, Media, Outcome, Position

RETRIED = (Outcome.FAILED, Outcome.REJECTED)
"""What `--retry-failed` tries again."""


class Catalogue(Protocol):
    """Where pages of media come from: the media API, or a list of files."""

    def segment(self, start: int, limit: int) -> list[Media]:
        """At most `limit` media with id >= start, ascending by id; empty at the end."""
        ...


class Admission(Protocol):
    """What knows which media are still to be tagged: the ledger."""

    def admit(self, page: Sequence[Media], again: Collection[Outcome] = ()) -> list[Media]: ...
    def failed_media(self, after: int = -1, limit: int = 500) -> list[tuple[Media, FileState | None]]: ...
    def retry(self, media: Sequence[Media]) -> Future[None]: ...


class Source:
    """Sweeps the catalogue from `segment_start` to its end; with `follow`, again and again."""

    def __init__(
        self,
        catalogue: Catalogue,
        admission: Admission,
        storage: Storage,
        in_flight: InFlight,
        todo: Channel[Ticket],
        config: RunConfig,
        waits: Waits,
        stop: Stop,
    ) -> None:
        self._catalogue, self._admission, self._storage = catalogue, admission, storage
        self._in_flight, self._todo = in_flight, todo
        self._config, self._waits, self._stop = config, waits, stop
        self._left = config.limit
        self.meter = Meter("source")
        self.position = Position()

    def run(self) -> None:
        """The stage's thread: ends when the catalogue does, or with `follow` never."""
        self._retry_changed()
        tail = self._sweep(self._config.segment_start, RETRIED if self._config.retry_failed else ())
        full_sweep_due = time.monotonic() + self._waits.full_sweep
        while self._config.follow and self._left != 0 and not self._stop.event.wait(self._config.follow):
            if time.monotonic() < full_sweep_due:
                tail = self._sweep(tail)
            else:
                self._retry_changed()
                tail = self._sweep(self._config.segment_start)
                full_sweep_due = time.monotonic() + self._waits.full_sweep

    def close(self) -> None:
        """Tell the stages behind that nothing more will come."""
        self._todo.close()
        self._in_flight.close()

    def _sweep(self, start: int, again: Collection[Outcome] = ()) -> int:
        """Hand on every medium with id >= start that is still to be tagged; the id after the last one seen.

        Media at one of the outcomes `again` are tagged once more.
        """
        self.position = Position()
        while self._left != 0:
            with self.meter.working(items=0):
                page = self._catalogue.segment(start, self._config.segment_size)
                admitted = self._admission.admit(page, again) if page else []
            if not page:
                break
            for media in admitted:
                if self._left != 0 and self._hand_on(self._in_flight.admit(media, self.meter)):
                    self._left = None if self._left is None else self._left - 1
            start = max(media.id for media in page) + 1
            self._passed(page)
        self.position = replace(self.position, ended=True)
        self._second_chances()
        return start

    def _hand_on(self, ticket: Ticket | None) -> bool:
        if ticket is None:
            return False
        self.meter.add(items=1)
        self._todo.put(ticket, self.meter)
        return True

    def _second_chances(self) -> None:
        """Wait until all media are settled; those whose read failed are read once more."""
        waiting = self._in_flight.second_chances()
        if waiting:
            self._stop.event.wait(self._waits.second_chance)
        while waiting:
            self._hand_on(waiting.pop(0))
        self._in_flight.second_chances()

    def _retry_changed(self) -> None:
        """Make failed media pending again whose file is another now."""
        after = -1
        while page := self._admission.failed_media(after):
            again = [media for media, file in page if self._is_another(media.storage_url, file)]
            if again:
                self._admission.retry(again).result()
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
