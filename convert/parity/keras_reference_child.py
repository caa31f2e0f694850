"""`python -m convert.parity.keras_reference_child MODEL HEIGHT WIDTH PICTURES OUT`: the scores of the original.

PICTURES is a JSON list of files. OUT becomes float32 [pictures, tags], a row of NaN for a picture that cannot be read;
a line goes to stdout after each, with the word `undecoded` if TensorFlow could not decode it. One picture is in memory
at a time.

Written after `deepdanbooru.commands.evaluate.evaluate_image`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the same figures on every machine

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from convert.parity.original import fit_as_the_original
from convert.pictures import is_small, read

UNDECODED = "undecoded"


def load(path: Path, height: int, width: int) -> tuple[npt.NDArray[np.float32], bool]:
    """A picture as the model was trained, float32 [1, height, width, 3], 0..1; and whether TensorFlow decoded it.

    TensorFlow decodes whatever it can, so that a decoder of the engine's that differs is seen. Of an animation it takes
    the first frame, as the engine does, where DeepDanbooru raises. For other formats (AVIF, TIFF) the engine's pixels
    must do: there only fitting and model are compared. Raises ValueError where the engine cannot read it either, or
    the original finds no size on the canvas for it.
    """
    if not is_small(path):
        raise ValueError("too large")
    try:
        # The pixels of decode_png, which DeepDanbooru calls, but that gives WebP an axis of frames.
        pixels, decoded = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False), True
    except tf.errors.OpError:
        pixels, decoded = read(path), False
    if pixels is None:
        raise ValueError("unreadable")
    return np.asarray(fit_as_the_original(pixels, height, width) / 255.0, np.float32)[None], decoded


def main(model: str, height: int, width: int, asked: str, out: str) -> None:
    """Scores the pictures."""
    pictures = [Path(name) for name in json.loads(Path(asked).read_text(encoding="utf-8"))]
    keras = _loaded(model)
    tags = keras.output_shape[-1]
    with Path(out).open("wb") as file:
        for path in pictures:
            decoded = True
            try:
                row, decoded = load(path, height, width)
            except (OSError, ValueError, tf.errors.OpError):
                scores = np.full((1, tags), np.nan, np.float32)
            else:
                scores = np.asarray(keras(row, training=False), np.float32)
            file.write(scores.tobytes())
            print("" if decoded else UNDECODED, flush=True)


def _loaded(model: str) -> Any:  # noqa: ANN401 - Keras has no types
    import tf_keras

    try:
        return tf_keras.models.load_model(model, compile=False)
    except (TypeError, ValueError):  # written by Keras 3
        return tf.keras.models.load_model(model, compile=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:6])
