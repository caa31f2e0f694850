"""The original's way: Keras, one picture at a time, DeepDanbooru's own preprocessing, one POST for each tag.

    python -m bench.original PROJECT --api URL --storage FOLDER --threshold 0.5

Written after `deepdanbooru.commands.evaluate.evaluate_image`, `deepdanbooru.data.load_image_for_evaluate` and
`deepdanbooru.image.transform_and_pad_image`, and the script that the engine replaces. It is faster than these in two
ways: the model has seen a picture before the clock starts, and all POSTs share one connection. It needs the extra
`keras` and nothing of the engine, so that an interpreter of its own can run it.
"""

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras

from bench.original_loop import Tags, options, tag_all
from convert.parity.original import fit_as_the_original


def load_image(path: Path, width: int, height: int) -> npt.NDArray[Any]:
    """A picture as the model was trained: float [height, width, 3], 0..1."""
    image = tf.io.decode_png(tf.io.read_file(str(path)), channels=3)  # which decodes JPEG too
    return np.asarray(fit_as_the_original(image, height, width) / 255.0)


class Model:
    """A project's Keras model and its tags."""

    def __init__(self, project: Path) -> None:
        settings = json.loads((project / "project.json").read_text(encoding="utf-8"))
        file = next(p for p in (project / f"model-{settings['model']}{end}" for end in (".keras", ".h5")) if p.exists())
        self.keras = tf_keras.models.load_model(file, compile=False)
        self.tags = (project / "tags.txt").read_text(encoding="utf-8").split("\n")
        self.tags = [tag.strip() for tag in self.tags if tag.strip()]
        _, self.height, self.width, _ = self.keras.input_shape
        self.keras.predict(np.zeros((1, self.height, self.width, 3)), verbose=0)

    def evaluate(self, path: Path, threshold: float) -> Tags:
        """The tags and similarities of one picture, in the order of tags.txt."""
        image = load_image(path, self.width, self.height)
        scores = self.keras.predict(image.reshape(1, *image.shape), verbose=0)[0]
        for tag, score in zip(self.tags, scores, strict=True):
            if score >= threshold:
                yield tag, f"{score:05.3f}"


def main() -> None:
    """Tag the catalogue."""
    given = options(__doc__.split("\n")[0], "project")
    if given.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    model = Model(given.project)
    tag_all(given, lambda path: model.evaluate(path, given.threshold))
    print(json.dumps({"device": "cuda" if tf.config.get_visible_devices("GPU") else "cpu"}))


if __name__ == "__main__":
    main()
