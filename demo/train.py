"""Trains the demo's model and writes model/, a DeepDanbooru project folder. Needs the extra `keras`; some minutes.

    python -m demo.train

The network is a small resnet_custom of DeepDanbooru's own layer kinds (deepdanbooru/model/resnet.py and layers.py): a
7x7/2 stem, max-pooling, bottlenecks of convolutions without bias, batch norm and ReLU, a 1x1 convolution to the tags as
head, global average pooling, sigmoid. It learns from pictures that went through real encoders and the engine's own
decoding and fitting, so it sees what the engine will show it.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from demo.render import FORMATS, picture
from demo.scene import CATEGORIES, CHARACTERS, GENERAL, TAGS
from engine.pictures.decode import decode
from engine.pictures.fit import fit

SIZE = 128
NAME = "resnet_demo"
FILTERS, REPEATS = (128, 192, 256, 320), (1, 2, 2, 1)
SEED = 2021
Rows = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.float32]


def dataset(count: int, seed: int) -> tuple[Rows, Labels]:
    """Rows uint8 [count, SIZE, SIZE, 3] and labels float32 [count, tags] of freshly rendered pictures."""
    rows = np.empty((count, SIZE, SIZE, 3), np.uint8)
    labels = np.zeros((count, len(TAGS)), np.float32)

    def one(number: int) -> None:
        data, tags = picture(number, seed, FORMATS)
        fit(decode(data), SIZE, SIZE, out=rows[number])
        labels[number, [TAGS.index(tag) for tag in tags]] = 1

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(count)))
    return rows, labels


def build() -> Any:  # noqa: ANN401 - Keras has no types
    """The untrained network: float32 [n, SIZE, SIZE, 3] in 0..1 -> float32 [n, tags] in 0..1."""
    from tf_keras import Model, layers

    def conv_bn(x: Any, filters: int, size: int, strides: int = 1, relu: bool = True) -> Any:  # noqa: ANN401
        x = layers.Conv2D(
            filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        # Momentum 0.9 instead of 0.99: a short training must leave settled statistics.
        x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.Activation("relu")(x) if relu else x

    def bottleneck(x: Any, filters: int, strides: int, widen: bool) -> Any:  # noqa: ANN401
        y = conv_bn(x, filters // 4, 1)
        y = conv_bn(y, filters // 4, 3, strides)
        y = conv_bn(y, filters, 1, relu=False)
        if widen:
            x = conv_bn(x, filters, 1, strides, relu=False)
        return layers.Activation("relu")(layers.Add()([x, y]))

    inputs = x = layers.Input((SIZE, SIZE, 3))
    x = conv_bn(x, FILTERS[0] // 4, 7, 2)
    x = layers.MaxPool2D(3, 2, padding="same")(x)
    for stage, (filters, repeats) in enumerate(zip(FILTERS, REPEATS, strict=True)):
        for block in range(repeats):
            x = bottleneck(x, filters, strides=2 if stage and not block else 1, widen=not block)
    x = layers.Conv2D(len(TAGS), 1, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return Model(inputs, layers.Activation("sigmoid")(x), name=NAME)


def train(model: Any, rows: Rows, labels: Labels, epochs: int, batch: int = 64) -> None:  # noqa: ANN401
    """Fit with Adam on a cosine schedule, binary cross-entropy; the last steps are small enough to settle."""
    import tensorflow as tf
    from tf_keras import losses, optimizers

    steps = epochs * (len(rows) // batch)
    model.compile(optimizers.Adam(optimizers.schedules.CosineDecay(3e-3, steps)), losses.BinaryCrossentropy())
    data = tf.data.Dataset.from_tensor_slices((rows, labels)).shuffle(len(rows), seed=SEED)
    data = data.batch(batch, drop_remainder=True).map(lambda x, y: (tf.cast(x, tf.float32) / 255, y)).prefetch(4)
    model.fit(data, epochs=epochs, verbose=2)


def micro_f1(scores: npt.NDArray[np.float32], labels: Labels) -> float:
    """2·TP / (2·TP + FP + FN) at threshold 0.5."""
    given, true = scores >= 0.5, labels == 1
    return float(2 * (given & true).sum() / (given.sum() + true.sum()))


def save(model: Any, folder: Path) -> None:  # noqa: ANN401
    """The project folder, as DeepDanbooru lays it out, without the optimizer's state."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / f"model-{NAME}.h5", include_optimizer=False)
    project = {"image_width": SIZE, "image_height": SIZE, "model": NAME, "minimum_tag_count": 1}
    categories = [{"name": name, "start_index": start} for name, start in CATEGORIES]
    for name, value in (("project.json", project), ("categories.json", categories)):
        (folder / name).write_text(json.dumps(value, indent=4) + "\n", encoding="utf-8", newline="\n")
    for name, tags in (("tags.txt", TAGS), ("tags-general.txt", GENERAL), ("tags-character.txt", CHARACTERS)):
        (folder / name).write_text("".join(f"{tag}\n" for tag in tags), encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo's model.")
    parser.add_argument("--pictures", type=int, default=9000)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "model")
    options = parser.parse_args()
    import tf_keras

    tf_keras.utils.set_random_seed(SEED)
    began = time.monotonic()
    rows, labels = dataset(options.pictures, SEED)
    print(f"{len(rows)} pictures rendered in {time.monotonic() - began:.0f} s", flush=True)
    model = build()
    print(f"{model.count_params():,} parameters", flush=True)
    train(model, rows, labels, options.epochs)
    unseen, truth = dataset(600, SEED + 1)
    scores = model.predict(unseen.astype(np.float32) / 255, verbose=0)
    print(f"trained in {time.monotonic() - began:.0f} s; F1 on unseen pictures {micro_f1(scores, truth):.4f}")
    for i, tag in enumerate(TAGS):
        print(f"  {tag:24} {micro_f1(scores[:, i : i + 1], truth[:, i : i + 1]):.3f}")
    save(model, options.folder)


if __name__ == "__main__":
    main()
