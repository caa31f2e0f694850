"""The first stage: the media of a catalogue, page by page, each that is still to be tagged handed on once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from engine.batch import Batcher
from engine.flow import Channel, Meter, Stop
from engine.inflight import InFlight
from engine.types import Job, Media, Position

SECOND_CHANCE_S = 5.0
"""A "not found" is cached by an SMB client for some seconds; after that the file is asked for once more."""


class Catalogue(Protocol):
    """Where pages of media come from: the media API, or a list of files."""

    def segment(self, start: int, limit: int) -> list[Media]:
        """At most `limit` media with id >= start, ascending by id; empty at the end."""
        ...


class Register(Protocol):
    """What remembers which media are settled: the ledger."""

    def admit(self, page: Sequence[Media]) -> list[Media]: ...


class Source:
    """Sweeps the catalogue from `start` to its end, then gives missing files their second chance.

    `limit` bounds the media handed on; None is the whole catalogue.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        register: Register,
        in_flight: InFlight,
        batcher: Batcher,
        todo: Channel[Job],
        stop: Stop,
        *,
        start: int,
        page_size: int,
        limit: int | None,
    ) -> None:
        self._catalogue = catalogue
        self._register = register
        self._in_flight = in_flight
        self._batcher = batcher
        self._todo = todo
        self._stop = stop
        self.meter = Meter("source")
        self._start = start
        self._page_size = page_size
        self._left = limit
        self.position = Position()

    def run(self) -> None:
        """The stage's thread: ends when the catalogue does."""
        self.sweep(self._start)
        self._second_chances()

    def close(self) -> None:
        """Tell the stages behind that nothing more will come."""
        self._todo.close()
        self._batcher.close()

    def sweep(self, start: int) -> None:
        """Hand on every medium with id >= start that is still to be tagged."""
        self.position = Position()
        while self._left != 0:
            with self.meter.working(items=0):
                page = self._catalogue.segment(start, self._page_size)
                todo = self._register.admit(page) if page else []
            if not page:
                break
            for media in todo:
                self._hand_on(media)
            start = max(media.id for media in page) + 1
            self._passed(page)
        self.position = replace(self.position, ended=True)

    def _hand_on(self, media: Media, *, last_chance: bool = False) -> None:
        if not last_chance:
            if self._left == 0 or not self._in_flight.enter(media, self.meter):
                return
            if self._left is not None:
                self._left -= 1
        self._batcher.expect()
        self.meter.add(items=1)
        self._todo.put(Job(media, last_chance), self.meter)

    def _second_chances(self) -> None:
        waiting = self._in_flight.second_chances()
        if waiting:
            self._stop.event.wait(SECOND_CHANCE_S)
        for media in waiting:
            self._hand_on(media, last_chance=True)
        self._in_flight.second_chances()  # none can be left: this waits until all is settled

    def _passed(self, page: Sequence[Media]) -> None:
        first = page[0].id if self.position.first_id is None else self.position.first_id
        self.position = Position(first, max(media.id for media in page), self.position.seen + len(page))


class FileList:
    """A catalogue of files that are named one by one: `engine tag`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._media = [Media(i, name, i) for i, name in enumerate(names)]

    def segment(self, start: int, limit: int) -> list[Media]:
        return self._media[start : start + limit]
