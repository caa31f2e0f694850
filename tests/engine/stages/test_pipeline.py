"""The stages together: real files, real threads, a real ledger; no model and no API."""

import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.config import RunConfig
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.pipeline import Parts, Pipeline
from engine.stages.load import SMALLEST
from engine.storage.folder import open_storage
from engine.types import Media, Outcome, Preprocessing
from tests.support.sessions import TAGS, ColourSession

SHAPE = Preprocessing("deepdanbooru", 16, 16)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "bright": (255, 255, 255)}


class Catalogue:
    """Pages of a list, with ids that have gaps."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.media = [Media(10 + 3 * i, url, 10 + 3 * i) for i, url in enumerate(urls)]

    def segment(self, start: int, limit: int) -> list[Media]:
        return [media for media in self.media if media.id >= start][:limit]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(30):
        colour = list(COLOURS.values())[i % 4][::-1]
        cv2.imwrite(str(folder / f"{i:02}.png"), np.full((9 + i, 20, 3), colour, np.uint8))
    return folder


def run(library: Path, urls: Sequence[str], ledger: Ledger, stop: Stop | None = None, **settings) -> Pipeline:
    stop = stop or Stop()
    parts = Parts(
        Catalogue(urls), open_storage(str(library)), SHAPE, TAGS, 0.5, settings.pop("session", ColourSession()), ledger
    )
    pipeline = Pipeline(parts, RunConfig(**settings), stop)
    pipeline.run()
    return pipeline


def everything(library: Path) -> list[str]:
    return sorted(path.name for path in library.iterdir())


def test_each_picture_gets_its_own_tags(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = run(library, everything(library), ledger)
        items = ledger.outbox(0, 100)
    assert pipeline.tally.images == 30
    assert {item.media.storage_url for item in items} == set(everything(library))
    for item in items:
        colour = list(COLOURS)[int(item.media.storage_url[:2]) % 4]
        expected = ["bright", "red", "green", "blue"] if colour == "bright" else ["dark", colour]
        assert [record.tag for record in item.records] == expected


def test_the_whole_catalogue_page_by_page(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        assert run(library, everything(library), ledger, segment_size=7).tally.images == 30


def test_the_last_batch_waits_for_nobody(library: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        "engine.stages.batch.GRACE_S", 1e6
    )  # had the batch to wait for the grace, the run would not end
    assert len(everything(library)) % ColourSession().batch_size
    stop = Stop()
    late = threading.Timer(30, stop.set, [AssertionError("the last batch waits")])
    late.start()
    with Ledger(tmp_path / "s.db") as ledger:
        assert run(library, everything(library), ledger, stop).tally.images == 30
    late.cancel()


def test_a_second_run_finds_nothing_to_do(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        run(library, everything(library), ledger)
        session = ColourSession()
        assert run(library, everything(library), ledger, session=session).tally.images == 0
    assert session.batches == []


def test_broken_files_are_recorded_and_passed_over(library: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("engine.stages.source.SECOND_CHANCE_S", 0.01)
    (library / "text.jpg").write_text("I am no picture", encoding="utf-8")
    (library / "empty.png").write_bytes(b"")
    (library / "cut.png").write_bytes((library / "29.png").read_bytes()[:60])
    (library / "notes.txt").write_text("a sidecar", encoding="utf-8")
    urls = [*everything(library), "gone.jpg", "../outside.jpg", ""]
    with Ledger(tmp_path / "s.db") as ledger:
        tally = run(library, urls, ledger).tally
        reasons = {url: reason for _, url, reason in ledger.reasons(Outcome.FAILED, 100)}
        counts = ledger.counts()
    assert (tally.images, tally.failed, tally.skipped) == (30, 6, 1)
    assert set(reasons) == {"text.jpg", "empty.png", "cut.png", "gone.jpg", "../outside.jpg", ""}
    assert all(reasons.values())
    assert (counts[Outcome.FAILED], counts[Outcome.SKIPPED], counts[Outcome.PENDING]) == (6, 1, 0)


def test_a_file_that_appears_late_gets_its_second_chance(library: Path, tmp_path: Path, monkeypatch) -> None:
    """SMB clients remember a "not found" for seconds."""
    monkeypatch.setattr("engine.stages.source.SECOND_CHANCE_S", 0.01)
    storage = open_storage(str(library))
    asked: list[str] = []

    class Late:
        def read(self, key: str, *, max_bytes: int) -> bytes:
            asked.append(key)
            return storage.read("nowhere.png" if asked.count(key) == 1 else key, max_bytes=max_bytes)

        def root_alive(self) -> bool:
            return True

    with Ledger(tmp_path / "s.db") as ledger:
        parts = Parts(Catalogue(["00.png"]), Late(), SHAPE, TAGS, 0.5, ColourSession(), ledger)  # type: ignore[arg-type]
        pipeline = Pipeline(parts, RunConfig(), Stop())
        pipeline.run()
    assert asked == ["00.png", "00.png"]
    assert (pipeline.tally.images, pipeline.tally.failed) == (1, 0)


def test_limit_stops_after_so_many(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        assert run(library, everything(library), ledger, limit=11).tally.images == 11
        assert run(library, everything(library), ledger).tally.images == 19


def test_segment_start_leaves_out_what_lies_before(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        assert run(library, everything(library), ledger, segment_start=10 + 3 * 25).tally.images == 5


def test_a_full_outbox_makes_tagging_wait_and_not_fail(library: Path, tmp_path: Path) -> None:
    """Nothing empties the outbox here: the run waits with as much in it as it may hold, until it is stopped."""
    stop = Stop()
    with Ledger(tmp_path / "s.db") as ledger:
        parts = Parts(
            Catalogue(everything(library)), open_storage(str(library)), SHAPE, TAGS, 0.5, ColourSession(), ledger
        )
        pipeline = Pipeline(parts, RunConfig(outbox_limit=10), stop)
        pipeline.run(tick=lambda: stop.set() if ledger.counts()[Outcome.OUTBOX] == 10 else None)
        assert ledger.counts()[Outcome.OUTBOX] == 10


def test_what_stops_the_session_stops_the_run(library: Path, tmp_path: Path) -> None:
    class Broken(ColourSession):
        def run(self, pixels: np.ndarray) -> np.ndarray:
            return np.full((len(pixels), len(TAGS)), np.nan, np.float32)

    with Ledger(tmp_path / "s.db") as ledger:
        with pytest.raises(Exception, match="no numbers"):
            run(library, everything(library), ledger, session=Broken())
        assert ledger.counts()[Outcome.OUTBOX] == 0


def test_a_repeated_item_is_done_once(library: Path, tmp_path: Path) -> None:
    catalogue = Catalogue(everything(library))
    catalogue.media = sorted(catalogue.media * 2, key=lambda media: media.id)
    with Ledger(tmp_path / "s.db") as ledger:
        parts = Parts(catalogue, open_storage(str(library)), SHAPE, TAGS, 0.5, ColourSession(), ledger)
        pipeline = Pipeline(parts, RunConfig(), Stop())
        pipeline.run()
    assert pipeline.tally.images == 30


def test_tiny_files_are_not_read_ahead_without_end(library: Path, tmp_path: Path) -> None:
    """A bound in bytes alone would hold the whole catalogue, if its files are small."""
    stop, queued = Stop(), []

    class Stuck(ColourSession):
        def run(self, pixels: np.ndarray) -> np.ndarray:
            stop.event.wait(60)
            return super().run(pixels)

    with Ledger(tmp_path / "s.db") as ledger:
        parts = Parts(Catalogue(everything(library)), open_storage(str(library)), SHAPE, TAGS, 0.5, Stuck(2), ledger)
        pipeline = Pipeline(parts, RunConfig(read_ahead=5 * SMALLEST), stop)
        decoding = next(meter for meter in pipeline.meters if meter.name == "decode")

        def tick() -> None:
            queued.append(decoding.depth())
            if queued.count(5) == 2:
                stop.set()

        pipeline.run(tick)
    assert max(queued) == 5
