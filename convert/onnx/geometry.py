"""Sizes, strides and padding as a Keras layer's settings have them."""

from typing import Any

from convert.errors import ConvertError, UnknownLayer
from convert.keras.network import Layer
from convert.onnx.builder import Value


def pair(layer: Layer, key: str) -> tuple[int, int]:
    """A setting for rows and columns, both at least 1."""
    value: Any = layer.config[key]
    rows, columns = (value, value) if isinstance(value, int) else value
    if rows < 1 or columns < 1:
        raise ConvertError(f"layer {layer.name}: {key} is {value}, it must be at least 1.")
    return int(rows), int(columns)


def picture_shape(layer: Layer, x: Value) -> tuple[int, int, int]:
    """The shape of an input that must be a picture: channels, height, width."""
    if layer.config.get("data_format") == "channels_first":
        raise ConvertError(
            f"layer {layer.name} is channels_first: build the model channels_last, as DeepDanbooru does."
        )
    if len(x.shape) != 3:
        raise ConvertError(f"layer {layer.name} ({layer.kind}) expects pictures, its input has the shape {x.shape}.")
    channels, height, width = x.shape
    return channels, height, width


def output_and_pads(
    layer: Layer, size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]
) -> tuple[tuple[int, int], list[int]]:
    """What a sliding window gives and needs: (output rows and columns, ONNX pads [top, left, bottom, right]).

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
