"""Makes a project folder as large as the official release, with random weights: for measuring, not for tagging.

    python -m bench.full_model FOLDER [--size 512] [--tags 9176] [--keras]

Without `--keras` it needs no TensorFlow, but the scores mean nothing: it serves to measure speed and
memory. With `--keras` the batch-norm statistics come from pictures and the head is set so that the scores differ
between pictures and tags; Keras then writes the file. So it serves to compare scores too.
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Weights = list[tuple[str, npt.NDArray[np.float32]]]

FILTERS = (256, 512, 1024, 1024, 2048, 4096)
REPEATS = (2, 7, 19, 19, 2, 2)
_EPSILON = 1e-3
_BRANCH_GAMMA = 0.25  # keeps the sum over 51 residual branches in the range of float16
_PICTURES = 32  # run through the network for the head
_NORMED = 8  # of them for the batch-norm statistics, at once
_LOGIT_MEAN, _LOGIT_STD = -3.0, 2.0  # a few per cent of the tags above 0.5


@dataclass
class Network:
    """resnet_custom_v3 (deepdanbooru/model/resnet.py) as Keras describes it in a file, with random weights.

    Attributes:
        layers: Keras' configuration of each layer.
        weights: (name, array) of each layer that has some, by the layer's name.
    """

    size: int
    seed: int = 0
    layers: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, Weights] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._count = 0

    def add(self, kind: str, sources: list[str], name: str = "", **config: Any) -> str:  # noqa: ANN401 - JSON values
        """Adds a layer; returns its name."""
        self._count += 1
        name = name or f"{kind.lower()}_{self._count}"
        config = {"name": name, "dtype": "float32", **config}
        nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
        self.layers.append({"class_name": kind, "name": name, "config": config, "inbound_nodes": nodes})
        return name

    def conv(self, x: str, channels: int, filters: int, kernel: int = 1, strides: int = 1) -> str:
        """A convolution without bias, He-initialised."""
        settings: dict[str, Any] = {
            "filters": filters,
            "kernel_size": [kernel, kernel],
            "strides": [strides, strides],
            "dilation_rate": [1, 1],
        }
        name = self.add("Conv2D", [x], padding="same", use_bias=False, activation="linear", **settings)
        values = self._rng.standard_normal((kernel, kernel, channels, filters), dtype=np.float32)
        values *= math.sqrt(2 / (kernel * kernel * channels))
        self.weights[name] = [("kernel:0", values)]
        return name

    def conv_bn(
        self, x: str, channels: int, filters: int, kernel: int = 1, strides: int = 1, gamma: float = 1.0
    ) -> str:
        """A convolution and batch normalisation."""
        x = self.conv(x, channels, filters, kernel, strides)
        name = self.add("BatchNormalization", [x], axis=[3], momentum=0.99, epsilon=_EPSILON, center=True, scale=True)
        values = {"gamma": gamma, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
        self.weights[name] = [(f"{key}:0", np.full(filters, value, np.float32)) for key, value in values.items()]
        return name

    def relu(self, x: str) -> str:
        """An activation."""
        return self.add("Activation", [x], activation="relu")

    def bottleneck(self, x: str, channels: int, filters: int, strides: int, shortcut: bool) -> str:
        """1x1, 3x3 with the stride, 1x1, plus the input or its 1x1 projection."""
        inner = filters // 4
        y = self.relu(self.conv_bn(x, channels, inner))
        y = self.relu(self.conv_bn(y, inner, inner, kernel=3, strides=strides))
        y = self.conv_bn(y, inner, filters, gamma=_BRANCH_GAMMA)
        x = self.conv_bn(x, channels, filters, strides=strides) if shortcut else x
        return self.relu(self.add("Add", [y, x]))

    def config(self, output: str) -> dict[str, Any]:
        """The network as Keras' `model_config`."""
        ends = {"input_layers": [["input_1", 0, 0]], "output_layers": [[output, 0, 0]]}
        return {"class_name": "Functional", "config": {"name": "resnet_custom_v3", "layers": self.layers, **ends}}


def build(
    size: int, tags: int, filters: tuple[int, ...] = FILTERS, repeats: tuple[int, ...] = REPEATS
) -> tuple[Network, dict[str, Any]]:
    """The network for pictures of `size` x `size` and its configuration."""
    net = Network(size)
    x = net.add("InputLayer", [], "input_1", batch_input_shape=[None, size, size, 3], sparse=False, ragged=False)
    channels = filters[0] // 4
    x = net.relu(net.conv_bn(x, 3, channels, kernel=7, strides=2))
    x = net.add("MaxPooling2D", [x], pool_size=[3, 3], strides=[2, 2], padding="same")
    for stage, (wide, repeat) in enumerate(zip(filters, repeats, strict=True)):
        x = net.bottleneck(x, channels, wide, strides=2 if stage else 1, shortcut=True)
        channels = wide
        for _ in range(repeat):
            x = net.bottleneck(x, channels, wide, strides=1, shortcut=False)
    head = net.conv(x, channels, tags)
    net.weights[head][0][1][:] *= 0.1  # without statistics from data: logits near 0, not saturated
    x = net.add("GlobalAveragePooling2D", [head], data_format="channels_last")
    x = net.add("Activation", [x], activation="sigmoid")
    return net, net.config(x)


