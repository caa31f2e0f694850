"""Holds a converted tagger against the original, each fed in its own way, on a few made-up pictures."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from convert.errors import ConvertError
from convert.taggers.original import open_original, sigmoid, start
from convert.taggers.source import Source
from engine.families import family_of
from engine.types import Preprocessing, Scores

LIMIT = 1e-4
"""How far a score may be from the original's: float32 sums in another order."""
_NEAR = 1e-3  # how far beyond 0 and 1 rounding may carry a score


def check(source: Source, output: str, converted: Path, rows: Preprocessing) -> float:
    """The largest difference of a score.

    Raises:
        ConvertError: it is larger than LIMIT; a score is no number, or is none that the flags promise; the model does
            not start, has another number of outputs, or takes only one picture at a time.
    """
    pictures = sample_pictures(rows.height, rows.width)
    raw = _original(source, output, pictures, rows)
    wanted = sigmoid(raw) if source.traits.logits else raw
    found = _converted(converted, pictures, rows)
    difference = float(np.abs(found - wanted).max())
    if not difference <= LIMIT:
        raise ConvertError(
            f"{source.model} gives other scores after the conversion (up to {difference:.2g} apart): if its batch "
            "has a fixed size, export it with a batch of any size."
        )
    return difference


def sample_pictures(height: int, width: int) -> list[bytes]:
    """PNG files of several shapes: as large as the canvas, larger and smaller, tall and wide, one with alpha."""
    random = np.random.default_rng(0)
    sizes = [(height, width, 3), (height * 2 + 1, width, 3), (height // 2 + 1, width + 5, 4), (7, 5, 3)]
    pictures = []
    for rows, columns, channels in sizes:
        squares = random.integers(0, 256, (rows // 9 + 1, columns // 9 + 1, channels), np.uint8)
        pixels = squares.repeat(9, axis=0).repeat(9, axis=1)[:rows, :columns]
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
        pictures.append(file.getvalue())
    return pictures


def _original(source: Source, output: str, pictures: list[bytes], rows: Preprocessing) -> Scores:
    run = open_original(source.model, output, source.traits, (rows.height, rows.width))
    try:
        raw = np.stack([run(data) for data in pictures])
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ConvertError(
            f"{source.model} does not run on pictures of {rows.width}x{rows.height} as {source.traits.layout} "
            f"({' '.join(str(error).split())[:200]}): set --layout and --size as it was trained."
        ) from error
    if raw.ndim != 2 or raw.shape[1] != len(source.tags.names):
        raise ConvertError(
            f"{source.model} gives {raw[0].size} scores and there are {len(source.tags.names)} tags: they belong to "
            "different models, take both from the same release."
        )
    if not np.isfinite(raw).all():
        raise ConvertError(f"{source.model} gives scores that are no numbers: download or export it again.")
    are_scores = bool((raw >= -_NEAR).all() and (raw <= 1 + _NEAR).all())
    if are_scores == source.traits.logits:
        said = "logits, and it gives scores in 0..1" if are_scores else f"scores, and it gives {raw.min():.3g} to "
        rest = ": leave --logits away." if are_scores else f"{raw.max():.3g}: give --logits if these are logits."
        raise ConvertError(f"{source.model} is said to give {said}{rest}")
    return raw


def _converted(file: Path, pictures: list[bytes], rows: Preprocessing) -> Scores:
    family = family_of(rows)
    batch = np.empty((len(pictures), rows.height, rows.width, 3), rows.dtype)
    for data, row in zip(pictures, batch, strict=True):
        family.fit(family.decode(data, "a.png", max_pixels=1 << 30), row)
    session = start(file)
    try:
        return np.asarray(session.run(["scores"], {"pixels": batch})[0])
    except Exception as error:
        raise ConvertError(
            f"the model takes no batch of {len(pictures)} pictures ({' '.join(str(error).split())[:200]}): export "
            "it with a batch of any size."
        ) from error
