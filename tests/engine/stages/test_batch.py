"""Batches filled by real threads."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from engine.errors import Stopped
from engine.flow.channels import Closed, Stop
from engine.stages.batch import Batcher
from engine.types import Media


def medium(number: int) -> Media:
    return Media(number, f"{number}.jpg", number)


def row(number: int) -> np.ndarray:
    return np.full((4, 5, 3), number % 251, np.uint8)


def fill(batcher: Batcher, numbers: range) -> None:
    for number in numbers:
        batcher.add(medium(number), row(number))


def test_every_picture_is_in_one_row_beside_its_medium() -> None:
    stop = Stop()
    batcher = Batcher(8, 4, 5, stop)
    batcher.expect(500)
    batcher.close()
    threads = [threading.Thread(target=fill, args=(batcher, range(i, 500, 4)), daemon=True) for i in range(4)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    sizes: list[int] = []
    with pytest.raises(Closed):
        while True:
            batch = batcher.take()
            sizes.append(len(batch.media))
            for index, media in enumerate(batch.media):
                assert (batch.pixels[index] == media.id % 251).all()
                seen.append(media.id)
            assert batch.pixels.shape == (8, 4, 5, 3)
            batcher.give_back(batch)
    assert sorted(seen) == list(range(500))
    assert sizes.count(8) == 62 and sum(sizes) == 500  # full batches and one padded tail


def test_a_failure_leaves_no_hole() -> None:
    batcher = Batcher(2, 4, 5, Stop())
    batcher.expect(3)
    batcher.add(medium(1), row(1))
    batcher.drop()
    batcher.add(medium(3), row(3))
    assert [m.id for m in batcher.take().media] == [1, 3]


def test_a_partial_batch_goes_when_nothing_is_on_its_way() -> None:
    batcher = Batcher(8, 4, 5, Stop())
    batcher.expect(2)
    batcher.add(medium(1), row(1))
    batcher.drop()
    assert [m.id for m in batcher.take().media] == [1]  # though the source has not ended


def test_a_partial_batch_waits_for_nobody_in_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.stages.batch.GRACE_S", 1e6)  # without the pause, the test would hang
    batcher = Batcher(8, 4, 5, Stop())
    batcher.expect(2)
    batcher.add(medium(1), row(1))
    batcher.add(medium(2), row(2))
    batcher.pause()
    assert [m.id for m in batcher.take().media] == [1, 2]


def spied(batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event that is set when somebody waits out the grace; from then on the batcher's lock is free."""
    waiting, wait_for = threading.Event(), batcher._changed.wait_for

    def spy(predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        waiting.set()
        return wait_for(predicate, timeout)

    monkeypatch.setattr(batcher._changed, "wait_for", spy)
    return waiting


def test_a_pause_ends_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.stages.batch.GRACE_S", 1e6)
    batcher = Batcher(8, 4, 5, Stop())
    waiting = spied(batcher, monkeypatch)
    batcher.expect()
    batcher.add(medium(1), row(1))
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.extend(m.id for m in batcher.take().media), daemon=True)
    thread.start()
    assert waiting.wait(10)
    batcher.pause()
    thread.join(10)
    assert taken == [1]


def test_the_grace_is_back_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.stages.batch.GRACE_S", 0)
    batcher = Batcher(8, 4, 5, Stop())
    waiting = spied(batcher, monkeypatch)
    batcher.pause()
    batcher.expect()
    batcher.add(medium(1), row(1))
    assert [m.id for m in batcher.take().media] == [1] and waiting.is_set()


def test_a_partial_batch_waits_for_what_is_expected() -> None:
    batcher = Batcher(2, 4, 5, Stop())
    batcher.expect(2)
    batcher.add(medium(1), row(1))
    taken: list[list[int]] = []
    thread = threading.Thread(target=lambda: taken.append([m.id for m in batcher.take().media]), daemon=True)
    thread.start()
    batcher.add(medium(2), row(2))
    thread.join(10)
    assert taken == [[1, 2]]


def test_stop_wakes_both_sides() -> None:
    stop = Stop()
    batcher = Batcher(1, 4, 5, stop, buffers=1)
    batcher.expect(2)
    batcher.add(medium(1), row(1))
    ended: list[str] = []

    def attempt(name: str, work) -> None:
        try:
            work()
        except Stopped:
            ended.append(name)

    batcher.take()
    threads = [
        threading.Thread(target=attempt, args=("add", lambda: batcher.add(medium(2), row(2))), daemon=True),
        threading.Thread(target=attempt, args=("take", batcher.take), daemon=True),
    ]
    for thread in threads:
        thread.start()
    stop.set()
    for thread in threads:
        thread.join(10)
    assert sorted(ended) == ["add", "take"]
