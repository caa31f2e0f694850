"""An ONNX tagger run the way its users run it: Pillow, NumPy and ONNX Runtime, a picture at a time, nothing of ours.

Written after `prepare_image` of SmilingWolf's space wd-tagger, whose gradio hands pictures on upright and as RGBA; with
other padding, filters, colours, ranges and layouts for other taggers.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from convert.errors import ConvertError
from engine.errors import first_line
from engine.families import Traits
from engine.model.onnx_runtime import Ort, import_onnxruntime
from engine.types import Scores

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
Original = Callable[[bytes], Scores]
"""A picture's file -> what the original gives for it, float32 [outputs]. Raises what Pillow raises."""


def open_original(file: Path, output: str | None, traits: Traits, size: tuple[int, int]) -> Original:
    """The original on the CPU; without `output`, its first one. Raises ConvertError if it does not start."""
    session = start(file)
    name = session.get_inputs()[0].name
    half = session.get_inputs()[0].type == "tensor(float16)"

    def run(data: bytes) -> Scores:
        pixels = prepared(data, traits, size).astype(np.float16 if half else np.float32)
        scores = session.run([output or session.get_outputs()[0].name], {name: pixels})[0][0]
        return np.asarray(scores, np.float32)

    return run


def start(file: Path) -> Ort:
    """A session on the CPU. Raises ConvertError."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ConvertError(f"ONNX Runtime cannot use {file}: {first_line(error)}.") from error


def sigmoid(values: Scores) -> Scores:
    """What makes a score of a logit."""
    exact = 1 / (1 + np.exp(-values.astype(np.float64)))
    return exact.astype(np.float32)


def prepared(data: bytes, traits: Traits, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A picture's file as the original's input: float32 [1, height, width, 3], or with the channels first."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGBA")
    canvas = Image.new("RGBA", image.size, (255, 255, 255))
    canvas.alpha_composite(image)
    image = canvas.convert("RGB")
    height, width = size
    if traits.pad != "none":
        image = _padded(image, traits.pad, height, width)
    if image.size != (width, height):
        image = image.resize((width, height), _FILTERS[traits.interpolation])
    pixels: npt.NDArray[Any] = np.asarray(image, dtype=np.float32)
    if traits.range != "255":
        pixels = pixels / 255
    if traits.range == "imagenet":
        pixels = (pixels - _MEAN) / _DEVIATION
    if traits.colour == "bgr":
        pixels = pixels[:, :, ::-1]
    if traits.layout == "nchw":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[np.newaxis], np.float32)


def _padded(image: Image.Image, pad: str, height: int, width: int) -> Image.Image:
    columns, rows = image.size
    wide, tall = max(columns, rows * width // height), max(rows, columns * height // width)
    left, top = (wide - columns) // 2, (tall - rows) // 2
    if pad == "edge":
        around = ((top, tall - rows - top), (left, wide - columns - left), (0, 0))
        return Image.fromarray(np.pad(np.asarray(image), around, "edge"))
    padded = Image.new("RGB", (wide, tall), (255, 255, 255))
    padded.paste(image, (left, top))
    return padded
