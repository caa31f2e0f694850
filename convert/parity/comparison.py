"""How far the scores of a model folder's precisions are from a reference, as numbers and as verdicts.

Nothing here reads a file.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.model.folder import Model
from engine.types import Scores

THRESHOLD = 0.5
MARGIN = 0.002
"""fp32 may give another tag only where the reference's score is this close to the threshold."""
LIMIT = 0.02
"""fp16 and int8 may differ by this distance in the mean, overall and in each category with ENOUGH tags."""
ENOUGH = 100
"""Tags that the reference gives in a category, over all pictures, from which on the category is judged by itself."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Category:
    """One category of tags.

    Attributes:
        positives: tags of it that the reference gives, over all pictures.
        flips: tags of it that only one of the two gives, over all pictures.
        jaccard: see `distance`.
    """

    positives: int
    flips: int
    jaccard: float | None


@dataclass(frozen=True, slots=True)
class Parity:
    """One precision compared with the reference on the same pictures.

    Attributes:
        pictures: how many.
        max_difference: of all scores; None if one of them is no number.
        mean_difference: of all scores; None likewise.
        flips: tags that only one of the two gives, over all pictures.
        flips_beyond_margin: those whose reference score is farther than MARGIN from the threshold.
        jaccard: see `distance`.
        by_category: in the order of the model's tags.
        passed: the verdict.
    """

    pictures: int
    max_difference: float | None
    mean_difference: float | None
    flips: int
    flips_beyond_margin: int
    jaccard: float | None
    by_category: dict[str, Category]
    passed: bool

    def entry(self) -> dict[str, Any]:
        """These figures as the manifest has them."""
        return {
            "pictures": self.pictures,
            "max_difference": self.max_difference,
            "mean_difference": self.mean_difference,
            "flips": self.flips,
            "flips_beyond_margin": self.flips_beyond_margin,
            "jaccard_distance": self.jaccard,
            "by_category": {
                name: {"positives": one.positives, "flips": one.flips, "jaccard_distance": one.jaccard}
                for name, one in self.by_category.items()
            },
            "verdict": "pass" if self.passed else "fail",
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """The precisions of a model folder compared with a reference.

    Attributes:
        model: the model folder.
        folder: where the pictures lie.
        pictures: the files of those that were compared.
        skipped: how many files were passed over: broken, or no pictures.
        undecoded: how many of the pictures TensorFlow cannot decode, so that the reference got the engine's pixels.
        missed: files that TensorFlow decodes and the engine does not.
        threshold: from which score on a tag is given.
        reference: `keras` (the original, with its own preprocessing) or `fp32` (that file, with the engine's).
        expected: the reference's scores, float32 [pictures, tags].
        scores: the same of each precision that was compared.
        parity: the figures of each.
        day: when.
    """

    model: Model
    folder: Path
    pictures: tuple[Path, ...]
    skipped: int
    undecoded: int
    missed: tuple[Path, ...]
    threshold: float
    reference: str
    expected: Scores
    scores: dict[str, Scores]
    parity: dict[str, Parity]
    day: date

    @property
    def passed(self) -> bool:
        """Whether every precision did."""
        return all(one.passed for one in self.parity.values())

    def entry(self, precision: str) -> dict[str, Any]:
        """What was found of a precision, as the manifest has it."""
        about = {"reference": self.reference, "threshold": self.threshold, "date": self.day.isoformat()}
        return about | self.parity[precision].entry()


def given(scores: Scores, threshold: float) -> Mask:
    """The tags that the engine gives for these scores, bool of the same shape."""
    return scores >= np.float32(threshold)


def distances(a: Mask, b: Mask) -> npt.NDArray[np.float64]:
    """|A xor B| / |A or B| of each picture's two tag sets [pictures, tags]; NaN where both are empty.

    The Jaccard distance: Jaccard 1912, "The distribution of the flora in the alpine zone".
    """
    either, differ = (a | b).sum(axis=1), (a ^ b).sum(axis=1)
    return np.where(either > 0, differ / np.maximum(either, 1), np.nan)


def distance(a: Mask, b: Mask) -> float | None:
    """The mean of `distances` over the pictures where not both sets are empty; None if there is no such picture."""
    found = distances(a, b)
    found = found[~np.isnan(found)]
    return float(found.mean()) if found.size else None


def compare(reference: Scores, scores: Scores, categories: tuple[str, ...], threshold: float, exact: bool) -> Parity:
    """Compares `scores` with `reference`.

    Args:
        reference: float32 [pictures, tags].
        scores: the same of the precision under test.
        categories: of each tag.
        threshold: from which score on a tag is given.
        exact: judge by flips beyond the margin (fp32), else by distance (fp16, int8).
    """
    a, b = given(reference, threshold), given(scores, threshold)
    finite = bool(np.isfinite(scores).all())
    beyond = (a ^ b) & (np.abs(reference - np.float32(threshold)) > MARGIN)
    names = np.asarray(categories)
    by_category = {name: _category(a[:, names == name], b[:, names == name]) for name in dict.fromkeys(categories)}
    overall = distance(a, b)
    close = overall is not None and all(
        one is None or one <= LIMIT
        for one in (overall, *(c.jaccard for c in by_category.values() if c.positives >= ENOUGH))
    )
    difference = np.abs(reference - scores)
    return Parity(
        pictures=len(reference),
        max_difference=float(difference.max()) if finite else None,
        mean_difference=float(difference.mean(dtype=np.float64)) if finite else None,
        flips=int((a ^ b).sum()),
        flips_beyond_margin=int(beyond.sum()),
        jaccard=overall,
        by_category=by_category,
        passed=finite and (not beyond.any() if exact else close),
    )


def _category(a: Mask, b: Mask) -> Category:
    return Category(int(a.sum()), int((a ^ b).sum()), distance(a, b))
