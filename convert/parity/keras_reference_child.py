"""`python -m convert.parity.keras_reference_child MODEL HEIGHT WIDTH PICTURES OUT`: the scores of the original.

PICTURES is a JSON list of files. OUT becomes float32 [pictures, tags], a row of NaN for a picture that cannot be read;
a line goes to stdout after each. One picture is in memory at a time.

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
from convert.pictures import read

_DECODED_BY_TENSORFLOW = (b"\xff\xd8\xff", b"\x89PNG")


def load(path: Path, height: int, width: int) -> npt.NDArray[np.float32]:
    """A picture as the model was trained: float32 [1, height, width, 3], 0..1.

    Formats other than JPEG and PNG are decoded by the engine: of those the original refuses most, and takes some only
    without their transparency or their first frame.
    """
    data = path.read_bytes()
    if data.startswith(_DECODED_BY_TENSORFLOW):
        pixels = tf.io.decode_png(data, channels=3)  # which decodes JPEG too
    elif (pixels := read(path)) is None:
        raise ValueError("unreadable")
    return np.asarray(fit_as_the_original(pixels, height, width) / 255.0, np.float32)[None]


def main(model: str, height: int, width: int, asked: str, out: str) -> None:
    """Scores the pictures."""
    pictures = [Path(name) for name in json.loads(Path(asked).read_text(encoding="utf-8"))]
    keras = _loaded(model)
    tags = keras.output_shape[-1]
    with Path(out).open("wb") as file:
        for path in pictures:
            try:
                row = load(path, height, width)
            except (OSError, ValueError, tf.errors.OpError):
                scores = np.full((1, tags), np.nan, np.float32)
            else:
                scores = np.asarray(keras(row, training=False), np.float32)
            file.write(scores.tobytes())
            print(flush=True)


def _loaded(model: str) -> Any:  # noqa: ANN401 - Keras has no types
    import tf_keras

    try:
        return tf_keras.models.load_model(model, compile=False)
    except (TypeError, ValueError):  # written by Keras 3
        return tf.keras.models.load_model(model, compile=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:6])
