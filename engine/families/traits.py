"""What makes a model family, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.thresholds import Rules

Alpha = Literal["dropped", "white"]
Pad = Literal["white", "edge", "none"]
Interpolation = Literal["bicubic", "area", "lanczos"]
Layout = Literal["nhwc", "nchw"]
Colour = Literal["rgb", "bgr"]
Range = Literal["255", "1", "imagenet"]


@dataclass(frozen=True, slots=True)
class Traits:
    """A kind of tagger: how it wants its pictures, which of its scores count, and what it is held against.

    What the engine does itself, from a file to a row of the batch:

    Attributes:
        reference: whose code is the truth for all of this.
        alpha: `dropped`: the colours under it show; `white`: laid over white. With `white` Pillow decodes all formats.
        upright: turned as EXIF says.
        first: what is done first: `pad` to the canvas' shape and then resize, or `resize` and then put in the middle.
        pad: what is put around a picture of another shape; `none`: it is stretched.
        interpolation: how it is resized. Where padding comes first it is Pillow's, and `area` its box filter.
        dtype: of a row, see `engine.types.WHITE`. What Pillow resizes is of whole levels, so uint8 is exact.
        rules: which scores count, by category.

    What the converter puts into the ONNX file, between the row and the original's input:

    Attributes:
        layout: of the original's input: `nhwc` or `nchw`.
        colour: the order of its channels.
        range: of its values: 0..255, 0..1, or 0..1 less the mean and over the deviation of ImageNet's pictures.
        logits: it gives logits, and a sigmoid makes scores of them.

    Attributes:
        files: the names of the model and of its tags by which the converter knows a folder of this family; None if
            there are none.
    """

    reference: str
    alpha: Alpha
    upright: bool
    first: Literal["pad", "resize"]
    pad: Pad
    interpolation: Interpolation
    dtype: Literal["uint8", "uint16"]
    rules: Rules
    layout: Layout
    colour: Colour
    range: Range
    logits: bool = False
    files: tuple[str, str] | None = None


CHOICES: Mapping[str, tuple[str | bool, ...]] = {
    "pad": ("white", "edge", "none"),
    "interpolation": ("bicubic", "area", "lanczos"),
    "layout": ("nhwc", "nchw"),
    "colour": ("rgb", "bgr"),
    "range": ("255", "1", "imagenet"),
    "logits": (False, True),
}
"""What a manifest may say differently from its family, and the values that this version knows."""
