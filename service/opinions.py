"""How an opinion is kept: all tags that one model gives one picture, as one blob of six bytes a tag."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

ENTRY = np.dtype([("tag", "<u4"), ("score", "<u2")])
"""A tag's id and its score, 1..65,535 for 0..1: the three decimals of the media API, and a fourth, are kept exactly."""
_ONE = 65_535

Entries = npt.NDArray[np.void]
"""[N] of ENTRY."""


def score_of(step: int) -> float:
    """The score in 0..1, with four decimals."""
    return round(int(step) / _ONE, 4)


def pack(tags: Mapping[int, float]) -> bytes:
    """The blob of {tag id: score in 0..1}. A score of 0 is kept as 1 step: the tag was given all the same."""
    ids = np.fromiter(tags.keys(), np.uint32, len(tags))
    steps = np.rint(np.fromiter(tags.values(), np.float64, len(tags)) * _ONE)
    order = np.argsort(ids)
    packed = np.empty(len(tags), ENTRY)
    packed["tag"], packed["score"] = ids[order], np.clip(steps[order], 1, _ONE)
    return packed.tobytes()


def entries(blob: bytes) -> Entries:
    """What is in a blob, or in several blobs that were joined; ascending by tag within each."""
    return np.frombuffer(blob, dtype=ENTRY)


def unpack(blob: bytes) -> dict[int, float]:
    """{tag id: score in 0..1} of a blob."""
    return {tag_id: score_of(step) for tag_id, step in entries(blob).tolist()}
