"""DeepDanbooru's geometry: a decoded picture of any size becomes one uint8 row of the batch, as the model was trained.

What the original does (`deepdanbooru.data.load_image_for_evaluate`, `deepdanbooru.image.transform_and_pad_image`):

1. `tf.image.resize(method=AREA, preserve_aspect_ratio=True)` to the largest size inside the canvas: each target pixel
   is the mean of the source under it. That holds for small pictures too, which are scaled up.
2. `skimage.transform.warp(order=1, mode="edge")` moves its middle to the middle of the canvas. Where the padding of an
   axis is odd, the move is by half a pixel, so each pixel becomes the mean of two neighbours. Beyond the picture, its
   edge pixels are repeated.

The resize is linear and works on each axis alone: resized = Y · picture · Xᵗ, where a row of Y or X holds few weights,
side by side. A group of target rows is computed at a time, along y and, transposed, along x, in float32 buffers that
stay in the processor's cache. Rounding to uint8 happens once, at the end.
`tests/engine/reference.py` holds the same in a slow and readable form.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from engine.errors import ModelError
from engine.types import Preprocessing, Rgb

_Float = npt.NDArray[np.float32]

_GROUP = 16
"""Target rows computed at a time."""

_BAND = 4
"""Columns that share one product along x: more share less and less source, fewer cost more calls. Measured: 1 to 8."""

_BLOCK = 1 << 19
"""Source values held as float32 at a time: 2 MB, about a core's cache."""


def fit(rgb: Rgb, height: int, width: int, out: Rgb | None = None) -> Rgb:
    """Fits a picture into the canvas of a DeepDanbooru model.

    Args:
        rgb: uint8 [h, w, 3], h and w at least 1; not changed.
        height: rows of the canvas.
        width: columns of the canvas.
        out: uint8 [height, width, 3] to write to, such as a row of a batch; a new array if None.

    Returns:
        `out`, all of it written: within 0.51 levels of what the original computes in float.

    Memory beyond `rgb` and `out`: 2 MB, twice the canvas in float32, and some 600 bytes for each column of `rgb`;
    16 MB for 60 megapixels at 512 x 512. There is never a float copy of the source.
    """
    if out is None:
        out = np.empty((height, width, 3), np.uint8)
    resized = _resize(rgb, target_size(rgb.shape, height, width))
    turned = np.rint(_half_pixel(resized, width, height)).astype(np.uint8)
    _place(cv2.transpose(turned), out)
    return out


def target_size(shape: tuple[int, ...], height: int, width: int) -> tuple[int, int]:
    """Returns the (rows, columns) on the canvas of a picture [h, w, ...], as `tf.image.resize` has them in float32.

    Ties go to even. Where the original would round a side to 0 and raise, it is 1 here.
    """
    rows, columns = (np.float32(side) for side in shape[:2])
    scale = min(np.float32(height) / rows, np.float32(width) / columns)
    return max(1, int(np.rint(scale * rows))), max(1, int(np.rint(scale * columns)))


def _resize(rgb: Rgb, target: tuple[int, int]) -> _Float:
    """Resizes uint8 [h, w, 3] by areas: float32 [target columns, target rows, 3], with the axes exchanged."""
    (rows, columns, _), (height, width) = rgb.shape, target
    along_y, along_x = _axis(rows, height, 1), _axis(columns, width, _BAND)
    needed = along_x.starts[:, None] + np.arange(along_x.reach)
    group = min(_GROUP, height)
    tall = np.empty((group, columns, 3), np.float32)
    turned = np.empty((columns, group, 3), np.float32)
    under = np.empty((*needed.shape, group * 3), np.float32)
    resized = np.empty((width, height, 3), np.float32)
    for first in range(0, height, group):
        top = min(first, height - group)  # the last group overlaps the one before it
        _vertical(along_y, top, rgb.reshape(rows, -1), tall.reshape(group, -1))
        cv2.transpose(tall, dst=turned)
        np.take(turned.reshape(columns, -1), needed, axis=0, out=under, mode="clip")
        wide = np.matmul(along_x.weights, under)
        resized[:, top : top + group] = wide.reshape(-1, group, 3)[:width]
    return resized


