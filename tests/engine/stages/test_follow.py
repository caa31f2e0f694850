"""A catalogue that changes while it is followed, and between two runs."""

import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.types import FileState, Media, Outcome
from tests.support.ledgers import outbox, tags
from tests.support.pipelines import QUICK, Catalogue, Wrapped, build, draw

FOLLOW_S = 0.01


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(8):
        draw(folder / f"{i}.png", i)
    return folder


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "s.db") as opened:
        yield opened


def follow(catalogue: Catalogue, library: Path, ledger: Ledger, *steps: Callable[[], bool], **settings) -> None:
    """Follow the catalogue until each step, one after the other, has said that it is done; each is asked again and
    again."""
    stop, left = Stop(), list(steps)

    def tick() -> None:
        if left and left[0]():
            left.pop(0)
        if not left:
            stop.set()

    build(catalogue, library, ledger, stop, **{"follow": FOLLOW_S, **settings}).run(tick)
    assert not left


def run_once(catalogue: Catalogue, library: Path, ledger: Ledger, **settings) -> int:
    """The images of a run."""
    pipeline = build(catalogue, library, ledger, **settings)
    pipeline.run()
    return pipeline.tally.images


def tagged(ledger: Ledger, count: int) -> Callable[[], bool]:
    return lambda: ledger.counts()[Outcome.OUTBOX] == count


def attempts(ledger: Ledger) -> dict[str, int]:
    return dict(ledger._read("SELECT storage_url, attempts FROM media", (), lambda url, count: (url, count)))


def swept(catalogue: Catalogue, times: int) -> Callable[[], bool]:
    """Whether the source has asked so many times from the beginning."""
    return lambda: catalogue.starts.count(0) >= times


def know(ledger: Ledger, catalogue: Catalogue) -> None:
    """Leave nothing to do for any of these media."""
    ledger.admit(catalogue.media)
    for done in [ledger.fail(media, Outcome.SKIPPED, "known") for media in catalogue.media]:
        done.result(30)


def test_new_media_are_tagged_as_they_come(library: Path, ledger: Ledger) -> None:
    catalogue = Catalogue([f"{i}.png" for i in range(3)])

    def more() -> bool:
        catalogue.media += [Media(500 + i, f"{i}.png", 500 + i) for i in range(3, 8)]
        return True

    follow(catalogue, library, ledger, tagged(ledger, 3), more, tagged(ledger, 8))


def test_an_idle_cycle_asks_for_the_tail_and_nothing_else(library: Path, ledger: Ledger) -> None:
    catalogue = Catalogue([f"{i}.png" for i in range(8)])
    follow(catalogue, library, ledger, lambda: len(catalogue.starts) > 20, segment_size=3)
    pages, tail = [0, 17, 26, 32], 32
    assert catalogue.starts == pages + [tail] * (len(catalogue.starts) - len(pages))


def test_known_media_are_listed_in_larger_and_larger_pages(library: Path, ledger: Ledger) -> None:
    catalogue = Catalogue(["0.png"] * 1000)
    know(ledger, catalogue)
    catalogue.media[-3] = replace(catalogue.media[-3], storage_url="1.png")  # the only one that is new
    catalogue.media += [Media(10**6 + i, "2.png", 10**6 + i) for i in range(8)]
    follow(catalogue, library, ledger, tagged(ledger, 9), segment_size=5)
    # 5, 10, 20, ... until the page with the new one, and then pages of 5 again
    pages = catalogue.starts[: catalogue.starts.index(10**6 + 8)]
    assert len(pages) <= 12
    assert [after - before for before, after in itertools.pairwise(pages[:4])] == [23, 30, 60]


def test_a_catalogue_with_a_limit_of_its_own_is_asked_for_no_more(library: Path, ledger: Ledger) -> None:
    limits: list[int] = []

    class Small(Catalogue):
        def segment(self, start: int, limit: int) -> list[Media]:
            limits.append(limit)
            return super().segment(start, min(limit, 8))

    catalogue = Small(["0.png"] * 100)
    know(ledger, catalogue)
    build(catalogue, library, ledger, segment_size=5).run()
    assert limits[:-1] == [5, 10, *[8] * 11]


