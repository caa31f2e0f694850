"""Batch normalisation at inference is y = scale * x + shift for each channel; after a convolution it costs nothing.

scale = gamma / sqrt(variance + epsilon), shift = beta - mean * scale (Ioffe & Szegedy 2015, section 3.1). For a linear
layer W x + b directly before it, scale * (W x + b) + shift = (scale * W) x + (scale * b + shift): exact but for
rounding, and for any padding, since the padded zeros meet the scaled weights alike. Where batch normalisation comes
*before* a convolution that does not hold at the borders, so there it stays a multiplication and an addition.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convert.keras.h5 import Stored
from convert.keras.network import Layer, Network

Float32 = npt.NDArray[np.float32]
_LINEAR = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense")


def foldable(network: Network) -> dict[str, Layer]:
    """Which batch normalisation can be folded into which layer: {name of the linear layer: normalisation}."""
    layers = {layer.name: layer for layer in network.layers}
    consumers = network.consumers()
    folds = {}
    for norm in network.layers:
        if norm.kind == "BatchNormalization" and len(norm.inputs) == 1:
            before = layers[norm.inputs[0]]
            if before.kind in _LINEAR and before.activation == "linear" and consumers[before.name] == 1:
                folds[before.name] = norm
    return folds


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """The arrays of one batch normalisation, each [channels]; gamma or beta is None where the layer has none."""

    gamma: Stored | None
    beta: Stored | None
    mean: Stored
    variance: Stored
    epsilon: float

    def scale(self) -> npt.NDArray[np.float64]:
        """The factor of each channel."""
        gamma = self.gamma.load() if self.gamma else np.float32(1)
        return gamma / np.sqrt(self.variance.load().astype(np.float64) + self.epsilon)

    def shift(self) -> npt.NDArray[np.float64]:
        """What is added to each channel."""
        beta = self.beta.load() if self.beta else np.float32(0)
        return beta - self.mean.load() * self.scale()


@dataclass(frozen=True, slots=True)
class Linear:
    """The weights of a convolution or dense layer together with the normalisation folded into it.

    Attributes:
        kernel: Keras' array; its last axes, flattened, are the outputs.
        outputs: how many there are.
        bias: [outputs], if any.
        norm: folded in, if any.
    """

    kernel: Stored
    outputs: int
    bias: Stored | None = None
    norm: BatchNorm | None = None

    @property
    def biased(self) -> bool:
        """Whether there is anything to add after the product."""
        return bool(self.bias or self.norm)

    def load_kernel(self, shape: tuple[int, ...]) -> Float32:
        """The scaled kernel, reshaped to `shape`, whose last axis is the outputs."""
        kernel = self.kernel.load().reshape(shape)
        if self.norm:
            kernel *= self.norm.scale().astype(np.float32)
        return kernel

    def load_bias(self) -> Float32:
        """The bias with the shift of the normalisation added, float32 [outputs]."""
        bias = self.bias.load() if self.bias else np.zeros(self.outputs, np.float32)
        if self.norm:
            return (bias * self.norm.scale() + self.norm.shift()).astype(np.float32)
        return bias