class _Axis(NamedTuple):
    """One of the matrices Y and X, in bands of rows; the last band may hold a few rows too many.

    Attributes:
        starts: intp [bands], the first source row that each band needs.
        reach: how many source rows each band needs.
        weights: float32 [bands, rows of a band, reach].
    """

    starts: npt.NDArray[np.intp]
    reach: int
    weights: _Float


def _axis(size: int, target: int, band: int) -> _Axis:
    """Row i is the mean of the source from i to i + 1 times size / target.

    It takes a twentieth of a millisecond, so nothing is kept.
    """
    scale = size / target
    pixel = np.minimum(np.arange(math.ceil(target / band) * band), target - 1).reshape(-1, band, 1)
    starts = np.floor(pixel[:, 0, 0] * scale).astype(np.intp)
    ends = np.ceil((pixel[:, -1, 0] + 1) * scale).astype(np.intp)
    reach = min(size, int((ends - starts).max()))
    starts = np.minimum(starts, size - reach)
    source = starts[:, None, None] + np.arange(reach)
    covered = np.minimum(source + 1, (pixel + 1) * scale) - np.maximum(source, pixel * scale)
    return _Axis(starts, reach, (np.maximum(covered, 0) / scale).astype(np.float32))


def _vertical(axis: _Axis, top: int, source: npt.NDArray[np.uint8], out: _Float) -> None:
    """Computes target rows from top on, as many as float32 `out` [n, m] has, of uint8 source [size, m]."""
    starts = axis.starts[top : top + len(out)].tolist()
    needed = source[starts[0] : starts[-1] + axis.reach]
    step = max(1, _BLOCK // len(needed))
    block = np.empty((len(needed), min(step, source.shape[1])), np.float32)
    for left in range(0, source.shape[1], step):
        strip = needed[:, left : left + step]
        values = block[:, : strip.shape[1]]
        values[:] = strip
        for row, start in enumerate(starts):
            under = values[start - starts[0] :][: axis.reach]
            np.matmul(axis.weights[top + row, 0], under, out=out[row, left : left + step])


def _half_pixel(picture: _Float, rows: int, columns: int) -> _Float:
    """Shifts by half a pixel along each axis that leaves an odd padding on the canvas of rows x columns.

    The axis grows by one: its inner pixels are means of two neighbours, its edges are repeated.
    """
    if (rows - picture.shape[0]) % 2:
        inner = (picture[:-1] + picture[1:]) * np.float32(0.5)
        picture = np.concatenate((picture[:1], inner, picture[-1:]))
    if (columns - picture.shape[1]) % 2:
        inner = (picture[:, :-1] + picture[:, 1:]) * np.float32(0.5)
        picture = np.concatenate((picture[:, :1], inner, picture[:, -1:]), axis=1)
    return picture


def _place(picture: npt.NDArray[Any], out: Rgb) -> None:
    """Puts uint8 [h, w, 3] in the middle of the canvas, where it leaves even padding, and repeats its edges."""
    top, left = (out.shape[0] - picture.shape[0]) // 2, (out.shape[1] - picture.shape[1]) // 2
    bottom, right = top + picture.shape[0], left + picture.shape[1]
    middle = out[top:bottom]
    middle[:, left:right] = picture
    middle[:, :left] = picture[:, :1]
    middle[:, right:] = picture[:, -1:]
    out[:top] = middle[0]
    out[bottom:] = middle[-1]


def fit_for(preprocessing: Preprocessing) -> Callable[[Rgb, Rgb], None]:
    """Returns the function that fits a decoded picture into a row of this model's batch, (rgb, row).

    Raises:
        ModelError: the manifest names a family that this version does not know.
    """
    if preprocessing.kind != "deepdanbooru":
        raise ModelError(
            f"The model asks for the preprocessing {preprocessing.kind!r}, but this version knows only 'deepdanbooru': "
            "update the engine or convert the model again."
        )
    height, width = preprocessing.height, preprocessing.width

    def fit_row(rgb: Rgb, row: Rgb) -> None:
        fit(rgb, height, width, row)

    return fit_row
