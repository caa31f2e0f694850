"""From verdicts on some pictures to the threshold, precision and recall of a tag on all of them.

Queues ask more about uncertain pictures than about sure ones, so plain shares of yes among the verdicts would be wrong.
But whether a picture was asked about depends on its score alone. So how often a score means yes is estimated from the
verdicts, and then applied to the scores of *all* pictures: what was judged counts as it was judged, what was not as the
verdicts on like scores foretell. This is prediction for a finite population; where the choice depends on what is
known of each picture, it needs no other weights (Valliant, Dorfman, Royall, "Finite Population Sampling and Inference",
2000, chapter 2; Rubin, "Inference and missing data", Biometrika 63, 1976).

How often a score means yes is fitted as a function that never falls: isotonic regression (Zadrozny, Elkan,
"Transforming classifier scores into accurate multiclass probability estimates", KDD 2002).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST: Final = 20
"""Verdicts without which there is no estimate."""
_BUCKETS = 64
_RESAMPLES = 400
_Z: Final = 1.959964
"""Of the normal distribution, for 95 %."""


class Share(NamedTuple):
    """A share in 0..1 and its 95 % interval."""

    value: float
    low: float
    high: float


class Point(NamedTuple):
    """What would be with one threshold."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Estimate:
    """What verdicts tell of a tag.

    Attributes:
        threshold: with the best F1; `low` and `high`: its 95 % interval.
        lowest: it is the lowest score that is known, so that the best may lie below.
        precision, recall: with that threshold. Recall is among the pictures that a model scored.
        f1: of both.
        curve: by threshold, ascending.
    """

    threshold: float
    low: float
    high: float
    lowest: bool
    precision: Share
    recall: Share
    f1: float
    curve: list[Point]


def estimate(
    scores: Floats, said: npt.NDArray[np.int8], sampled: npt.NDArray[np.bool_], seed: int = 0
) -> Estimate | None:
    """The threshold with the best F1 among all scored pictures, and what is to be expected of it.

    The interval of the threshold is a percentile bootstrap over the verdicts (Efron, Tibshirani, "An Introduction to
    the Bootstrap", 1993, chapter 13), in which pictures that were not judged are drawn as well. Those of precision and
    recall are Wilson's ("Probable inference, the law of succession, and statistical inference", JASA 22, 1927), with
    Kish's effective number of verdicts ("Survey Sampling", 1965, section 11.7) and the correction for a finite
    population.

    Args:
        scores: [N] in 0..1, of all pictures that a model scored, one of each group of copies; N at least 1.
        said: [N]: 1 yes, 0 no, -1 not judged.
        sampled: [N]: judged because of its score alone. Other verdicts are known, but tell nothing of other pictures.
        seed: of the bootstrap.

    Returns:
        None where no sampled verdict is a yes: then no threshold is better than another.
    """
    counts = _count(scores, said, sampled)
    if counts is None:
        return None
    right, curve = _expected(counts)
    best = int(np.argmax(curve.f1[0]))
    least = float(counts.thresholds[best])
    moved = counts.thresholds[np.argmax(_again(counts, np.random.default_rng(seed)).f1, axis=1)]
    low, high = np.quantile(moved, [0.025, 0.975], method="nearest").tolist()
    precision, recall = _intervals(counts, curve, float(right.sum()), best)
    return Estimate(
        threshold=round(least, 4),
        low=round(min(low, least), 4),
        high=round(max(high, least), 4),
        lowest=best == 0,
        precision=precision,
        recall=recall,
        f1=round(float(curve.f1[0, best]), 4),
        curve=_points(counts, curve),
    )


def best_point(scores: Floats, said: npt.NDArray[np.int8], sampled: npt.NDArray[np.bool_]) -> Point | None:
    """The point of `estimate` with the best F1, without the intervals: some hundred times as fast."""
    counts = _count(scores, said, sampled)
    if counts is None:
        return None
    points = _points(counts, _expected(counts)[1])
    return max(points, key=lambda point: point.f1)


class _Counts(NamedTuple):
    """[K]: pictures by bucket, which are ranges of scores, ascending.

    Attributes:
        thresholds: where each bucket begins.
        yes, no: sampled verdicts.
        known: all verdicts that are yes.
        left: pictures that were not judged.
        every: all pictures.
    """

    thresholds: Floats
    yes: npt.NDArray[np.int64]
    no: npt.NDArray[np.int64]
    known: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    every: npt.NDArray[np.int64]


def _count(scores: Floats, said: npt.NDArray[np.int8], sampled: npt.NDArray[np.bool_]) -> _Counts | None:
    """None where no sampled verdict is a yes."""
    learned = sampled & (said >= 0)
    if not (learned & (said == 1)).any():
        return None
    cuts = _cuts(scores[learned])
    of = np.searchsorted(cuts, scores, side="right")
    groups = (learned & (said == 1), learned & (said == 0), said == 1, said < 0, said < 2)
    counts = [np.bincount(of[rows], minlength=len(cuts) + 1) for rows in groups]
    return _Counts(np.concatenate([[scores.min()], cuts]), *counts)


def _expected(counts: _Counts) -> tuple[Floats, "_Curve"]:
    """Pictures of each bucket that have the tag, and what follows."""
    number = (counts.yes + counts.no)[None].astype(np.float64)
    right = counts.known + counts.left * _rising(counts.yes[None].astype(np.float64), number)
    return right, _curve(right, counts.every)


