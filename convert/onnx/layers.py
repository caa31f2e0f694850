"""Each kind of Keras layer as ONNX nodes.

Inside the graph pictures are NCHW, as ONNX has them; Keras' are NHWC. Only what makes the order of the values visible
(Flatten, Reshape) goes back to NHWC. No shape here holds N.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from convert.errors import ConvertError, UnknownLayer
from convert.keras.graph import Layer
from convert.onnx.activations import onnx_axis, softmax
from convert.onnx.builder import Value
from convert.onnx.context import Emission, Emit, pair, picture, windows
from convert.onnx.linear import conv2d, dense, depthwise_conv2d, separable_conv2d


def _identity(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    return x


def _activation(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    return out.activate(layer, x)


def _softmax(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    return softmax(out.to, out.widen(layer, x), int(layer.config.get("axis", -1)))


def _relu(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    slope = float(layer.config.get("negative_slope") or 0)
    most = layer.config.get("max_value")
    if layer.config.get("threshold"):
        raise UnknownLayer(f"layer {layer.name}: a ReLU with a threshold is not known.")
    y = out.to.op("LeakyRelu", [x.name], x.shape, alpha=slope) if slope else out.to.op("Relu", [x.name], x.shape)
    return y if most is None else out.to.op("Min", [y.name, out.to.scalar("most", float(most))], x.shape)


def _leaky_relu(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    slope = layer.config["negative_slope" if "negative_slope" in layer.config else "alpha"]  # Keras 3, Keras 2
    return out.to.op("LeakyRelu", [x.name], x.shape, alpha=float(slope))


def _prelu(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    keras_shape = list(x.shape[1:] + x.shape[:1])
    for axis in layer.config.get("shared_axes") or []:
        keras_shape[axis - 1] = 1
    alpha = out.weights(layer, alpha=tuple(keras_shape))["alpha"]
    shape = (*keras_shape[-1:], *keras_shape[:-1])
    slope = out.to.weight("slope", shape, lambda: np.moveaxis(alpha.load(), -1, 0))
    return out.to.op("PRelu", [x.name, slope], x.shape)


def _batch_norm(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    axis = layer.config.get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    if [int(a) % (len(x.shape) + 1) for a in axes] != [len(x.shape)]:
        raise ConvertError(
            f"layer {layer.name} normalises axis {axis}: only the last one (channels_last) is supported."
        )
    if out.is_folded(layer):
        return x
    norm = out.batch_norm(layer, x.shape[0])
    shape = (x.shape[0], *(1 for _ in x.shape[1:]))
    scale = out.to.weight("scale", shape, lambda: norm.scale().reshape(shape))
    shift = out.to.weight("shift", shape, lambda: norm.shift().reshape(shape))
    return out.to.op("Add", [out.to.op("Mul", [x.name, scale], x.shape).name, shift], x.shape)


def _rescaling(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    for op, key in (("Mul", "scale"), ("Add", "offset")):
        values = np.asarray(layer.config.get(key, op == "Mul"), dtype=np.float32)
        if values.size not in (1, x.shape[0]):
            raise ConvertError(f"layer {layer.name}: {key} has {values.size} values for {x.shape[0]} channels.")
        values = values.reshape(-1, *(1 for _ in x.shape[1:]))
        x = out.to.op(op, [x.name, out.to.weight(key, values.shape, partial(np.asarray, values))], x.shape)
    return x


def _merge(op: str, layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    if len(inputs) < 2:
        raise ConvertError(f"layer {layer.name} ({layer.kind}) has {len(inputs)} inputs, it needs two or more.")
    rank = max(len(x.shape) for x in inputs)
    # Keras gives the shorter one axes of length 1 after N: features [c] meet a picture [c, h, w] as [c, 1, 1].
    inputs = [x if len(x.shape) == rank else out.to.reshape(x, (*x.shape, 1, 1)) for x in inputs]
    merged = inputs[0]
    for x in inputs[1:]:
        shape = np.broadcast_shapes(merged.shape, x.shape)
        merged = out.to.op(op, [merged.name, x.name], shape)
    return merged


def _concatenate(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    axis = onnx_axis(int(layer.config.get("axis", -1)), len(inputs[0].shape) + 1)
    others = {x.shape[: axis - 1] + x.shape[axis:] for x in inputs}
    if axis == 0 or len(others) != 1:
        raise ConvertError(f"layer {layer.name}: its inputs {[x.shape for x in inputs]} do not fit together.")
    first = inputs[0].shape
    shape = (*first[: axis - 1], sum(x.shape[axis - 1] for x in inputs), *first[axis:])
    return out.to.op("Concat", [x.name for x in inputs], shape, axis=axis)


def _pool(op: str, layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    channels, height, width = picture(layer, x)
    size = pair(layer, "pool_size")
    strides = pair(layer, "strides") if layer.config.get("strides") else size
    stops, pads = windows(layer, (height, width), size, strides, (1, 1))
    # ONNX pads the maximum with -inf and leaves padding out of the average, as TensorFlow does.
    return out.to.op(op, [x.name], (channels, *stops), kernel_shape=size, strides=strides, pads=pads)


def _global_pool(op: str, layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    channels, *_ = picture(layer, x)
    pooled = out.to.op(op, [x.name], (channels, 1, 1))
    if layer.config.get("keepdims"):
        return pooled
    return out.to.op("Flatten", [pooled.name], (channels,), axis=1)


def _zero_padding(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    channels, height, width = picture(layer, x)
    (top, bottom), (left, right) = layer.config["padding"]
    if min(top, bottom, left, right) < 0:
        raise ConvertError(f"layer {layer.name}: negative padding.")
    pads = out.to.indices("pads", [0, 0, top, left, 0, 0, bottom, right])
    shape = (channels, height + top + bottom, width + left + right)
    return out.to.op("Pad", [x.name, pads], shape)


def _flatten(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    return _reshaped(layer, x, (math.prod(x.shape),), out)


def _reshape(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    (x,) = inputs
    target = [int(side) for side in layer.config["target_shape"]]
    if target.count(-1) == 1:
        target[target.index(-1)] = -math.prod(x.shape) // math.prod(target)
    return _reshaped(layer, x, tuple(target), out)


def _reshaped(layer: Layer, x: Value, target: tuple[int, ...], out: Emission) -> Value:
    """`x` in the shape `target` of Keras' layout."""
    if len(target) not in (1, 3):
        raise UnknownLayer(f"layer {layer.name}: a reshape to {target} is not known.")
    if math.prod(target) != math.prod(x.shape) or min(target) < 1:
        raise ConvertError(f"layer {layer.name}: {x.shape} cannot take the shape {target}.")
    if max(x.shape[1:], default=1) > 1:  # with one pixel the two layouts are alike
        x = out.to.transpose(x, (1, 2, 0))
    if len(target) == 1:
        return out.to.reshape(x, target)
    rows, columns, channels = target
    if rows == columns == 1:
        return out.to.reshape(x, (channels, 1, 1))
    return out.to.transpose(out.to.reshape(x, target), (2, 0, 1))


