"""What a verification found: figures for the manifest, scores for the page."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from convert.parity.figures import Parity
from engine.model.folder import Model
from engine.types import Scores


@dataclass(frozen=True, slots=True)
class Comparison:
    """The precisions of a model folder held against a reference.

    Attributes:
        model: the model folder.
        folder: where the pictures lie.
        pictures: the files of those that were compared.
        skipped: how many files were passed over: broken, or no pictures.
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
        """What the manifest says of a precision."""
        about = {"reference": self.reference, "threshold": self.threshold, "date": self.day.isoformat()}
        return about | self.parity[precision].entry()
