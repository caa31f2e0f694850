"""Scores as they are kept: thresholds of four decimals tell the same tags as the scores themselves."""

import numpy as np
import pytest

from engine.scores import (
    NEVER,
    STEPS,
    count,
    least_steps,
    number_type,
    pack,
    pack_numbers,
    scores_of,
    steps_of,
    unpack,
)

FLOOR = 0.05


def near(threshold: float) -> np.ndarray:
    """A threshold in float32, and the numbers next to it."""
    exact = np.float32(threshold)
    return np.array([np.nextafter(exact, np.float32(0)), exact, np.nextafter(exact, np.float32(2))], np.float32)


def test_a_threshold_of_four_decimals_takes_the_same_scores() -> None:
    scores = np.concatenate([near(k / 10_000) for k in range(1, 10_000)])
    steps = steps_of(scores)
    for k in (*range(1, 10_000, 97), 3537, 4999, 5000, 9999):
        least = np.float32(k / 10_000)
        assert ((steps >= least_steps(np.array([least]))[0]) == (scores >= least)).all()


def test_a_step_is_that_below_the_score_also_next_to_its_bounds() -> None:
    bounds = (np.arange(STEPS + 1) / STEPS).astype(np.float32)
    for move, expected in ((0, np.arange(STEPS + 1)), (-1, np.maximum(np.arange(STEPS + 1) - 1, 0))):
        moved = np.nextafter(bounds, np.float32(2 * move - 1)) if move else bounds
        assert (steps_of(np.maximum(moved, 0)) == expected).all()


def test_no_score_is_above_an_infinite_threshold_and_1_is_kept_as_1() -> None:
    assert least_steps(np.array([np.inf, 1.0], np.float32)).tolist() == [NEVER, STEPS]
    assert steps_of(np.array([0.0, 1.0], np.float32)).tolist() == [0, STEPS]
    assert scores_of(np.array([STEPS], np.uint16)).tolist() == [1.0]


def test_the_three_decimals_that_are_posted_stay_the_same() -> None:
    scores = np.random.default_rng(3).random(20_000, np.float32)
    scores = scores[np.abs(scores * 2000 % 2 - 1) > 1e-3]  # but for those in the middle of two
    told = [f"{score:05.3f}" for score in scores.tolist()]
    assert [f"{score:05.3f}" for score in scores_of(steps_of(scores)).tolist()] == told


@pytest.mark.parametrize("tags", [500, 70_000])
def test_what_is_packed_is_what_is_above_the_floor_and_what_counts(tags: int) -> None:
    rng = np.random.default_rng(1)
    scores = (rng.random((5, tags), np.float32) ** 20).astype(np.float32)
    scores[3] = 0.0  # a picture of which nothing is kept
    taken: list[list[int]] = [[], [7], [1, tags - 1], [], [4]]
    blobs = pack(scores, taken, FLOOR)
    assert count(blobs, tags).tolist() == [len(unpack(blob, tags)[0]) for blob in blobs]
    for row, numbers, blob in zip(scores, taken, blobs, strict=True):
        kept, steps = unpack(blob, tags)
        assert kept.tolist() == sorted({*np.flatnonzero(row >= np.float32(FLOOR)).tolist(), *numbers})
        assert (steps == steps_of(row[kept])).all()
    assert blobs[3] == b""
    assert np.frombuffer(pack_numbers([1, tags - 1], tags), number_type(tags)).tolist() == [1, tags - 1]


def test_blobs_of_another_model_are_refused() -> None:
    [blob] = pack(np.ones((1, 40), np.float32), [[]], FLOOR)
    with pytest.raises(ValueError, match="tag number 39, and the model has 30 tags"):
        unpack(blob, 30)
    with pytest.raises(ValueError, match="not of a model with 40 tags"):
        count([blob[:-1]], 40)
