"""Each kind of Keras layer as ONNX nodes; the table at the end says which kinds there are.

Inside the graph pictures are NCHW, as ONNX has them; Keras' are NHWC. Only what makes the order of the values visible
(Flatten, Reshape) goes back to NHWC. No shape here holds N.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from convert.errors import ConvertError, UnknownLayer
from convert.keras.network import Layer
from convert.onnx.activations import clip, softmax
from convert.onnx.builder import Value, onnx_axis
from convert.onnx.fold import Float32, Linear
from convert.onnx.geometry import output_and_pads, pair, picture_shape
from convert.onnx.translation import Translation

TranslateLayer = Callable[[Layer, Sequence[Value], Translation], Value]
"""Takes a layer, the values of its inputs and the translation so far; adds the layer's nodes and gives its value."""


def _identity(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    return x


def _activation(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    return to.activate(layer, x)


def _softmax(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    return softmax(to.graph, to.widen(layer, x), int(layer.config.get("axis", -1)))


def _relu(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    slope = float(layer.config.get("negative_slope") or 0)
    most = layer.config.get("max_value")
    if layer.config.get("threshold"):
        raise UnknownLayer(f"layer {layer.name}: a ReLU with a threshold is not known.")
    y = to.graph.op("LeakyRelu", [x.name], x.shape, alpha=slope) if slope else to.graph.op("Relu", [x.name], x.shape)
    return y if most is None else clip(to.graph, y, float(most))


def _leaky_relu(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    slope = layer.config["negative_slope" if "negative_slope" in layer.config else "alpha"]  # Keras 3, Keras 2
    return to.graph.op("LeakyRelu", [x.name], x.shape, alpha=float(slope))


def _prelu(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    keras_shape = list(x.shape[1:] + x.shape[:1])
    for axis in layer.config.get("shared_axes") or []:
        keras_shape[axis - 1] = 1
    alpha = to.weights(layer, alpha=tuple(keras_shape))["alpha"]
    shape = (*keras_shape[-1:], *keras_shape[:-1])
    slope = to.graph.weight("slope", shape, lambda: np.moveaxis(alpha.load(), -1, 0))
    return to.graph.op("PRelu", [x.name, slope], x.shape)


def _batch_norm(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    axis = layer.config.get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    if [int(a) % (len(x.shape) + 1) for a in axes] != [len(x.shape)]:
        raise ConvertError(
            f"layer {layer.name} normalises axis {axis}: only the last one (channels_last) is supported."
        )
    if to.is_folded(layer):
        return x
    norm = to.batch_norm(layer, x.shape[0])
    shape = (x.shape[0], *(1 for _ in x.shape[1:]))
    scale = to.graph.weight("scale", shape, lambda: norm.scale().reshape(shape))
    shift = to.graph.weight("shift", shape, lambda: norm.shift().reshape(shape))
    return to.graph.op("Add", [to.graph.op("Mul", [x.name, scale], x.shape).name, shift], x.shape)


def _rescaling(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    for op, key in (("Mul", "scale"), ("Add", "offset")):
        values = np.asarray(layer.config.get(key, op == "Mul"), dtype=np.float32)
        if values.size not in (1, x.shape[0]):
            raise ConvertError(f"layer {layer.name}: {key} has {values.size} values for {x.shape[0]} channels.")
        values = values.reshape(-1, *(1 for _ in x.shape[1:]))
        x = to.graph.op(op, [x.name, to.graph.weight(key, values.shape, partial(np.asarray, values))], x.shape)
    return x


def _conv2d(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    """Conv2D; Keras' kernel is [rows, columns, channels / groups, filters]."""
    (x,) = inputs
    channels, *_ = picture_shape(layer, x)
    filters, groups = int(layer.config["filters"]), int(layer.config.get("groups") or 1)
    kernel = (*pair(layer, "kernel_size"), channels // groups, filters)
    arrays = to.weights(layer, kernel=kernel, bias=_bias(layer, filters))
    linear = Linear(arrays["kernel"], filters, arrays.get("bias"), to.norm_after(layer, filters))
    if layer.name in to.averaged_first:
        return _gemm(_flat(to.graph.op("GlobalAveragePool", [x.name], (channels, 1, 1)), to), to, linear)
    return to.activate(layer, _convolve(layer, x, to, linear, kernel, groups))


def _depthwise_conv2d(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    """DepthwiseConv2D; Keras' kernel is [rows, columns, channels, multiplier], output channel c * multiplier + m."""
    (x,) = inputs
    channels, *_ = picture_shape(layer, x)
    multiplier = int(layer.config.get("depth_multiplier", 1))
    size, filters = pair(layer, "kernel_size"), channels * multiplier
    arrays = to.weights(layer, kernel=(*size, channels, multiplier), bias=_bias(layer, filters))
    linear = Linear(arrays["kernel"], filters, arrays.get("bias"), to.norm_after(layer, filters))
    return to.activate(layer, _convolve(layer, x, to, linear, (*size, 1, filters), groups=channels))


def _separable_conv2d(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    """SeparableConv2D: a depthwise convolution, then a 1x1 one that carries bias, normalisation and activation."""
    (x,) = inputs
    channels, *_ = picture_shape(layer, x)
    multiplier, filters = int(layer.config.get("depth_multiplier", 1)), int(layer.config["filters"])
    size, between = pair(layer, "kernel_size"), channels * multiplier
    arrays = to.weights(
        layer, depthwise=(*size, channels, multiplier), pointwise=(1, 1, between, filters), bias=_bias(layer, filters)
    )
    x = _convolve(layer, x, to, Linear(arrays["depthwise"], between), (*size, 1, between), groups=channels)
    linear = Linear(arrays["pointwise"], filters, arrays.get("bias"), to.norm_after(layer, filters))
    return to.activate(layer, _pointwise(x, to, linear))


def _dense(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    """Dense, over features or over the channels of a picture."""
    (x,) = inputs
    units = int(layer.config["units"])
    arrays = to.weights(layer, kernel=(x.shape[0], units), bias=_bias(layer, units))
    linear = Linear(arrays["kernel"], units, arrays.get("bias"), to.norm_after(layer, units))
    product = _pointwise(x, to, linear) if len(x.shape) == 3 else _gemm(x, to, linear)
    return to.activate(layer, product)


def _bias(layer: Layer, outputs: int) -> tuple[int] | None:
    return (outputs,) if layer.config.get("use_bias", True) else None


def _gemm(x: Value, to: Translation, linear: Linear) -> Value:
    shape = (x.shape[0], linear.outputs)
    operands = [x.name, to.graph.weight("kernel", shape, lambda: linear.load_kernel(shape)), *_bias_operand(to, linear)]
    to.graph.macs += math.prod(shape)
    return to.graph.op("Gemm", operands, (linear.outputs,))


def _pointwise(x: Value, to: Translation, linear: Linear) -> Value:
    """A 1x1 convolution of stride 1."""
    channels, *size = x.shape
    return _conv_node(x, to, linear, (1, 1, channels, linear.outputs), tuple(size), kernel_shape=[1, 1])


def _convolve(
    layer: Layer, x: Value, to: Translation, linear: Linear, kernel: tuple[int, int, int, int], groups: int
) -> Value:
    """`kernel` is [rows, columns, input channels of a group, outputs]."""
    channels, *size = picture_shape(layer, x)
    if groups < 1 or channels % groups or linear.outputs % groups:
        raise ConvertError(f"layer {layer.name}: {groups} groups do not divide its {channels} channels.")
    strides, dilations = pair(layer, "strides"), pair(layer, "dilation_rate")
    out_size, pads = output_and_pads(layer, (size[0], size[1]), kernel[:2], strides, dilations)
    attributes = {"kernel_shape": kernel[:2], "strides": strides, "dilations": dilations, "pads": pads, "group": groups}
    return _conv_node(x, to, linear, kernel, out_size, **attributes)


def _conv_node(
    x: Value, to: Translation, linear: Linear, kernel: tuple[int, ...], out_size: tuple[int, ...], **attributes: object
) -> Value:
    def load() -> Float32:  # [rows, columns, in, out] -> [out, in, rows, columns]
        return np.ascontiguousarray(linear.load_kernel(kernel).transpose(3, 2, 0, 1))

    onnx_kernel = (kernel[3], kernel[2], kernel[0], kernel[1])
    operands = [x.name, to.graph.weight("kernel", onnx_kernel, load), *_bias_operand(to, linear)]
    to.graph.macs += math.prod(kernel) * math.prod(out_size)
    return to.graph.op("Conv", operands, (linear.outputs, *out_size), **attributes)


def _bias_operand(to: Translation, linear: Linear) -> list[str]:
    return [to.graph.weight("bias", (linear.outputs,), linear.load_bias)] if linear.biased else []


def _merge(op: str, layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    if len(inputs) < 2:
        raise ConvertError(f"layer {layer.name} ({layer.kind}) has {len(inputs)} inputs, it needs two or more.")
    rank = max(len(x.shape) for x in inputs)
    # Keras gives the shorter one axes of length 1 after N: features [c] meet a picture [c, h, w] as [c, 1, 1].
    inputs = [x if len(x.shape) == rank else to.graph.reshape(x, (*x.shape, 1, 1)) for x in inputs]
    merged = inputs[0]
    for x in inputs[1:]:
        shape = np.broadcast_shapes(merged.shape, x.shape)
        merged = to.graph.op(op, [merged.name, x.name], shape)
    return merged


def _concatenate(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    axis = onnx_axis(int(layer.config.get("axis", -1)), len(inputs[0].shape) + 1)
    others = {x.shape[: axis - 1] + x.shape[axis:] for x in inputs}
    if axis == 0 or len(others) != 1:
        raise ConvertError(f"layer {layer.name}: its inputs {[x.shape for x in inputs]} do not fit together.")
    first = inputs[0].shape
    shape = (*first[: axis - 1], sum(x.shape[axis - 1] for x in inputs), *first[axis:])
    return to.graph.op("Concat", [x.name for x in inputs], shape, axis=axis)


def _pool(op: str, layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    channels, height, width = picture_shape(layer, x)
    size = pair(layer, "pool_size")
    strides = pair(layer, "strides") if layer.config.get("strides") else size
    out_size, pads = output_and_pads(layer, (height, width), size, strides, (1, 1))
    # ONNX pads the maximum with -inf and leaves padding out of the average, as TensorFlow does.
    return to.graph.op(op, [x.name], (channels, *out_size), kernel_shape=size, strides=strides, pads=pads)


def _global_pool(op: str, layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    if layer.inputs[0] in to.averaged_first:
        return to.graph.reshape(x, (*x.shape, 1, 1)) if layer.config.get("keepdims") else x
    channels, *_ = picture_shape(layer, x)
    pooled = to.graph.op(op, [x.name], (channels, 1, 1))
    return pooled if layer.config.get("keepdims") else _flat(pooled, to)


def _flat(pooled: Value, to: Translation) -> Value:
    """[channels, 1, 1] -> [channels]."""
    return to.graph.op("Flatten", [pooled.name], pooled.shape[:1], axis=1)


def _zero_padding(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    channels, height, width = picture_shape(layer, x)
    (top, bottom), (left, right) = layer.config["padding"]
    if min(top, bottom, left, right) < 0:
        raise ConvertError(f"layer {layer.name}: negative padding.")
    pads = to.graph.indices("pads", [0, 0, top, left, 0, 0, bottom, right])
    shape = (channels, height + top + bottom, width + left + right)
    return to.graph.op("Pad", [x.name, pads], shape)


def _flatten(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    return _reshaped(layer, x, (math.prod(x.shape),), to)


def _reshape(layer: Layer, inputs: Sequence[Value], to: Translation) -> Value:
    (x,) = inputs
    target = [int(side) for side in layer.config["target_shape"]]
    if target.count(-1) == 1:
        target[target.index(-1)] = -math.prod(x.shape) // math.prod(target)
    return _reshaped(layer, x, tuple(target), to)


def _reshaped(layer: Layer, x: Value, target: tuple[int, ...], to: Translation) -> Value:
    """`x` in the shape `target` of Keras' layout."""
    if len(target) not in (1, 3):
        raise UnknownLayer(f"layer {layer.name}: a reshape to {target} is not known.")
    if math.prod(target) != math.prod(x.shape) or min(target) < 1:
        raise ConvertError(f"layer {layer.name}: {x.shape} cannot take the shape {target}.")
    if max(x.shape[1:], default=1) > 1:  # with one pixel the two layouts are alike
        x = to.graph.transpose(x, (1, 2, 0))
    if len(target) == 1:
        return to.graph.reshape(x, target)
    rows, columns, channels = target
    if rows == columns == 1:
        return to.graph.reshape(x, (channels, 1, 1))
    return to.graph.transpose(to.graph.reshape(x, target), (2, 0, 1))


LAYERS: dict[str, TranslateLayer] = {
    "Activation": _activation,
    "ActivityRegularization": _identity,
    "Add": partial(_merge, "Add"),
    "AlphaDropout": _identity,
    "AveragePooling2D": partial(_pool, "AveragePool"),
    "BatchNormalization": _batch_norm,
    "BatchNormalizationV1": _batch_norm,
    "Concatenate": _concatenate,
    "Conv2D": _conv2d,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_conv2d,
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
    "SeparableConv2D": _separable_conv2d,
    "Softmax": _softmax,
    "SpatialDropout2D": _identity,
    "Subtract": partial(_merge, "Sub"),
    "ZeroPadding2D": _zero_padding,
}
"""Keras' class name -> the function that translates it."""
