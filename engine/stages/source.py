"""The first stage: the media of a catalogue, page by page, each that is still to be tagged handed on once.

While the media of a page are handed on, which takes as long as they are read, the next page is asked for: one page and
no more. It is admitted only when its turn comes.
"""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Protocol

from engine.config import RunConfig, Waits
from engine.flow.channels import Channel, Meter, Stop
from engine.flow.stage import in_thread
from engine.ledger.deaths import ALONE_FROM, GIVEN_UP_AT
from engine.stages.storage_watch import state_within
from engine.stages.ticket import Failed, InFlight, Ticket
from engine.storage import Storage
from engine.types import FileState, Media, Outcome, Position

LARGEST_PAGE = 5_000
"""Media asked for at a time where nothing is new: an answer of some 500 KB."""
RETRIED = (Outcome.FAILED, Outcome.REJECTED)
"""What `--retry-failed` tries again."""
GIVEN_UP = (
    f"the process died {GIVEN_UP_AT} times while this picture was decoded, the last time with nothing beside it; "
    "--retry-failed, or another file, gives it one more try"
)


class Catalogue(Protocol):
    """Where pages of media come from: the media API, or a list of files."""

    def segment(self, start: int, limit: int) -> list[Media]:
        """At most `limit` media with id >= start, ascending by id; empty at the end. It may give fewer at a time."""
        ...