def test_what_becomes_visible_behind_the_cursor_is_found_by_the_next_full_sweep(library: Path, ledger: Ledger) -> None:
    catalogue = Catalogue([f"{i}.png" for i in range(7)])

    def late() -> bool:
        catalogue.media.append(Media(1, "7.png", 1))
        return True

    follow(catalogue, library, ledger, tagged(ledger, 7), late, lambda: len(catalogue.starts) > 30)
    assert ledger.counts()[Outcome.OUTBOX] == 7  # the tail alone never finds it
    catalogue.media.pop()
    follow(catalogue, library, ledger, swept(catalogue, 3), late, tagged(ledger, 8),
        waits=replace(QUICK, full_sweep=0.05))  # fmt: skip


def test_a_full_sweep_does_not_touch_a_failed_file_unless_it_changed(library: Path, ledger: Ledger) -> None:
    for name in ("broken.png", "mended.png"):
        (library / name).write_bytes(b"no picture")
    catalogue = Catalogue(["broken.png", "mended.png", "../refused.png"])

    def mend() -> bool:
        draw(library / "mended.png", 1)
        return True

    failed = lambda: ledger.counts()[Outcome.FAILED] == 3  # noqa: E731
    follow(
        catalogue, library, ledger, failed, swept(catalogue, 3), mend, tagged(ledger, 1), swept(catalogue, 6),
        waits=replace(QUICK, full_sweep=0.02),
    )  # fmt: skip
    assert attempts(ledger) == {"broken.png": 1, "mended.png": 1, "../refused.png": 1}


def test_a_file_that_was_missing_is_tried_again_once_it_is_there(library: Path, ledger: Ledger) -> None:
    """Vanished between listing and reading: a failure, and no reason for the user to do anything when it is back."""
    catalogue = Catalogue(["0.png", "gone.png"])
    build(catalogue, library, ledger).run()
    [(_, url, reason)] = ledger.reasons(Outcome.FAILED)
    assert url == "gone.png" and "no such file" in reason
    build(catalogue, library, ledger).run()
    assert attempts(ledger)["gone.png"] == 1
    draw(library / "gone.png", 2)
    build(catalogue, library, ledger).run()
    assert ledger.counts()[Outcome.OUTBOX] == 2


def test_another_storage_url_is_tagged_anew(library: Path, ledger: Ledger) -> None:
    catalogue = Catalogue(["0.png", "1.png"])

    def move() -> bool:
        catalogue.media[0] = replace(catalogue.media[0], storage_url="2.png")
        return True

    def names() -> dict[int, str]:
        return {item.media.id: tags(item)[1].tag for item in outbox(ledger)}

    follow(catalogue, library, ledger, lambda: names() == {10: "red", 13: "green"}, move,
           lambda: names() == {10: "blue", 13: "green"}, waits=replace(QUICK, full_sweep=0.02))  # fmt: skip


def test_failed_files_are_looked_at_after_the_sweep_by_all_readers_at_once(library: Path, ledger: Ledger) -> None:
    broken = [f"broken{i}.png" for i in range(8)]
    for name in broken:
        (library / name).write_bytes(b"no picture")
    catalogue = Catalogue(broken)
    build(catalogue, library, ledger, max_failures=None).run()
    draw(library / broken[5], 1)
    catalogue.media += [Media(500, "0.png", 500)]
    readers = threading.Barrier(4)
    looks: list[int] = []
    said: list[str] = []

    class Slow(Wrapped):
        def state(self, key: str) -> FileState:
            looks.append(len(catalogue.starts))
            readers.wait(10)  # it breaks, and ends the run, unless four look at the same time
            return super().state(key)

    catalogue.starts.clear()
    storage = Slow(library, lambda key: None)
    build(catalogue, storage, ledger, say=said.append, read_threads=4, segment_size=4).run()
    assert looks == [4] * 8  # two pages and the end, which was asked for ahead and once more, before the first look
    assert catalogue.starts[4:] == [10 + 3 * 5]  # is the replaced one still listed?
    assert ledger.counts() == dict.fromkeys(Outcome, 0) | {Outcome.FAILED: 7, Outcome.OUTBOX: 2}
    assert said == ["looking whether files that failed before were replaced"]


