"""What every layer's function works with: the open file, the graph under construction, what is folded where."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.errors import ConvertError, UnknownLayer
from convert.keras.graph import Layer
from convert.keras.h5 import KerasModel, Stored
from convert.onnx.activations import activate
from convert.onnx.builder import GraphBuilder, Value
from convert.onnx.fold import BatchNorm


@dataclass
class Emission:
    """One graph being made from one model.

    Attributes:
        model: the open Keras file.
        to: the graph under construction.
        folds: batch normalisation to fold, by the name of the layer that takes it.
        output: name of the model's last layer.
        parameters: weights used so far, counted as Keras does.
        wide: the last value is float32 already.
    """

    model: KerasModel
    to: GraphBuilder
    folds: dict[str, Layer]
    output: str
    parameters: int = 0
    wide: bool = False

    def weights(self, layer: Layer, **expected: tuple[int, ...] | None) -> dict[str, Stored]:
        """The layer's arrays by the names given, in Keras' order; a shape of None is an array the layer lacks."""
        wanted = {name: shape for name, shape in expected.items() if shape is not None}
        found = self.model.weights(layer.name)
        if [array.shape for array in found] != list(wanted.values()):
            has = ", ".join(str(array.shape) for array in found) or "none"
            needs = ", ".join(f"{name} {shape}" for name, shape in wanted.items())
            raise ConvertError(
                f"layer {layer.name} needs weights of the shapes {needs}, the file has {has}: "
                "save the whole model again with Keras."
            )
        self.parameters += sum(math.prod(shape) for shape in wanted.values())
        return dict(zip(wanted, found, strict=True))

    def batch_norm(self, layer: Layer, channels: int) -> BatchNorm:
        """The arrays of a batch normalisation over `channels`."""
        one = (channels,)
        arrays = self.weights(
            layer,
            gamma=one if layer.config.get("scale", True) else None,
            beta=one if layer.config.get("center", True) else None,
            mean=one,
            variance=one,
        )
        epsilon = float(layer.config["epsilon"])
        return BatchNorm(arrays.get("gamma"), arrays.get("beta"), arrays["mean"], arrays["variance"], epsilon)

    def norm_after(self, layer: Layer, channels: int) -> BatchNorm | None:
        """The normalisation to fold into `layer`, if any."""
        norm = self.folds.get(layer.name)
        return self.batch_norm(norm, channels) if norm else None

    def is_folded(self, norm: Layer) -> bool:
        """Whether `norm` went into the layer before it."""
        return self.folds.get(norm.inputs[0]) is norm

    def activate(self, layer: Layer, x: Value) -> Value:
        """Applies the layer's activation; the model's last one is computed in float32."""
        return activate(self.to, self.widen(layer, x), layer.activation, self.model.keras)

    def widen(self, layer: Layer, x: Value) -> Value:
        """`x` as float32 if `layer` is the model's last."""
        if layer.name != self.output or self.wide or self.to.dtype == np.float32:
            return x
        self.wide = True
        return self.to.cast(x, np.float32)


Emit = Callable[[Layer, Sequence[Value], Emission], Value]


def pair(layer: Layer, key: str) -> tuple[int, int]:
    """A setting for rows and columns, both at least 1."""
    value: Any = layer.config[key]
    rows, columns = (value, value) if isinstance(value, int) else value
    if rows < 1 or columns < 1:
        raise ConvertError(f"layer {layer.name}: {key} is {value}, it must be at least 1.")
    return int(rows), int(columns)


def picture(layer: Layer, x: Value) -> tuple[int, int, int]:
    """The shape of an input that must be a picture: channels, height, width."""
    if layer.config.get("data_format") == "channels_first":
        raise ConvertError(
            f"layer {layer.name} is channels_first: build the model channels_last, as DeepDanbooru does."
        )
    if len(x.shape) != 3:
        raise ConvertError(f"layer {layer.name} ({layer.kind}) expects pictures, its input has the shape {x.shape}.")
    channels, height, width = x.shape
    return channels, height, width


def windows(
    layer: Layer, size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]
) -> tuple[tuple[int, int], list[int]]:
    """Where a sliding window stops: ((rows, columns) of the output, ONNX pads [top, left, bottom, right]).

    TensorFlow's rules (tf.nn.convolution, "Notes on padding"): SAME gives ceil(size / stride) outputs and puts the odd
    pixel of padding at the bottom and right; VALID pads nothing and drops what does not fill a window.
    """
    padding = str(layer.config.get("padding", "valid")).lower()
    if padding not in ("same", "valid"):
        raise UnknownLayer(f"layer {layer.name}: padding {padding!r} is not known.")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if padding == "valid":
        rows, columns = ((n - r) // s + 1 for n, r, s in zip(size, reach, strides, strict=True))
        totals = [0, 0]
    else:
        rows, columns = (-(-n // s) for n, s in zip(size, strides, strict=True))
        totals = [
            max((out - 1) * s + r - n, 0) for out, s, r, n in zip((rows, columns), strides, reach, size, strict=True)
        ]
    if rows < 1 or columns < 1:
        raise ConvertError(f"layer {layer.name}: its window is larger than its input of {size[0]}x{size[1]}.")
    before = [total // 2 for total in totals]
    return (rows, columns), [*before, *(total - first for total, first in zip(totals, before, strict=True))]
