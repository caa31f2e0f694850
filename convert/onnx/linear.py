"""Convolutions and dense layers as ONNX nodes, with the batch normalisation that follows folded in."""

import math
from collections.abc import Sequence

import numpy as np

from convert.errors import ConvertError
from convert.keras.graph import Layer
from convert.onnx.builder import Value
from convert.onnx.context import Emission, pair, picture, windows
from convert.onnx.fold import Float32, Linear


def conv2d(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    """Conv2D; Keras' kernel is [rows, columns, channels / groups, filters]."""
    (x,) = inputs
    channels, *_ = picture(layer, x)
    filters, groups = int(layer.config["filters"]), int(layer.config.get("groups") or 1)
    kernel = (*pair(layer, "kernel_size"), channels // groups, filters)
    arrays = out.weights(layer, kernel=kernel, bias=_bias(layer, filters))
    linear = Linear(arrays["kernel"], filters, arrays.get("bias"), out.norm_after(layer, filters))
    return out.activate(layer, _convolve(layer, x, out, linear, kernel, groups))


def depthwise_conv2d(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    """DepthwiseConv2D; Keras' kernel is [rows, columns, channels, multiplier], output channel c * multiplier + m."""
    (x,) = inputs
    channels, *_ = picture(layer, x)
    multiplier = int(layer.config.get("depth_multiplier", 1))
    size, filters = pair(layer, "kernel_size"), channels * multiplier
    arrays = out.weights(layer, kernel=(*size, channels, multiplier), bias=_bias(layer, filters))
    linear = Linear(arrays["kernel"], filters, arrays.get("bias"), out.norm_after(layer, filters))
    return out.activate(layer, _convolve(layer, x, out, linear, (*size, 1, filters), groups=channels))


def separable_conv2d(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    """SeparableConv2D: a depthwise convolution, then a 1x1 one that carries bias, normalisation and activation."""
    (x,) = inputs
    channels, *_ = picture(layer, x)
    multiplier, filters = int(layer.config.get("depth_multiplier", 1)), int(layer.config["filters"])
    size, between = pair(layer, "kernel_size"), channels * multiplier
    arrays = out.weights(
        layer, depthwise=(*size, channels, multiplier), pointwise=(1, 1, between, filters), bias=_bias(layer, filters)
    )
    x = _convolve(layer, x, out, Linear(arrays["depthwise"], between), (*size, 1, between), groups=channels)
    linear = Linear(arrays["pointwise"], filters, arrays.get("bias"), out.norm_after(layer, filters))
    return out.activate(layer, _pointwise(x, out, linear))


def dense(layer: Layer, inputs: Sequence[Value], out: Emission) -> Value:
    """Dense, over features or over the channels of a picture."""
    (x,) = inputs
    units = int(layer.config["units"])
    arrays = out.weights(layer, kernel=(x.shape[0], units), bias=_bias(layer, units))
    linear = Linear(arrays["kernel"], units, arrays.get("bias"), out.norm_after(layer, units))
    product = _pointwise(x, out, linear) if len(x.shape) == 3 else _gemm(x, out, linear)
    return out.activate(layer, product)


def _bias(layer: Layer, outputs: int) -> tuple[int] | None:
    return (outputs,) if layer.config.get("use_bias", True) else None


def _gemm(x: Value, out: Emission, linear: Linear) -> Value:
    shape = (x.shape[0], linear.outputs)
    operands = [x.name, out.to.weight("kernel", shape, lambda: linear.load_kernel(shape)), *_bias_operand(out, linear)]
    out.to.macs += math.prod(shape)
    return out.to.op("Gemm", operands, (linear.outputs,))


def _pointwise(x: Value, out: Emission, linear: Linear) -> Value:
    """A 1x1 convolution of stride 1."""
    channels, *size = x.shape
    return _conv_node(x, out, linear, (1, 1, channels, linear.outputs), tuple(size), kernel_shape=[1, 1])


def _convolve(
    layer: Layer, x: Value, out: Emission, linear: Linear, kernel: tuple[int, int, int, int], groups: int
) -> Value:
    """`kernel` is [rows, columns, input channels of a group, outputs]."""
    channels, *size = picture(layer, x)
    if groups < 1 or channels % groups or linear.outputs % groups:
        raise ConvertError(f"layer {layer.name}: {groups} groups do not divide its {channels} channels.")
    strides, dilations = pair(layer, "strides"), pair(layer, "dilation_rate")
    stops, pads = windows(layer, (size[0], size[1]), kernel[:2], strides, dilations)
    attributes = {"kernel_shape": kernel[:2], "strides": strides, "dilations": dilations, "pads": pads, "group": groups}
    return _conv_node(x, out, linear, kernel, stops, **attributes)


def _conv_node(
    x: Value, out: Emission, linear: Linear, kernel: tuple[int, ...], stops: tuple[int, ...], **attributes: object
) -> Value:
    def load() -> Float32:  # [rows, columns, in, out] -> [out, in, rows, columns]
        return np.ascontiguousarray(linear.load_kernel(kernel).transpose(3, 2, 0, 1))

    onnx_kernel = (kernel[3], kernel[2], kernel[0], kernel[1])
    operands = [x.name, out.to.weight("kernel", onnx_kernel, load), *_bias_operand(out, linear)]
    out.to.macs += math.prod(kernel) * math.prod(stops)
    return out.to.op("Conv", operands, (linear.outputs, *stops), **attributes)


def _bias_operand(out: Emission, linear: Linear) -> list[str]:
    return [out.to.weight("bias", (linear.outputs,), linear.load_bias)] if linear.biased else []
