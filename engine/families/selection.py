"""From scores to the records that the API wants."""

from collections.abc import Sequence

import numpy as np

from engine.types import Record, Scores


def records(scores: Scores, tags: Sequence[str], threshold: float) -> tuple[Record, ...]:
    """The tags of one picture with score >= threshold, in the order of the model's tags.

    Args:
        scores: float32 [tags], in 0..1.
        tags: the names, in the model's order.
        threshold: compared in float32, as the original compares it.
    """
    found = np.flatnonzero(scores >= np.float32(threshold))
    return tuple(
        Record(tags[i], f"{score:05.3f}") for i, score in zip(found.tolist(), scores[found].tolist(), strict=True)
    )
