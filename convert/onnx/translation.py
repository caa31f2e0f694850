"""A Keras model on its way to an ONNX graph: what each layer's function reads from and adds to."""

import math
from dataclasses import dataclass

import numpy as np

from convert.errors import ConvertError
from convert.keras.h5 import KerasModel, Stored
from convert.keras.network import Layer
from convert.onnx.activations import activate
from convert.onnx.builder import GraphBuilder, Value
from convert.onnx.fold import BatchNorm


@dataclass
class Translation:
    """One Keras model being translated to one ONNX graph.

    Attributes:
        model: the open Keras file.
        graph: what was translated so far.
        folds: the batch normalisation to fold into a layer, by that layer's name (`fold.foldable`).
        averaged_first: convolutions that come after the average over their input (`head.averaged_first`).
        output: name of the model's last layer.
        parameters: weights used so far, counted as Keras does.
        widened: whether the last layer's values are float32 already; the others have the type of the weights.
    """

    model: KerasModel
    graph: GraphBuilder
    folds: dict[str, Layer]
    averaged_first: frozenset[str]
    output: str
    parameters: int = 0
    widened: bool = False

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
        return activate(self.graph, self.widen(layer, x), layer.activation, self.model.keras)

    def widen(self, layer: Layer, x: Value) -> Value:
        """`x` as float32 if `layer` is the model's last."""
        if layer.name != self.output or self.widened or self.graph.dtype == np.float32:
            return x
        self.widened = True
        return self.graph.cast(x, np.float32)
