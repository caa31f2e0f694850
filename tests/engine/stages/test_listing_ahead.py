"""The next page is listed while the media of this one are read; one page ahead, and no more."""

import threading
from pathlib import Path

import pytest

from engine.errors import ApiError
from engine.ledger.ledger import Ledger
from engine.types import Media, Outcome
from tests.support.pipelines import Catalogue, Wrapped, build, draw


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(120):
        draw(folder / f"{i:03}.png", i)
    return folder


class Asked(Catalogue):
    """Says when its second page is asked for."""

    def __init__(self, library: Path) -> None:
        super().__init__(sorted(path.name for path in library.iterdir()))
        self.second = threading.Event()

    def segment(self, start: int, limit: int) -> list[Media]:
        page = super().segment(start, limit)
        if len(self.starts) > 1:
            self.second.set()
        return page


def test_the_next_page_is_listed_while_this_one_is_read(library: Path, tmp_path: Path) -> None:
    catalogue = Asked(library)
    asked: list[object] = []

    def before(key: str) -> None:
        if key == "000.png":
            asked.append(catalogue.second.wait(20))
            asked.append(len(catalogue.starts))

    with Ledger(tmp_path / "s.db") as ledger:  # the page is longer than the queue of the one reader
        pipeline = build(catalogue, Wrapped(library, before), ledger, read_threads=1, segment_size=40)
        pipeline.run()
    assert asked == [True, 2]
    assert pipeline.tally.images == 120 and len(catalogue.starts) == len(set(catalogue.starts)) == 4


def test_no_page_is_listed_that_the_limit_leaves_out(library: Path, tmp_path: Path) -> None:
    catalogue = Asked(library)
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(catalogue, library, ledger, segment_size=40, limit=40)
        pipeline.run()
    assert pipeline.tally.images == 40 and len(catalogue.starts) == 1


def test_a_page_that_cannot_be_listed_ends_the_run_when_it_is_its_turn(library: Path, tmp_path: Path) -> None:
    class Broken(Asked):
        def segment(self, start: int, limit: int) -> list[Media]:
            page = super().segment(start, limit)
            if len(self.starts) > 1:
                raise ApiError("the media API is gone")
            return page

    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Broken(library), library, ledger, segment_size=40)
        with pytest.raises(ApiError, match="is gone"):
            pipeline.run()
    with Ledger(tmp_path / "s.db") as ledger:
        counts = ledger.counts()
        assert counts[Outcome.OUTBOX] + counts[Outcome.PENDING] == 40