def test_a_replaced_file_that_the_catalogue_does_not_list_any_more_is_left(library: Path, ledger: Ledger) -> None:
    (library / "broken.png").write_bytes(b"no picture")
    catalogue = Catalogue(["broken.png", "0.png"])
    build(catalogue, library, ledger).run()
    draw(library / "broken.png", 1)
    del catalogue.media[0]
    build(catalogue, library, ledger).run()
    assert ledger.counts()[Outcome.FAILED] == 1


def test_a_limit_is_not_used_up_by_looking_at_failed_files(library: Path, ledger: Ledger) -> None:
    for name in ("broken.png", "mended.png"):
        (library / name).write_bytes(b"no picture")
    catalogue = Catalogue(["broken.png", "mended.png", "0.png"])
    build(catalogue, library, ledger, max_failures=None).run()
    draw(library / "mended.png", 1)
    assert run_once(catalogue, library, ledger, limit=1) == 1
    (library / "broken.png").write_bytes(b"no picture either")
    catalogue.media.append(Media(500, "1.png", 500))
    assert run_once(catalogue, library, ledger, limit=1) == 1
    assert attempts(ledger)["broken.png"] == 1  # the limit went to the new medium


def test_retry_failed_tries_unchanged_files_too(library: Path, ledger: Ledger) -> None:
    (library / "broken.png").write_bytes(b"no picture")
    catalogue = Catalogue(["broken.png", "0.png"])
    for retry, tries in ((False, 1), (False, 1), (True, 2)):
        build(catalogue, library, ledger, retry_failed=retry).run()
        assert attempts(ledger)["broken.png"] == tries
    assert ledger.counts()[Outcome.FAILED] == 1


def test_a_share_that_is_away_at_the_start_does_not_make_failed_files_look_changed(
    library: Path, ledger: Ledger, tmp_path: Path
) -> None:
    (library / "broken.png").write_bytes(b"no picture")
    catalogue = Catalogue(["broken.png"])
    build(catalogue, library, ledger).run()
    catalogue.media.append(Media(99, "0.png", 99))
    storage = Wrapped(library, lambda key: None)
    library.rename(tmp_path / "away")

    def say(sentence: str) -> None:
        if "not there" in sentence:
            (tmp_path / "away").rename(library)

    build(catalogue, storage, ledger, say=say).run()
    assert attempts(ledger) == {"broken.png": 1, "0.png": 0}
    assert ledger.counts()[Outcome.OUTBOX] == 1


def test_a_limit_ends_following(library: Path, ledger: Ledger) -> None:
    (library / "broken.png").write_bytes(b"no picture")
    catalogue = Catalogue(["broken.png", *(f"{i}.png" for i in range(8))])
    pipeline = build(catalogue, library, ledger, follow=FOLLOW_S, limit=5)
    pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed) == (4, 1)  # what fails counts: it was tried


def test_following_ends_at_once_when_asked(library: Path, ledger: Ledger) -> None:
    follow(Catalogue(["0.png"]), library, ledger, tagged(ledger, 1), follow=3600)


def test_a_catalogue_that_tells_versions_has_replaced_files_tagged_again(library: Path, ledger: Ledger) -> None:
    catalogue = Catalogue(["0.png", "1.png"])
    catalogue.media = [replace(media, version="v1") for media in catalogue.media]

    def overwrite() -> bool:
        draw(library / "0.png", 2)
        catalogue.media[0] = replace(catalogue.media[0], version="v2")
        return True

    def names() -> dict[int, str]:
        return {item.media.id: tags(item)[1].tag for item in outbox(ledger)}

    follow(catalogue, library, ledger, lambda: names() == {10: "red", 13: "green"}, overwrite,
           lambda: names() == {10: "blue", 13: "green"}, waits=replace(QUICK, full_sweep=0.02))  # fmt: skip
    pipeline = build(catalogue, library, ledger)
    pipeline.run()
    assert pipeline.tally.images == 0


def test_a_file_replaced_in_place_keeps_its_tags(library: Path, ledger: Ledger) -> None:
    """The contract says so: it cannot be noticed without reading every file of every sweep."""
    catalogue = Catalogue(["0.png"])
    build(catalogue, library, ledger).run()
    draw(library / "0.png", 1)
    os.utime(library / "0.png", (1, 1))
    assert build(catalogue, library, ledger).tally.images == 0
