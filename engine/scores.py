"""Scores as they are kept beside a medium: a blob of four bytes a score, so that thresholds can change later.

A score is kept as a step of 1/60,000, rounded down. A threshold of up to four decimals lies exactly between two steps,
so what counts by the steps is what counted by the scores; and the three decimals of the media API stay the same, but
for a score that lies exactly between two of them.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

STEPS = 60_000
"""Of the scores from 0 to 1. The highest one is a score of 1 alone."""
NEVER = STEPS + 1
"""A least step that no score reaches."""
_BOUNDS = (np.arange(STEPS + 1) / STEPS).astype(np.float32)  # the least score of each step, as thresholds are compared

Numbers = npt.NDArray[np.unsignedinteger]
"""[N]: tags by their place in the model's order."""
Steps = npt.NDArray[np.uint16]
"""[N]: scores, each as its step."""


@cache
def number_type(tags: int) -> np.dtype[np.unsignedinteger]:
    """How a tag's number is kept in a model of so many tags: two bytes, but for the few larger models."""
    return np.dtype("<u2" if tags <= 1 << 16 else "<u4")


@cache
def _entry_type(tags: int) -> np.dtype[np.void]:
    return np.dtype([("tag", number_type(tags)), ("step", "<u2")])


def steps_of(scores: npt.NDArray[np.float32]) -> Steps:
    """The step of each score, float32 of any shape in 0..1."""
    steps = np.clip(scores.astype(np.float64) * STEPS, 0, STEPS).astype(np.int64)
    # A bound that float32 rounds down lies below its step: a score that is the bound belongs to the step all the same.
    steps += (steps < STEPS) & (_BOUNDS[np.minimum(steps + 1, STEPS)] <= scores)
    return steps.astype(np.uint16)


def scores_of(steps: Steps) -> npt.NDArray[np.float64]:
    """The middle of each step, with five decimals; 1 for the highest."""
    return np.minimum(np.round((steps + 0.5) / STEPS, 5), 1.0)


def least_steps(least: npt.NDArray[np.float32]) -> Steps:
    """The lowest step that counts, for each threshold, float32 [N]; `NEVER` for one above 1."""
    return np.searchsorted(_BOUNDS, least).astype(np.uint16)


def pack(scores: npt.NDArray[np.float32], taken: Sequence[Sequence[int]], floor: float) -> list[bytes]:
    """The blob of each picture: its scores of at least `floor`, and those of the tags that it was given.

    Args:
        scores: float32 [N, tags] of N pictures.
        taken: of each picture the tags that count, by number.
        floor: the least score that is kept, above 0 to 1.
    """
    kept = scores >= np.float32(floor)
    for row, numbers in zip(kept, taken, strict=True):
        row[list(numbers)] = True
    rows, tags = np.divmod(np.flatnonzero(kept), scores.shape[1])  # a fifth of the time of np.nonzero
    entries = np.empty(len(tags), _entry_type(scores.shape[1]))
    entries["tag"], entries["step"] = tags, steps_of(scores[rows, tags])
    blob, size = entries.tobytes(), entries.itemsize
    ends = (np.cumsum(np.bincount(rows, minlength=len(scores))) * size).tolist()
    return [blob[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def unpack(blob: bytes, tags: int) -> tuple[Numbers, Steps]:
    """Numbers and steps of a blob, or of blobs that were joined; of each picture ascending by number.

    Raises `ValueError` for what is no blob of a model with so many tags.
    """
    entries = np.frombuffer(blob, _entry_type(tags))
    if len(entries) and int(entries["tag"].max()) >= tags:
        raise ValueError(f"scores of a tag number {entries['tag'].max()}, and the model has {tags} tags")
    return entries["tag"], entries["step"]


def pack_numbers(numbers: Sequence[int] | Numbers, tags: int) -> bytes:
    """Tags of one picture, ascending by number, of a model with so many."""
    return np.asarray(numbers, number_type(tags)).tobytes()


def count(blobs: Sequence[bytes], tags: int) -> npt.NDArray[np.intp]:
    """How many scores each blob holds. Raises `ValueError` for one that is cut."""
    sizes = np.fromiter(map(len, blobs), np.intp, len(blobs))
    if (sizes % _entry_type(tags).itemsize).any():
        raise ValueError(f"scores that are not of a model with {tags} tags")
    return sizes // _entry_type(tags).itemsize
