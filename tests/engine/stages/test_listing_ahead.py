"""The next page of the catalogue is asked for while the media of this one are read; one page ahead and no more."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ApiError
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.types import Media, Outcome
from tests.support.pipelines import QUICK, Catalogue, Wrapped, build, draw

LATE_S = 30.0


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(40):
        draw(folder / f"{i:02}.png", i)
    return folder


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "s.db") as opened:
        yield opened


def names(library: Path) -> list[str]:
    return sorted(path.name for path in library.iterdir())


class Watched(Catalogue):
    """Says when a page was asked for, and what is to happen then."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__(urls)
        self.asked = [threading.Event() for _ in range(50)]
        self.fails_at: int | None = None

    def segment(self, start: int, limit: int) -> list[Media]:
        call = len(self.starts)
        page = super().segment(start, limit)
        self.asked[call].set()
        if call == self.fails_at:
            raise ApiError("the catalogue is broken")
        return page


def test_the_next_page_is_asked_for_while_this_one_is_read(library: Path, ledger: Ledger) -> None:
    catalogue = Watched(names(library))
    waited: list[bool] = []
    # The first picture of all is read only when the second page was asked for: without listing ahead it would fail.
    # One reader and few places between it and the source, which cannot hand on all of the page meanwhile.
    storage = Wrapped(library, lambda key: waited.append(catalogue.asked[1].wait(LATE_S)) if key == "00.png" else None)
    pipeline = build(catalogue, storage, ledger, read_threads=1, segment_size=30, outbox_limit=100)
    pipeline.run()
    assert waited == [True]
    assert pipeline.tally.images == 40


def test_no_more_than_one_page_is_asked_for_ahead(library: Path, ledger: Ledger) -> None:
    catalogue, stop = Watched(names(library)), Stop()
    held = threading.Event()
    storage = Wrapped(library, lambda key: held.wait(LATE_S))

    def tick() -> None:
        if catalogue.asked[1].is_set() and ledger.counts()[Outcome.PENDING] and not stop.is_set():
            asked.append(len(catalogue.starts))
            if len(asked) == 10:
                stop.set()
                held.set()

    asked: list[int] = []
    # 4 places in the outbox: the first page of 10 is never handed on to its end.
    build(catalogue, storage, ledger, stop, read_threads=1, segment_size=10, outbox_limit=4).run(tick)
    assert asked == [2] * 10
    assert ledger.counts()[Outcome.PENDING] == 10  # and the page ahead is not admitted yet


def test_a_page_that_fails_ahead_loses_nothing_of_what_is_in_hand(library: Path, ledger: Ledger) -> None:
    catalogue = Watched(names(library))
    catalogue.fails_at = 1
    opened: list[str] = []

    def before(key: str) -> None:
        assert catalogue.asked[1].wait(LATE_S)  # it has failed before the first picture is read
        opened.append(key)

    pipeline = build(catalogue, Wrapped(library, before), ledger, read_threads=1, segment_size=30)
    with pytest.raises(ApiError, match="the catalogue is broken"):
        pipeline.run()
    # All of the first page were handed on before the run ended by the error: none is left that was never tried.
    assert pipeline.source.meter.items == 30
    catalogue.fails_at = None
    again = build(catalogue, library, ledger, segment_size=30)
    again.run()
    counts = ledger.counts()
    assert (counts[Outcome.OUTBOX], counts[Outcome.PENDING], counts[Outcome.FAILED]) == (40, 0, 0)


def test_a_limit_within_the_page_asks_for_no_other_one(library: Path, ledger: Ledger) -> None:
    catalogue = Catalogue(names(library))
    assert _images(catalogue, library, ledger, segment_size=10, limit=10) == 10
    assert catalogue.starts == [0]


def test_a_catalogue_that_ends_is_asked_for_the_end_again(library: Path, ledger: Ledger) -> None:
    """The end that was seen ahead is old when the last page is handed on: media may have come meanwhile."""
    catalogue = Watched(names(library)[:10])

    def before(key: str) -> None:
        if key == "00.png":
            assert catalogue.asked[1].wait(LATE_S)  # the end has been seen
            catalogue.media.append(Media(500, "39.png", 500))

    storage = Wrapped(library, before)
    pipeline = build(catalogue, storage, ledger, read_threads=1, segment_size=10, outbox_limit=4, sinks=[])
    pipeline.run()
    assert pipeline.tally.images == 11


def test_a_run_that_stops_does_not_wait_for_the_page_ahead(library: Path, ledger: Ledger) -> None:
    catalogue, stop, release = Watched(names(library)), Stop(), threading.Event()

    class Hangs(Watched):
        def segment(self, start: int, limit: int) -> list[Media]:
            page = super().segment(start, limit)
            if start:
                release.wait(LATE_S)
            return page

    catalogue = Hangs(names(library))
    pipeline = build(catalogue, library, ledger, stop, segment_size=10, waits=replace(QUICK, leave=0.2))
    pipeline.run(lambda: stop.set() if catalogue.asked[1].is_set() else None)
    assert not release.is_set() and stop.error is None
    release.set()


def test_a_catalogue_of_small_pages_is_listed_ahead_too(library: Path, ledger: Ledger) -> None:
    """A service may give fewer media than it was asked for: its second page shows that."""

    class Small(Watched):
        def segment(self, start: int, limit: int) -> list[Media]:
            return super().segment(start, min(limit, 10))

    catalogue = Small(names(library))
    waited: list[bool] = []
    storage = Wrapped(library, lambda key: waited.append(catalogue.asked[2].wait(LATE_S)) if key == "10.png" else None)
    pipeline = build(catalogue, storage, ledger, read_threads=1, outbox_limit=4, sinks=[])
    pipeline.run()
    assert waited == [True] and pipeline.tally.images == 40


def _images(catalogue: Catalogue, library: Path, ledger: Ledger, **settings) -> int:
    pipeline = build(catalogue, library, ledger, **settings)
    pipeline.run()
    return pipeline.tally.images
