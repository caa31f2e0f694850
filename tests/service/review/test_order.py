"""The order of a queue: by a plain model of its rules, and that chance is the same each time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.review.order import (
    SAMPLE,
    TURN,
    UNCERTAIN,
    UNSCORED,
    Groups,
    chance,
    in_order,
    one_of_each,
    seed_of,
)

SEED = seed_of("library", "hat")
PICTURES = st.dictionaries(st.integers(1, 10**6), st.integers(0, 65_535), max_size=120)


def arrays(pictures: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array(sorted(pictures), np.int64)
    return ids, np.array([pictures[one] for one in ids.tolist()], np.uint16)


@settings(max_examples=200, deadline=None)
@given(PICTURES, st.none() | st.integers(0, 65_535))
def test_the_same_state_has_the_same_order_and_asks_of_each_scored_picture_once(pictures, threshold) -> None:
    ids, scores = arrays(pictures)
    order, again = in_order(ids, scores, threshold, SEED), in_order(ids, scores, threshold, SEED)
    assert order.rows.tolist() == again.rows.tolist()
    asked = order.rows.tolist()
    assert len(set(asked)) == len(asked)
    assert {row for row in asked if scores[row]} == set(np.flatnonzero(scores).tolist())
    turns = -(-int(np.count_nonzero(scores)) // TURN)
    assert len(asked) - np.count_nonzero(scores) == min(turns, np.count_nonzero(scores == 0))
    if threshold is not None:
        distances = np.abs(scores[order.rows[order.why == UNCERTAIN]].astype(int) - threshold)
        assert (np.diff(distances) >= 0).all()  # the least sure first
    number = chance(SEED, ids)
    for why in (SAMPLE, UNSCORED):
        drawn = number[order.rows[order.why == why]]
        assert (drawn[:-1] < drawn[1:]).all()
    sample = set(order.rows[order.why == SAMPLE].tolist())
    scored = sorted(np.flatnonzero(scores).tolist(), key=lambda row: number[row])
    assert sample == set(scored[: min(2 * turns, len(scored))])


@settings(max_examples=60, deadline=None)
@given(PICTURES, st.randoms(use_true_random=False))
def test_the_order_is_that_of_the_pictures_and_not_of_the_rows(pictures, shuffle) -> None:
    ids, scores = arrays(pictures)
    rows = list(range(len(ids)))
    shuffle.shuffle(rows)
    distinct = len(set(chance(SEED, ids).tolist())) == len(ids)
    other = in_order(ids[rows], scores[rows], 40_000, SEED)
    assert not distinct or ids[rows][other.rows].tolist() == ids[in_order(ids, scores, 40_000, SEED).rows].tolist()


def test_while_no_threshold_is_known_scores_far_apart_are_asked_about() -> None:
    ids = np.arange(1, 1_001)
    scores = (ids + 40_000).astype(np.uint16)
    order = in_order(ids, scores, None, SEED)
    assert sorted(order.rows.tolist()) == list(range(1_000))
    unsure = scores[order.rows[order.why == UNCERTAIN]].astype(int)
    # Sixteen lie everywhere, at most a tenth apart.
    assert np.diff(np.sort(unsure[:16])).max() < 100 and np.ptp(unsure[:16]) > 800
    assert len(np.unique(unsure)) == len(unsure)


def test_each_turn_has_its_share_of_chance() -> None:
    ids = np.arange(1, 2_001)
    scores = np.where(ids <= 1_000, ids + 40_000, 0).astype(np.uint16)
    why = in_order(ids, scores, 40_000, SEED).why
    for first in range(0, 1_000, TURN):
        turn = why[first : first + TURN].tolist()
        assert (turn.count(UNCERTAIN), turn.count(SAMPLE), turn.count(UNSCORED)) == (17, 2, 1)


def test_the_sample_is_fair_and_another_tag_has_another() -> None:
    ids = np.arange(1, 20_001)
    scores = np.repeat(np.array([20_000, 60_000], np.uint16), 10_000)
    order = in_order(ids, scores, 20_000, SEED)
    sample = order.rows[order.why == SAMPLE]
    assert len(sample) == 2_000
    assert 900 < np.count_nonzero(scores[sample] == 60_000) < 1_100
    other = in_order(ids, scores, 20_000, seed_of("library", "smile"))
    assert len(set(sample.tolist()) & set(other.rows[other.why == SAMPLE].tolist())) < 300


def test_one_of_each_group_of_copies_stands_for_the_others() -> None:
    ids, scores = np.array([1, 2, 3, 4, 5, 6]), np.array([9, 7, 7, 0, 3, 3], np.uint16)
    groups = Groups.of([[2, 3, 4, 99], [6, 5]])
    nothing = np.zeros(6, np.bool_)
    assert ids[one_of_each(ids, scores, nothing, groups)].tolist() == [1, 2, 5]
    judged = ids == 4
    assert ids[one_of_each(ids, scores, judged, groups)].tolist() == [1, 4, 5]
    assert one_of_each(ids, scores, nothing, Groups.of([])).all()