class Admission(Protocol):
    """What knows which media are still to be tagged: the ledger."""

    def admit(self, page: Sequence[Media], again: Collection[Outcome] = ()) -> list[Media]: ...
    def settled(self, start: int = 0, but: Collection[Outcome] = ()) -> int: ...
    def failed_media(
        self, after: int = -1, limit: int = 500, before: float = math.inf
    ) -> list[tuple[Media, FileState | None]]: ...
    def deaths(self, media: Media) -> int: ...
    def note_listed(self) -> None: ...


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
        say: Callable[[str], None] = lambda _: None,
        on_change: Callable[[Callable[[], None]], None] = lambda _: None,
    ) -> None:
        """`on_change` takes what is to be called, by any thread, when the catalogue has changed."""
        self._catalogue, self._admission, self._storage = catalogue, admission, storage
        self._in_flight, self._todo = in_flight, todo
        self._config, self._waits, self._stop, self._say = config, waits, stop, say
        self._left = config.limit
        self._swept = Position()
        self._waiting = 0  # admitted, not yet handed on
        self._suspects: list[Media] = []
        self._woken = threading.Event()
        on_change(self._woken.set)
        stop.on_stop(self._woken.set)
        self.meter = Meter("source")

    @property
    def position(self) -> Position:
        """How far the sweep is; asked by other threads."""
        return replace(self._swept, waiting=self._waiting, limit=self._left)

    def run(self) -> None:
        """The stage's thread: ends when the catalogue does, or with `follow` never."""
        tail = self._full_sweep(RETRIED if self._config.retry_failed else ())
        full_sweep_due = time.monotonic() + self._waits.full_sweep
        while self._config.follow and self._left != 0 and self._wait(self._config.follow):
            if time.monotonic() < full_sweep_due:
                tail = self._sweep(tail)
            else:
                tail = self._full_sweep()
                full_sweep_due = time.monotonic() + self._waits.full_sweep

    def _wait(self, seconds: float) -> bool:
        """Until that time is over or the catalogue tells of a change; False if the run is to end."""
        self._woken.wait(seconds)
        self._woken.clear()
        return not self._stop.is_set()

    def close(self) -> None:
        """Tell the stages behind that nothing more will come."""
        self._todo.close()
        self._in_flight.close()

    def _full_sweep(self, again: Collection[Outcome] = ()) -> int:
        began = time.time()
        tail = self._sweep(self._config.segment_start, again)
        if self._left != 0 and not isinstance(self._catalogue, MediaList):  # those named are not all
            self._admission.note_listed()
            self._look_at_failed(began)
        return tail

    def _sweep(self, start: int, again: Collection[Outcome] = ()) -> int:
        """Hand on every medium with id >= start that is still to be tagged; the id after the last one seen.

        Media at one of the outcomes `again` are tagged once more.
        """
        self._swept = Position(settled=self._admission.settled(start, again))
        usual = limit = self._config.segment_size
        most = max(usual, LARGEST_PAGE)
        ahead: Future[list[Media]] | None = None
        before = 0  # media on the page before
        while self._left != 0:
            page = ahead.result() if ahead else self._list(start, limit)
            if ahead and not page:
                page = self._list(start, limit)  # media may have come while the last page was handed on
            if not page:
                break
            with self.meter.working(items=0):
                admitted = self._admission.admit(page, again)
            # A page much shorter than asked for, and than the one before it, is probably the last one.
            more = 2 * len(page) > min(limit, before or limit) and (self._left is None or self._left > len(admitted))
            # Where all is known, larger pages spare most of the requests. A short one shows the catalogue's own limit.
            most = most if len(page) >= limit else max(usual, len(page))
            limit = usual if admitted else min(2 * limit, most)
            start, before = max(media.id for media in page) + 1, len(page)
            ahead = in_thread(partial(self._list, start, limit)) if admitted and more else None
            self._passed(page, admitted)
            self._tag(admitted)
        self._swept = replace(self._swept, ended=True)
        self._settle()
        self._tag_suspects()
        return start

    def _list(self, start: int, limit: int) -> list[Media]:
        with self.meter.working(items=0):
            return self._catalogue.segment(start, limit)

    def _tag(self, admitted: Sequence[Media]) -> None:
        """Hand media on, as far as the limit goes. Those that may kill the process are put off, or have failed."""
        self._waiting = len(admitted)
        for media in admitted:
            if self._left == 0:
                break
            if self._admission.deaths(media) >= ALONE_FROM:
                self._suspects.append(media)
            else:
                self._tag_one(media)
                self._waiting -= 1
        self._waiting = len(self._suspects)

    def _tag_one(self, media: Media) -> None:
        ticket = self._in_flight.admit(media, self.meter)
        if ticket is None:
            return
        self._left = None if self._left is None else self._left - 1
        self.meter.add(items=1)
        if self._admission.deaths(media) < GIVEN_UP_AT:
            self._todo.put(ticket, self.meter)
        else:
            ticket.fail(GIVEN_UP, state_within(self._storage, media.storage_url, self._waits.silence))

    def _tag_suspects(self) -> None:
        """One after the other, when all else is settled, for each may end the process."""
        while self._suspects and self._left != 0:
            self._tag_one(self._suspects.pop(0))
            self._waiting = len(self._suspects)
            self._settle()
        self._suspects.clear()
        self._waiting = 0

    def _settle(self) -> None:
        """Wait until all media are settled; those whose read failed are read once more."""
        waiting = self._in_flight.second_chances()
        if waiting:
            self._stop.event.wait(self._waits.second_chance)
        while waiting:
            self._todo.put(waiting.pop(0), self.meter)
        self._in_flight.second_chances()  # wait until these are settled too; none of them can wait again

    def _look_at_failed(self, before: float) -> None:
        """Tag media again that failed before this time and whose file is another now.

        The readers look, for each look may be a round trip; the catalogue says whether the medium is still there.
        """
        after = -1
        while self._left != 0 and (page := self._admission.failed_media(after, before=before)):
            if after < 0:
                self._say("looking whether files that failed before were replaced")
            for media, file in page:
                self._look_at(media, Failed(file))
            self._settle()
            for media in self._in_flight.replaced():
                listed = [found for found in self._catalogue.segment(media.id, 1) if found.id == media.id]
                self._tag(self._admission.admit(listed, RETRIED) if listed else [])
            self._settle()
            self._tag_suspects()
            after = page[-1][0].id

    def _look_at(self, media: Media, failed: Failed) -> None:
        if ticket := self._in_flight.admit(media, self.meter, failed):
            self._todo.put(ticket, self.meter)

    def _passed(self, page: Sequence[Media], admitted: Sequence[Media]) -> None:
        before = self._swept
        self._swept = replace(
            before,
            first_id=page[0].id if before.first_id is None else before.first_id,
            id=max(media.id for media in page),
            seen=before.seen + len(page),
            admitted=before.admitted + len(admitted),
        )


class MediaList:
    """A catalogue of media that are named one by one, ascending by id."""

    def __init__(self, media: Sequence[Media]) -> None:
        self.media = media

    def segment(self, start: int, limit: int) -> list[Media]:
        first = bisect_left(self.media, start, key=attrgetter("id"))
        return list(self.media[first : first + limit])


class FileList(MediaList):
    """The same of files: `engine tag`."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__([Media(i, name, i) for i, name in enumerate(names)])


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
