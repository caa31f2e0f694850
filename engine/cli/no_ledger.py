"""Books of a command that keeps none: `engine tag` prints what it finds, `engine tune` only counts it."""

import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext

from engine.stages.ticket import Entries
from engine.types import FileState, Media, Outcome, Tagged


class NoLedger:
    """`engine.pipeline.Books` without a ledger: all media are to be tagged, and how they ended is forgotten."""

    def __init__(self) -> None:
        self._settled: Callable[[int], None] = lambda _: None

    def admit(self, page: Sequence[Media], again: Collection[Outcome] = ()) -> list[Media]:
        return list(page)

    def settled(self, start: int = 0, but: Collection[Outcome] = ()) -> int:
        return 0

    def failed_media(
        self, after: int = -1, limit: int = 500, before: float = math.inf
    ) -> list[tuple[Media, FileState | None]]:
        return []

    def deaths(self, media: Media) -> int:
        return 0

    def note_listed(self) -> None: ...

    def decoding(self, media: Media) -> AbstractContextManager[None]:
        return nullcontext()

    def on_settled(self, settled: Callable[[int], None]) -> None:
        self._settled = settled

    def store(self, tagged: Sequence[Tagged], entries: Entries) -> Future[None]:
        self._settled(len(tagged))
        return kept()

    def fail(self, media: Media, outcome: Outcome, reason: str, file: FileState | None = None) -> Future[None]:
        self._settled(1)
        return kept()


def kept() -> Future[None]:
    """What is to be kept is so already."""
    done: Future[None] = Future()
    done.set_result(None)
    return done