EMIT: dict[str, Emit] = {
    "Activation": _activation,
    "ActivityRegularization": _identity,
    "Add": partial(_merge, "Add"),
    "AlphaDropout": _identity,
    "AveragePooling2D": partial(_pool, "AveragePool"),
    "BatchNormalization": _batch_norm,
    "BatchNormalizationV1": _batch_norm,
    "Concatenate": _concatenate,
    "Conv2D": conv2d,
    "Dense": dense,
    "DepthwiseConv2D": depthwise_conv2d,
    "Dropout": _identity,
    "Flatten": _flatten,
    "GaussianDropout": _identity,
    "GaussianNoise": _identity,
    "GlobalAveragePooling2D": partial(_global_pool, "GlobalAveragePool"),
    "GlobalMaxPooling2D": partial(_global_pool, "GlobalMaxPool"),
    "LeakyReLU": _leaky_relu,
    "Maximum": partial(_merge, "Max"),
    "MaxPooling2D": partial(_pool, "MaxPool"),
    "Minimum": partial(_merge, "Min"),
    "Multiply": partial(_merge, "Mul"),
    "PReLU": _prelu,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "SeparableConv2D": separable_conv2d,
    "Softmax": _softmax,
    "SpatialDropout2D": _identity,
    "Subtract": partial(_merge, "Sub"),
    "ZeroPadding2D": _zero_padding,
}
"""Keras' class name -> the function that emits it."""
