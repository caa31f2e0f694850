"""Median and spread of repeated measurements, and whether they meet a target for certain."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
MET, MISSED, INCONCLUSIVE = "met", "missed", "inconclusive"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured quantity.

    Attributes:
        median: of all samples.
        low: lower end of the spread; the interval low..high holds the true median with 95 % confidence.
        high: upper end.
        samples: in the order they were taken.
    """

    median: float
    low: float
    high: float
    samples: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "median": _rounded(self.median),
            "low": _rounded(self.low),
            "high": _rounded(self.high),
            "samples": [_rounded(sample) for sample in self.samples],
        }


def figure(samples: Sequence[float]) -> Figure:
    """Median and spread of at least one sample.

    The spread is the distribution-free confidence interval between two order statistics (binomial; Conover, Practical
    Nonparametric Statistics, 3.2): of 9 samples from the 2nd to the 8th. Below 6 samples no such interval reaches 95 %,
    and the spread is all of them.
    """
    ordered = sorted(samples)
    cut = _cut(len(ordered))
    return Figure(statistics.median(ordered), ordered[cut], ordered[-1 - cut], tuple(samples))


def verdict(measured: Figure, target: float, *, at_least: bool) -> str:
    """`met` or `missed` only where the whole spread lies on one side of the target; else `inconclusive`."""
    above, below = measured.low >= target, measured.high <= target
    good, bad = (above, measured.high < target) if at_least else (below, measured.low > target)
    return MET if good else MISSED if bad else INCONCLUSIVE


def _cut(n: int) -> int:
    """How many samples to leave out at each end of the `n` sorted ones.

    The interval of the others misses the true median only if no more than `cut` samples lie below it, or above it. Each
    sample does so with probability 1/2, so the binomial distribution gives the probability.
    """
    cut, missed = 0, 0.0
    for k in range(n // 2):
        missed += 2 * math.comb(n, k) / 2**n
        if missed > 1 - CONFIDENCE:
            break
        cut = k
    return cut


def _rounded(value: float) -> float:
    """To five significant digits: further ones are noise, and make files hard to compare."""
    return float(f"{value:.5g}")


def latencies(asks: Iterable[Callable[[], object]]) -> dict[str, float]:
    """Calls these one after the other: the median of what one takes and the 95th percentile, in ms."""
    spent = []
    for ask in asks:
        began = time.perf_counter()
        ask()
        spent.append(1000 * (time.perf_counter() - began))
    return {"median_ms": round(float(np.median(spent)), 1), "p95_ms": round(float(np.percentile(spent, 95)), 1)}