def write_h5(path: Path, net: Network, config: dict[str, Any]) -> None:
    """Write the file as Keras 2 does, except for the order of the layers: it must be read by their names."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        root = file.create_group("model_weights")
        for node in (file, root):
            node.attrs["backend"], node.attrs["keras_version"] = "tensorflow", "2.7.0"
        root.attrs["layer_names"] = [layer["name"].encode() for layer in net.layers]
        for layer in net.layers:
            arrays = net.weights.get(layer["name"], [])
            group = root.create_group(layer["name"])
            group.attrs["weight_names"] = np.array([f"{layer['name']}/{name}".encode() for name, _ in arrays], "S")
            for name, values in arrays:
                group.create_dataset(f"{layer['name']}/{name}", data=values)


def write_project(folder: Path, size: int, tags: int) -> Path:
    """project.json, tags.txt and categories.json, in the official release's proportions; returns the model's path."""
    folder.mkdir(parents=True, exist_ok=True)
    ratings = ["rating:safe", "rating:questionable", "rating:explicit"]
    general = (tags - len(ratings)) * 6891 // 9173
    names = [f"general_{i}" for i in range(general)]
    names += [f"character_{i} (series, {i % 50})" for i in range(tags - general - len(ratings))] + ratings
    starts = {"General": 0, "Character": general, "System": tags - len(ratings)}
    categories = [{"name": name, "start_index": start} for name, start in starts.items()]
    settings = {"image_width": size, "image_height": size, "model": "resnet_custom_v3"}
    (folder / "project.json").write_text(json.dumps(settings, indent=4), encoding="utf-8")
    (folder / "categories.json").write_text(json.dumps(categories), encoding="utf-8")
    (folder / "tags.txt").write_text("\n".join(names) + "\n", encoding="utf-8", newline="\n")
    return folder / "model-resnet_custom_v3.h5"


def pictures(size: int, count: int, seed: int) -> npt.NDArray[np.uint8]:
    """[count, size, size, 3]: coloured noise with as much large structure as small, like pictures have."""
    rng = np.random.default_rng(seed)

    def octaves() -> Iterator[npt.NDArray[np.float64]]:
        for cells in (2, 8, 32, 128):
            nearest = np.arange(size) * cells // size
            yield rng.uniform(-60, 60, (count, cells, cells, 3))[:, nearest][:, :, nearest]

    return np.clip(128 + sum(octaves()), 0, 255).astype(np.uint8)


def calibrate(path: Path, config: dict[str, Any], size: int) -> None:
    """Gives the model file batch-norm statistics and a head that fit pictures; needs the `keras` extra."""
    import tf_keras

    model = tf_keras.Model.from_config(config["config"])
    model.load_weights(path, by_name=True)  # load_model would go by Keras' order of the layers, see write_h5
    batch = pictures(size, _PICTURES, seed=1).astype(np.float32) / 255
    norms = [layer for layer in model.layers if isinstance(layer, tf_keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0  # the statistics of this batch alone
    model(batch[:_NORMED], training=True)
    for norm in norms:
        norm.momentum = 0.99
    head = model.layers[-3]  # before the pooling and the sigmoid
    body = tf_keras.Model(model.input, tf_keras.layers.GlobalAveragePooling2D()(head.input))
    head.set_weights([_head(body.predict(batch, batch_size=4, verbose=0), head.filters)[None, None]])
    model.save(path)


def _head(features: npt.NDArray[np.float32], tags: int) -> npt.NDArray[np.float32]:
    """[channels, tags]: logits of mean _LOGIT_MEAN and deviation _LOGIT_STD, half between tags, half between pictures.

    The pooling after the head is linear, so the logits are features @ head. What is common to all pictures gives each
    tag its frequency; mixtures of the ways in which pictures differ tell them apart, as training would find them.
    """
    rng = np.random.default_rng(2)
    common = features.mean(axis=0)
    differences = features - common
    part = _LOGIT_STD / math.sqrt(2)
    frequency = rng.normal(_LOGIT_MEAN, part, tags)
    apart = differences.T @ rng.standard_normal((len(features), tags), dtype=np.float32)
    apart -= np.outer(common, common @ apart) / (common @ common)
    apart *= part / np.std(differences @ apart)
    return np.asarray(apart + np.outer(common, frequency) / (common @ common), dtype=np.float32)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.full_model", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--tags", type=int, default=9176)
    parser.add_argument("--keras", action="store_true", help="statistics from pictures; needs the keras extra")
    given = parser.parse_args()
    path = write_project(given.folder, given.size, given.tags)
    net, config = build(given.size, given.tags)
    write_h5(path, net, config)
    del net  # 0.6 GB
    if given.keras:
        calibrate(path, config, given.size)
    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")


if __name__ == "__main__":
    main()
