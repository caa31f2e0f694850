"""The stages together: real files, real threads, a real ledger; no model and no API."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import EngineError
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.pipeline import Pipeline
from engine.stages.load import SMALLEST
from engine.storage import Reading, open_storage
from engine.types import FileState, Outcome, Tagged
from tests.support.ledgers import Waiting, outbox, tags
from tests.support.pipelines import QUICK, Catalogue, Wrapped, build
from tests.support.sessions import TAGS, ColourSession

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "bright": (255, 255, 255)}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(30):
        colour = list(COLOURS.values())[i % 4][::-1]
        cv2.imwrite(str(folder / f"{i:02}.png"), np.full((9 + i, 20, 3), colour, np.uint8))
    return folder


def run(library: Path, urls: Sequence[str], ledger: Ledger, **settings) -> Pipeline:
    pipeline = build(Catalogue(urls), library, ledger, **settings)
    pipeline.run()
    return pipeline


def everything(library: Path) -> list[str]:
    return sorted(path.name for path in library.iterdir())


def test_each_picture_gets_its_own_tags(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = run(library, everything(library), ledger)
        items = outbox(ledger)
    assert pipeline.tally.images == 30
    assert {item.media.storage_url for item in items} == set(everything(library))
    for item in items:
        colour = list(COLOURS)[int(item.media.storage_url[:2]) % 4]
        expected = ["bright", "red", "green", "blue"] if colour == "bright" else ["dark", colour]
        assert [tag for tag, _ in tags(item)] == expected


def test_the_whole_catalogue_page_by_page(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        assert run(library, everything(library), ledger, segment_size=7).tally.images == 30


def test_the_last_batch_waits_for_nobody(library: Path, tmp_path: Path) -> None:
    patient = replace(QUICK, partial_batch=1e6)  # had the batch to wait that long, the run would not end
    assert len(everything(library)) % ColourSession().batch_size
    stop = Stop()
    late = threading.Timer(30, stop.set, [AssertionError("the last batch waits")])
    late.start()
    with Ledger(tmp_path / "s.db") as ledger:
        assert run(library, everything(library), ledger, stop=stop, waits=patient).tally.images == 30
    late.cancel()


def test_one_read_that_hangs_holds_up_no_other_result(library: Path, tmp_path: Path) -> None:
    release, stop = threading.Event(), Stop()
    late = threading.Timer(60, stop.set, [AssertionError("finished rows wait for a read that hangs")])
    late.start()
    storage = Wrapped(library, lambda key: release.wait(90) if key == "07.png" else None)
    with Ledger(tmp_path / "s.db") as ledger:
        waits = replace(QUICK, slow_read=0.05)
        pipeline = build(Catalogue(everything(library)), storage, ledger, stop, waits=waits)
        # 29 rows and batches of 4: the last one is never full while the read hangs
        pipeline.run(tick=lambda: release.set() if ledger.counts()[Outcome.OUTBOX] == 29 else None)
        late.cancel()
        assert ledger.counts()[Outcome.OUTBOX] == 30


def test_a_second_run_finds_nothing_to_do(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        run(library, everything(library), ledger)
        session = ColourSession()
        assert run(library, everything(library), ledger, session=session).tally.images == 0
    assert session.batches == []


def test_broken_files_are_recorded_and_passed_over(library: Path, tmp_path: Path) -> None:
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


def test_a_file_that_appears_late_gets_its_second_chance(library: Path, tmp_path: Path) -> None:
    """SMB clients remember a "not found" for seconds."""
    storage = open_storage(str(library))
    asked: list[str] = []

    class Late:
        def open(self, key: str, *, max_bytes: int) -> Reading:
            asked.append(key)
            return storage.open("nowhere.png" if asked.count(key) == 1 else key, max_bytes=max_bytes)

        def state(self, key: str) -> FileState:
            return storage.state(key)

        def check(self) -> None:
            pass

    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(["00.png"]), Late(), ledger)
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
        pipeline = build(Catalogue(everything(library)), library, ledger, stop, outbox_limit=10)
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
        pipeline = build(catalogue, library, ledger)
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
        catalogue = Catalogue(everything(library))
        pipeline = build(catalogue, library, ledger, stop, session=Stuck(2), read_ahead=5 * SMALLEST, decode_threads=1)
        decoding = next(meter for meter in pipeline.meters if meter.name == "decode")

        def tick() -> None:
            queued.append(decoding.depth())
            if queued.count(queued[-1]) == 10 and queued[-1]:  # the session is stuck, and so the queue stands still
                stop.set()

        pipeline.run(tick)
    assert 4 <= queued[-1] <= max(queued) <= 5  # a full channel takes more when a quarter of it is free


def test_each_sink_is_settled_on_its_own(library: Path, tmp_path: Path) -> None:
    """A medium is done when the last of its sinks has it; what one of them does not want holds up nothing."""

    class OnlyRed(Waiting):
        def entry(self, tagged: Tagged) -> str | None:
            return super().entry(tagged) if "red" in dict(tagged.tags) else None

    with Ledger(tmp_path / "s.db") as ledger:
        run(library, everything(library)[:8], ledger, sinks=[Waiting("all"), OnlyRed("red")])
        everywhere, red = ledger.outbox("all", 0, 99), ledger.outbox("red", 0, 99)
        assert (len(everywhere), len(red), ledger.in_outbox()) == (8, 4, 8)
        ledger.delivered([item.seq for item in red]).result()
        assert ledger.counts()[Outcome.OUTBOX] == 8
        ledger.delivered([item.seq for item in everywhere]).result()
        assert (ledger.counts()[Outcome.DONE], ledger.in_outbox()) == (8, 0)
        assert ledger.ended == {Outcome.DONE: 8, Outcome.REJECTED: 0}  # each once, though four had two sinks


def test_a_medium_that_one_sink_rejects_counts_once_and_is_not_done(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        run(library, everything(library)[:3], ledger, sinks=[Waiting("all"), Waiting("more")])
        for sink in ("all", "more"):
            first, *others = ledger.outbox(sink, 0, 99)
            ledger.delivered([item.seq for item in others], [(first.seq, None, "too large")]).result()
        assert ledger.ended == {Outcome.DONE: 2, Outcome.REJECTED: 1}
        assert (ledger.counts()[Outcome.DONE], ledger.counts()[Outcome.REJECTED]) == (2, 1)


def test_the_meters_of_sinks_are_told_from_those_of_stages(library: Path, tmp_path: Path) -> None:
    """Whatever a sink calls its meter: it may be busy all the time and hold nothing up."""
    with Ledger(tmp_path / "s.db") as ledger:
        meters = run(library, ["00.png"], ledger, sinks=[Waiting("all"), Waiting("red")]).meters
    assert [meter.of_sink for meter in meters] == [False] * 5 + [True] * 2


def test_without_a_sink_a_tagged_medium_is_done(library: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        tally = run(library, everything(library), ledger, sinks=[], outbox_limit=4).tally
        assert (tally.images, ledger.ended[Outcome.DONE], ledger.counts()[Outcome.DONE]) == (30, 30, 30)


def test_a_sink_sees_every_score(library: Path, tmp_path: Path) -> None:
    seen: list[Tagged] = []

    class Scores(Waiting):
        def entry(self, tagged: Tagged) -> None:
            seen.append(tagged)

    with Ledger(tmp_path / "s.db") as ledger:
        run(library, ["00.png"], ledger, sinks=[Scores()])
    [result] = seen
    assert result.scores.shape == (len(TAGS),) and result.scores.dtype == np.float32
    assert result.tags == tuple(
        (tag, score) for tag, score in zip(TAGS, result.scores.tolist(), strict=True) if score >= 0.5
    )


def test_a_stage_that_forgets_a_medium_ends_the_run(library: Path, tmp_path: Path, monkeypatch) -> None:
    """Nobody would ever settle it: without the check the run would wait for ever."""
    monkeypatch.setattr("engine.stages.load.Loader._is_worth_another_try", lambda *_: False)
    stop = Stop()
    late = threading.Timer(30, stop.set, [AssertionError("the run waits for a forgotten medium")])
    late.start()
    with Ledger(tmp_path / "s.db") as ledger, pytest.raises(EngineError, match=r"gone\.png.* was dropped"):
        run(library, ["gone.png"], ledger, stop=stop)
    late.cancel()
