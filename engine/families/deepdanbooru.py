"""DeepDanbooru: alpha dropped, fitted into the canvas with repeated edges, one threshold for all tags."""

from collections.abc import Sequence

import numpy as np

from engine.families.family import Select
from engine.pictures.decode import decode, probe
from engine.pictures.fit import fit
from engine.types import Preprocessing, Rgb, Row, Scores, TagScore


class DeepDanbooru:
    """See `Family`. What the original does stands in `engine.pictures.decode` and `engine.pictures.fit`."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def pixels(self, data: bytes, key: str) -> int:
        header = probe(data, key)
        return header.width * header.height

    def decode(self, data: bytes, key: str, *, max_pixels: int) -> Rgb:
        return decode(data, key, max_pixels=max_pixels)

    def fit(self, rgb: Rgb, row: Row) -> None:
        fit(rgb, self.preprocessing.height, self.preprocessing.width, row)

    def selection(self, tags: Sequence[str], categories: Sequence[str], threshold: float) -> Select:
        def select(scores: Scores) -> tuple[TagScore, ...]:
            return above(scores, tags, threshold)

        return select


def above(scores: Scores, tags: Sequence[str], threshold: float) -> tuple[TagScore, ...]:
    """The tags of one picture with score >= threshold, in the order of the model's tags.

    Args:
        scores: float32 [tags], in 0..1.
        tags: the names, in the model's order.
        threshold: compared in float32, as the original compares it.
    """
    found = np.flatnonzero(scores >= np.float32(threshold))
    return tuple(TagScore(tags[i], score) for i, score in zip(found.tolist(), scores[found].tolist(), strict=True))
