"""Medians, spreads, and when they say enough."""

import math

import pytest

from bench.stats import INCONCLUSIVE, MET, MISSED, figure, verdict


def test_nine_samples_spread_from_the_second_to_the_eighth() -> None:
    found = figure([9, 1, 8, 2, 7, 3, 6, 4, 5])
    assert (found.median, found.low, found.high) == (5, 2, 8)
    assert found.samples == (9, 1, 8, 2, 7, 3, 6, 4, 5)


@pytest.mark.parametrize("n", range(6, 40))
def test_the_spread_holds_the_median_with_95_per_cent(n: int) -> None:
    found = figure(range(n))
    cut = int(found.low)
    outside = [2 * sum(math.comb(n, k) for k in range(c)) / 2**n for c in (cut + 1, cut + 2)]
    assert outside[0] <= 0.05 < outside[1]
    assert found.high == n - 1 - cut


@pytest.mark.parametrize("n", range(1, 6))
def test_few_samples_spread_over_all_of_them(n: int) -> None:
    found = figure(range(n))
    assert (found.low, found.high) == (0, n - 1)


@pytest.mark.parametrize(
    ("samples", "at_least", "expected"),
    [
        ([0.97, 0.98, 0.99], True, MET),
        ([0.90, 0.91, 0.92], True, MISSED),
        ([0.95, 0.98, 0.99], True, INCONCLUSIVE),
        ([0.90, 0.92, 0.97], True, INCONCLUSIVE),
        ([140, 145, 150], False, None),
    ],
)
def test_a_spread_across_the_target_is_inconclusive(samples, at_least, expected) -> None:
    target = 0.97 if at_least else 150
    assert verdict(figure(samples), target, at_least=at_least) == (expected or MET)


def test_at_most_is_the_mirror_of_at_least() -> None:
    assert verdict(figure([151, 160]), 150, at_least=False) == MISSED
    assert verdict(figure([149, 151]), 150, at_least=False) == INCONCLUSIVE
