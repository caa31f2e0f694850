"""The life of a medium in a run: a ticket is made when it is admitted, and settled exactly once, on every way out.

              ┌─ wait_for_second_chance ─► waiting
              │                               │
              │   ┌───── second_chances ◄─────┘
              │   ▼
    admit ─► loading ── in_batch ─► batched ── store, with its batch ─► settled
                │                                                         ▲
                └──────────────── fail, skip, looked_at ──────────────────┘

`InFlight` is the only place that knows how many media are on their way to a batch, wait, or are not yet on the disk.
What the stages need to know of a medium's whereabouts (is anything on its way to a batch? may a new one come in? is all
settled?) they ask here.

A stage cannot forget a ticket unnoticed: one that is dropped without being settled is reported by `check`, which the
main thread calls a few times a second, and the run ends with an error instead of waiting for ever. Hence a rule: no
thread keeps a ticket in a local variable while it waits for the next one, or a forgotten ticket would not be noticed.
So each ticket is handled in a method of its own.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import NamedTuple, Protocol

from engine.errors import EngineError
from engine.flow.channels import Meter, Stop, WeightedSemaphore
from engine.report.summary import Tally
from engine.stages.failure_budget import FailureBudget
from engine.types import Entry, FileState, Media, Outcome, Tagged

Entries = Mapping[str, Sequence[Entry | None]]
"""What of a batch goes to each sink, by the sink's name: one entry a medium, in the batch's order."""


class OutcomeStore(Protocol):
    """Where outcomes are kept: the ledger, or the printer of `engine tag`."""

    def store(self, tagged: Sequence[Tagged], entries: Entries) -> Future[None]:
        """Keep the results of a batch."""
        ...

    def fail(self, media: Media, outcome: Outcome, reason: str, file: FileState | None = None) -> Future[None]:
        """Keep that a medium ended before the model: failed or skipped."""
        ...

    def on_settled(self, settled: Callable[[int], None]) -> None:
        """Call `settled` with the number of media that need no place in the outbox any more."""
        ...

    def decoding(self, media: Media) -> AbstractContextManager[None]:
        """Around the decoding of a medium, so that one that kills the process is known afterwards."""
        ...


class _State(Enum):
    LOADING = auto()  # on its way to a batch
    WAITING = auto()  # for its second chance
    BATCHED = auto()  # in a batch, or on the way from there to the disk
    SETTLED = auto()


class Failed(NamedTuple):
    """How a medium failed: the state of its file then, if there was one."""

    file: FileState | None


class Claim(Protocol):
    """What the loader needs of a medium's ticket; the ticket itself, or what stands for it on another machine."""

    media: Media
    last_chance: bool
    failed: Failed | None
    hash: int | None

    def in_batch(self) -> None: ...
    def wait_for_second_chance(self) -> bool: ...
    def fail(self, reason: str, file: FileState | None = None) -> None: ...
    def skip(self, reason: str, file: FileState | None = None) -> None: ...
    def looked_at(self, *, replaced: bool) -> None: ...
    def decoding(self) -> AbstractContextManager[None]: ...


class Ticket:
    """One medium under way. Held by exactly one stage at a time; that stage settles it or hands it on.

    Attributes:
        media: which medium.
        last_chance: whether its read failed once already.
        failed: how it failed in an earlier run; then its file is only looked at, see `looked_at`. Else None.
        hash: of the decoded picture, if hashes are wanted; None before.
    """

    __slots__ = ("_in_flight", "_state", "failed", "hash", "last_chance", "media")

    def __init__(self, media: Media, in_flight: "InFlight", failed: Failed | None = None) -> None:
        self.media = media
        self.last_chance = False
        self.failed = failed
        self.hash: int | None = None
        self._in_flight = in_flight
        self._state = _State.LOADING

    def in_batch(self) -> None:
        """Its row is in a batch: reading and decoding have succeeded."""
        self._in_flight.batched(self)

    def wait_for_second_chance(self) -> bool:
        """Its read failed, perhaps only for the moment: networks blink, and SMB clients remember a "not found" for
        seconds. It is read once more after the sweep.

        False if too many wait already: each holds a place, and if they held all, the source could not finish its sweep.
        """
        return self._in_flight.postponed(self)

    def fail(self, reason: str, file: FileState | None = None) -> None:
        """It cannot be tagged; `file` is the state of the file that failed. Raises `EngineError` if that is one too
        many."""
        self._in_flight.ended(self, Outcome.FAILED, reason, file)

    def skip(self, reason: str, file: FileState | None = None) -> None:
        """It is no picture."""
        self._in_flight.ended(self, Outcome.SKIPPED, reason, file)

    def looked_at(self, *, replaced: bool) -> None:
        """It failed before, and was only looked at: its file is now another, or it is not. It stays as it is."""
        self._in_flight.looked_at(self, replaced)

    def decoding(self) -> AbstractContextManager[None]:
        """Around its decoding."""
        return self._in_flight.decoding(self.media)

    def move(self, expected: _State, state: _State) -> None:
        """Enter a state; called by `InFlight` alone, under its lock."""
        if self._state is not expected:
            raise AssertionError(f"medium {self.media.id} is {self._state.name.lower()}, not {expected.name.lower()}")
        self._state = state

    def __del__(self) -> None:
        if self._state is not _State.SETTLED:
            self._in_flight.forgotten.append(self.media)