def _again(counts: _Counts, rng: np.random.Generator) -> "_Curve":
    """What would have been expected had other pictures been judged, _RESAMPLES times."""
    cells = np.concatenate([counts.yes, counts.no])
    again = rng.multinomial(cells.sum(), cells / cells.sum(), _RESAMPLES).astype(np.float64)
    yes, no = np.split(again, 2, axis=1)
    drawn: Floats = rng.binomial(counts.left, np.clip(_rising(yes, yes + no), 0.0, 1.0)).astype(np.float64)
    return _curve(counts.known + drawn, counts.every)


def _intervals(counts: _Counts, curve: "_Curve", right: float, best: int) -> tuple[Share, Share]:
    """Precision and recall when the buckets from `best` on are kept. `right`: pictures that have the tag in all."""
    number = counts.yes + counts.no
    weights = counts.every / np.maximum(number, 1)  # of one verdict
    judged, pictures = float((counts.every - counts.left)[best:].sum()), float(counts.every[best:].sum())
    precision = _interval(curve.precision[0, best], _effective(weights[best:], number[best:]), judged, pictures)
    recall = _interval(curve.recall[0, best], _effective(weights, counts.yes), float(counts.known.sum()), right)
    return precision, recall


def wilson(share: float, number: float) -> Share:
    """A share of `number` independent observations, with Wilson's 95 % interval; 0..1 where there are none."""
    if number <= 0:
        return Share(share, 0.0, 1.0)
    middle = share + _Z**2 / (2 * number)
    half = _Z * np.sqrt(share * (1 - share) / number + _Z**2 / (4 * number**2))
    scale = 1 + _Z**2 / number
    low, high = max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
    return Share(round(share, 4), round(float(min(low, share)), 4), round(float(max(high, share)), 4))


class _Curve(NamedTuple):
    """[R, K] each: by resample and by the lowest bucket that is kept."""

    precision: Floats
    recall: Floats
    f1: Floats


def _curve(right: Floats, every: npt.NDArray[np.int64]) -> _Curve:
    """`right`: [R, K], pictures of each bucket that truly have the tag; `every`: [K], all of its pictures."""
    kept_right = np.cumsum(right[:, ::-1], axis=1)[:, ::-1]
    kept = np.cumsum(every[::-1])[::-1]
    all_right = kept_right[:, :1]
    return _Curve(
        kept_right / np.maximum(kept, 1),
        kept_right / np.maximum(all_right, 1e-9),
        2 * kept_right / np.maximum(kept + all_right, 1e-9),
    )


def _points(counts: _Counts, curve: _Curve) -> list[Point]:
    """The first row of a curve, by threshold."""
    columns = (counts.thresholds, curve.precision[0], curve.recall[0], curve.f1[0])
    return [Point(*row) for row in np.round(np.stack(columns, axis=1), 4).tolist()]


def _cuts(scores: Floats) -> Floats:
    """[K - 1]: where one bucket ends and the next begins, between two scores that were judged; ascending."""
    values, counts = np.unique(scores, return_counts=True)
    ends = np.arange(1, len(values))
    if len(values) > _BUCKETS:  # of as many verdicts each as can be
        share = np.cumsum(counts)[:-1] * _BUCKETS // len(scores)
        ends = ends[np.flatnonzero(np.diff(share, prepend=0))]
    return np.array([_between(values[end - 1], values[end]) for end in ends])


def _between(low: float, high: float) -> float:
    """The shortest decimal above `low` and at most `high`, near the middle."""
    middle = (low + high) / 2
    return next((short for digits in (2, 3, 4) if low < (short := round(middle, digits)) <= high), high)


def _rising(yes: Floats, number: Floats) -> Floats:
    """[R, K]: of each resample the shares `yes` / `number` that never fall and are nearest to it.

    By the max-min formula: the largest, over all beginnings up to a bucket, of the smallest mean from there to an end
    behind it (Robertson, Wright, Dykstra, "Order Restricted Statistical Inference", 1988, theorem 1.4.4). Buckets
    without verdicts take what their neighbours say.
    """
    resamples, buckets = yes.shape
    first = np.zeros((resamples, 1))
    yes_to = np.concatenate([first, np.cumsum(yes, axis=1)], axis=1)
    number_to = np.concatenate([first, np.cumsum(number, axis=1)], axis=1)
    found = np.full((resamples, buckets), -np.inf)
    for begin in range(buckets):
        total = number_to[:, begin + 1 :] - number_to[:, begin, None]
        mean = (yes_to[:, begin + 1 :] - yes_to[:, begin, None]) / np.maximum(total, 1e-9)
        mean[total == 0] = np.inf
        least = np.minimum.accumulate(mean[:, ::-1], axis=1)[:, ::-1]
        least[np.isinf(least)] = -np.inf
        found[:, begin:] = np.maximum(found[:, begin:], least)
    return found


def _effective(weights: Floats, numbers: npt.NDArray[np.int64]) -> float:
    """Kish: as many verdicts of equal weight would say as much. Both [K], by bucket."""
    squares = float((weights**2 * numbers).sum())
    return float((weights * numbers).sum()) ** 2 / squares if squares else 0.0


def _interval(share: float, number: float, judged: float, pictures: float) -> Share:
    """Wilson's interval of a share of `pictures`, of which `judged` are known, and `number` effectively."""
    left = pictures - judged
    if left < 1e-9:
        return wilson(share, np.inf)
    return wilson(float(share), number * max(pictures - 1, 1) / left)
