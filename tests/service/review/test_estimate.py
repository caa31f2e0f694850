"""Thresholds from verdicts: on pictures whose truth is known, and at the ends where formulas break."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.review.estimate import _rising, best_point, estimate, wilson
from service.review.order import in_order, seed_of


def review(scores: np.ndarray, truth: np.ndarray, verdicts: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What has been said after so many verdicts, twenty at a time in the order of the queue."""
    ids, steps = np.arange(1, len(scores) + 1), np.round(scores * 65_535).astype(np.uint16)
    said, sampled = np.full(len(scores), -1, np.int8), np.zeros(len(scores), np.bool_)
    centre = None
    while np.count_nonzero(sampled) < verdicts:
        order = in_order(ids, steps, centre, seed_of("library", str(seed)))
        rows = order.rows[said[order.rows] < 0][:20]
        said[rows], sampled[rows] = truth[rows], True
        best = best_point(scores, said, sampled)
        centre = round(best.threshold * 65_535) if best else None
    return said, sampled


def f1(scores: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    kept = scores >= threshold
    return float(2 * np.count_nonzero(kept & truth) / (np.count_nonzero(kept) + np.count_nonzero(truth)))


def drawn(seed: int, pictures: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 0.5 to 1, of which those around 0.72 are right as often as not."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.uniform(0.5, 1, pictures), 3)
    return scores, rng.random(pictures) < 1 / (1 + np.exp(-12 * (scores - 0.72)))


def test_the_estimate_is_right_although_uncertain_pictures_are_asked_more_often() -> None:
    """Forty libraries: the threshold is nearly the best one, and the intervals hold what they say."""
    loss, naive, held = [], [], {"threshold": 0, "precision": 0, "recall": 0}
    for seed in range(40):
        scores, truth = drawn(seed)
        said, sampled = review(scores, truth, 200, seed)
        found = estimate(scores, said, sampled, seed)
        assert found
        every = [f1(scores, truth, one) for one in np.unique(scores)]
        best = float(np.unique(scores)[int(np.argmax(every))])
        loss.append(max(every) - f1(scores, truth, found.threshold))
        kept = scores >= found.threshold
        right = np.count_nonzero(kept & truth)
        precision, recall = right / np.count_nonzero(kept), right / np.count_nonzero(truth)
        held["threshold"] += found.low - 0.01 <= best <= found.high + 0.01
        held["precision"] += bool(found.precision.low <= precision <= found.precision.high)
        held["recall"] += bool(found.recall.low <= recall <= found.recall.high)
        among = kept & (said >= 0)
        naive.append(abs(np.mean(said[among]) - precision) - abs(found.precision.value - precision))
    assert np.mean(loss) < 0.01
    assert held["threshold"] >= 33 and min(held["precision"], held["recall"]) >= 38, held
    assert np.mean(naive) > 0.05  # the plain share of yes among the verdicts is far off


def test_when_all_is_judged_the_estimate_is_the_truth() -> None:
    scores, truth = drawn(1, 300)
    found = estimate(scores, truth.astype(np.int8), np.ones(300, np.bool_))
    assert found
    kept = scores >= found.threshold
    precision = np.count_nonzero(kept & truth) / np.count_nonzero(kept)
    assert found.precision == pytest.approx((precision,) * 3, abs=1e-4)
    assert found.f1 == pytest.approx(f1(scores, truth, found.threshold), abs=1e-4)
    assert found.f1 > max(f1(scores, truth, one) for one in np.unique(scores)) - 0.02  # 64 thresholds are tried
    assert found.recall.high - found.recall.low < 1e-3


def test_known_pictures_that_were_not_sampled_tell_nothing_of_others() -> None:
    scores, truth = drawn(2)
    said, sampled = review(scores, truth, 100, 2)
    plain = best_point(scores, said, sampled)
    said[(said < 0) & (scores > 0.95) & ~truth] = 0  # somebody searched the wrong ones out
    corrected = best_point(scores, said, sampled)
    assert plain and corrected
    assert abs(plain.threshold - corrected.threshold) < 0.05
    sampled[said >= 0] = True
    misled = best_point(scores, said, sampled)
    assert misled and misled.precision < corrected.precision - 0.05


def test_what_cannot_be_told() -> None:
    scores, said = np.array([0.5, 0.6, 0.7]), np.array([0, -1, 0], np.int8)
    assert estimate(scores, said, said >= 0) is None  # no yes
    said[1] = 1
    assert estimate(scores, said, np.array([True, False, True])) is None


def test_one_score_for_all() -> None:
    said = np.array([1, 0, 1, -1], np.int8)
    found = estimate(np.full(4, 0.8), said, said >= 0)
    assert found and (found.threshold, found.low, found.high, found.lowest) == (0.8, 0.8, 0.8, True)
    assert found.precision.low < 2 / 3 < found.precision.high
    assert found.recall.value == 1


def test_twenty_times_yes_is_not_certainty() -> None:
    scores = np.linspace(0.5, 1, 1_000)
    said = np.full(1_000, -1, np.int8)
    said[::50] = 1
    found = estimate(scores, said, said >= 0)
    assert found and found.lowest and found.precision.value == 1
    assert 0.8 < found.precision.low < 0.9


def test_the_more_of_all_pictures_are_judged_the_surer_it_is() -> None:
    """The same verdicts on two thirds of a library say more of it than on a thousandth of a larger one."""
    said = np.array([1, 1, 1, 0] * 10 + [-1] * 20, np.int8)
    few = estimate(np.full(60, 0.8), said, said >= 0)
    many = estimate(
        np.full(40_000, 0.8), np.concatenate([said[:40], np.full(39_960, -1, np.int8)]), np.arange(40_000) < 40
    )
    assert few and many
    wide, narrow = (one.precision.high - one.precision.low for one in (many, few))
    assert narrow < 0.7 * wide  # the square root of a third is 0.58


def test_wilson() -> None:
    """Against the table of Newcombe, "Two-sided confidence intervals for the single proportion", 1998, method 3."""
    assert wilson(81 / 263, 263) == pytest.approx((0.3080, 0.2553, 0.3662), abs=1e-4)
    assert wilson(15 / 148, 148) == pytest.approx((0.1014, 0.0624, 0.1605), abs=1e-4)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.0, 0.1611), abs=1e-4)
    assert wilson(0.0, 0) == (0.0, 0.0, 1.0)


def pool_adjacent(yes: list[float], number: list[float]) -> list[float]:
    """Isotonic regression by the other well-known algorithm."""
    blocks: list[list[float]] = []
    for one, of in zip(yes, number, strict=True):
        blocks.append([one, of, 1])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return [block[0] / block[1] for block in blocks for _ in range(int(block[2]))]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any), min_size=1, max_size=20))
def test_shares_never_fall(counts) -> None:
    yes = np.array([[one for one, _ in counts]], float)
    number = yes + np.array([[other for _, other in counts]])
    assert _rising(yes, number)[0] == pytest.approx(pool_adjacent(yes[0].tolist(), number[0].tolist()), abs=1e-7)


def test_a_bucket_without_verdicts_takes_what_its_neighbours_say() -> None:
    found = _rising(np.array([[0.0, 0, 0, 2, 0]]), np.array([[0.0, 2, 0, 2, 0]]))[0]
    assert found.tolist() == pytest.approx([0, 0, 0, 1, 1]) or found.tolist() == pytest.approx([0, 0, 1, 1, 1])