class InFlight:
    """All tickets of a run: each id at most once, and never more than the outbox has places for.

    A place is taken for each medium before it is read, so the ledger never has to refuse a result. The store says when
    places are free again: at once for a failure, after the last sink's yes for results.
    """

    def __init__(
        self,
        store: OutcomeStore,
        budget: FailureBudget,
        stop: Stop,
        *,
        places: int,
        taken: int = 0,
        most_waiting: int = 1000,
    ) -> None:
        """
        Args:
            places: media that may be under way or wait in the outbox.
            taken: of these, media that an earlier run left in the outbox.
            most_waiting: media that may wait for a second chance; more are not the network's bad moment.
        """
        self.tally = Tally()
        self.loading = 0  # media on their way to a batch
        self.paused = False  # the source admits nothing for a while
        self.closed = False  # ... and never will again
        self.forgotten: deque[Media] = deque()  # filled by destructors, which may run anywhere: no lock, no call
        self.settled = 0  # media that were under way, or waited in the outbox, and need no place there any more
        self.decoding = store.decoding
        self.places = WeightedSemaphore(places, stop, taken)
        self._store, self._budget, self._stop = store, budget, stop
        self._most_waiting = min(most_waiting, places // 2)
        self._ids: set[int] = set()
        self._waiting: list[Ticket] = []
        self._replaced: list[Media] = []
        self._changed = threading.Condition()
        self._on_quiet: Callable[[], None] = lambda: None
        store.on_settled(self._settled)
        stop.on_stop(self._wake)

    def on_quiet(self, wake: Callable[[], None]) -> None:
        """Call `wake`, on any thread, when nothing is on its way to a batch, or when the source pauses or ends."""
        self._on_quiet = wake

    # The source's side.

    def admit(self, media: Media, meter: Meter | None = None, failed: Failed | None = None) -> Ticket | None:
        """A ticket for a medium, when the outbox has a place; None if it is under way already (catalogues repeat items
        while they change). Of one that `failed` before, the file is only looked at. Raises `Stopped` when the run
        ends."""
        with self._changed:
            if media.id in self._ids:
                return None
        self.places.acquire(1, meter)
        with self._changed:
            self._ids.add(media.id)
            self.loading += 1
            self.paused = False
        return Ticket(media, self, failed)

    def second_chances(self) -> list[Ticket]:
        """Wait until all else is settled; the media to be read once more, on their way to a batch again."""
        self._pause()
        with self._changed:
            self._changed.wait_for(lambda: len(self._ids) == len(self._waiting) or self._stop.is_set())
            waiting, self._waiting = self._waiting, []
            for ticket in waiting:
                ticket.move(_State.WAITING, _State.LOADING)
                ticket.last_chance = True
            self.loading += len(waiting)
            self.paused = not waiting
        return waiting

    def replaced(self) -> list[Media]:
        """The media that were looked at since the last call and whose file is another now."""
        with self._changed:
            found, self._replaced = self._replaced, []
        return found

    def close(self) -> None:
        """Nothing more will be admitted."""
        with self._changed:
            self.closed = True
        self._on_quiet()

    # The tickets' side.

    def batched(self, ticket: Ticket) -> None:
        self._budget.passed()
        self._left_loading(ticket, _State.BATCHED)

    def postponed(self, ticket: Ticket) -> bool:
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                return False
        self._left_loading(ticket, _State.WAITING)
        return True

    def looked_at(self, ticket: Ticket, replaced: bool) -> None:
        self._left_loading(ticket, _State.SETTLED)
        self.places.release()
        if replaced:
            with self._changed:
                self._replaced.append(ticket.media)
        self._out([ticket.media])

    def ended(self, ticket: Ticket, outcome: Outcome, reason: str, file: FileState | None) -> None:
        self._left_loading(ticket, _State.SETTLED)
        self.tally.add(**{outcome.value: 1})
        future = self._store.fail(ticket.media, outcome, reason, file)
        future.add_done_callback(lambda done: None if done.exception() else self._out([ticket.media]))
        if outcome is Outcome.FAILED:
            self._budget.failed(ticket.media, reason)

    # The recorder's side.

    def store(self, tickets: Sequence[Ticket], tagged: Sequence[Tagged], entries: Entries) -> Future[None]:
        """Settle a batch by its results; done when they are on the disk."""
        with self._changed:
            for ticket in tickets:
                ticket.move(_State.BATCHED, _State.SETTLED)
        future = self._store.store(tagged, entries)
        future.add_done_callback(lambda done: None if done.exception() else self._stored(tagged))
        return future

    # The main thread's side.

    def check(self) -> None:
        """Raises `EngineError` if a stage dropped a medium without an outcome: the run would wait for it for ever."""
        if self.forgotten and not self._stop.is_set():
            media = self.forgotten[0]
            raise EngineError(
                f"the engine has a bug: medium {media.id} ({media.storage_url!r}) was dropped without an outcome; "
                "nothing is lost, the same command tags it again"
            )

    def __len__(self) -> int:
        """Media under way."""
        return len(self._ids)

    def _stored(self, tagged: Sequence[Tagged]) -> None:
        self.tally.add(images=len(tagged))
        self._out([item.media for item in tagged])

    def _left_loading(self, ticket: Ticket, state: _State) -> None:
        with self._changed:
            ticket.move(_State.LOADING, state)
            self.loading -= 1
            if state is _State.WAITING:
                self._waiting.append(ticket)
                self._changed.notify_all()
            quiet = not self.loading
        if quiet:
            self._on_quiet()

    def _settled(self, count: int) -> None:
        """Called by the store, which writes in one thread."""
        self.settled += count
        self.places.release(count)

    def _out(self, media: Sequence[Media]) -> None:
        """The outcomes of these media are on the disk."""
        with self._changed:
            self._ids.difference_update(item.id for item in media)
            self._changed.notify_all()

    def _pause(self) -> None:
        with self._changed:
            self.paused = True
        self._on_quiet()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
