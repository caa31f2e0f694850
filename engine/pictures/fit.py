"""DeepDanbooru's geometry: a decoded picture of any size becomes one row of the batch, as the model was trained.

What the original does (`deepdanbooru.data.load_image_for_evaluate`, `deepdanbooru.image.transform_and_pad_image`):

1. `tf.image.resize(method=AREA, preserve_aspect_ratio=True)` to the largest size inside the canvas: each target pixel
   is the mean of the source under it. That holds for small pictures too, which are scaled up.
2. `skimage.transform.warp(order=1, mode="edge")` moves its middle to the middle of the canvas. Where the padding of an
   axis is odd, the move is by half a pixel, so each pixel becomes the mean of two neighbours. Beyond the picture, its
   edge pixels are repeated.

OpenCV's INTER_AREA takes the same means, of float32 to float32, so that rounding happens once, at the end. A
large picture is first shrunk along y, some rows at a time: it would be four times as large in float32.
Few large calls: each call of OpenCV or NumPy hands over Python's lock, and with a thousand small ones the decode
threads were as slow as one (docs/decisions/few-calls-in-fit.md).
`tests/support/reference.py` holds the same in a slow and readable form.
"""

from typing import NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from engine.types import WHITE, Rgb, Row

_Float = npt.NDArray[np.float32]

_SMALL = 1 << 20
"""Source values (pixels times 3) up to which a picture is converted to float32 as a whole: 4 MB."""

_GROUP = 32
"""Target rows computed at a time."""

_BAND = 2
"""Target rows computed by one matrix product. With more, the rows share less of the source; with fewer, more source is
converted twice."""

_BLOCK = 1 << 20
"""Source values held as float32 at a time, where a picture is not small."""

_PRODUCT = 1 << 18
"""Multiplications in one product: above these OpenBLAS starts threads of its own, which wait for each other."""

_DEPTHS = {"uint8": cv2.CV_8U, "uint16": cv2.CV_16U}
"""What OpenCV calls the dtypes of rows."""

# The decode threads run side by side already.
cv2.setNumThreads(1)


def fit(rgb: Rgb, height: int, width: int, out: Row | None = None) -> Row:
    """Fits a picture into the canvas of a DeepDanbooru model.

    Args:
        rgb: uint8 [h, w, 3], h and w at least 1; not changed.
        height: rows of the canvas.
        width: columns of the canvas.
        out: [height, width, 3] of a dtype in `WHITE`, C-contiguous, to write to, such as a row of a batch; a new uint16
            array if None.

    Returns:
        `out`, all of it written. Beside what is described above in exact arithmetic, uint16 is within 0.003 levels
        (256 steps a level) and uint8 within 0.501, on a canvas of any shape up to 1,000 pixels a side. Beyond, OpenCV
        leaves out weights below 0.001 of a source pixel: within 0.5 levels more. The original itself computes in
        float32, up to 0.04 levels off: it is that much farther away from `out` at most.

    Memory beyond `rgb` and `out`: some 5 MB, the canvas twice in float32, and 400 bytes for each column and 50 for each
    row of `rgb`; 14 MB for 60 megapixels at 512 x 512. There is never a float copy of a large source.
    """
    if out is None:
        out = np.empty((height, width, 3), np.uint16)
    _place(_resize(rgb, target_size(rgb.shape, height, width)), out)
    return out


def target_size(shape: tuple[int, ...], height: int, width: int) -> tuple[int, int]:
    """Returns the (rows, columns) on the canvas of a picture [h, w, ...], as `tf.image.resize` has them in float32.

    Ties go to even. Where the original would round a side to 0 and raise, it is 1 here.
    """
    rows, columns = (np.float32(side) for side in shape[:2])
    scale = min(np.float32(height) / rows, np.float32(width) / columns)
    return max(1, int(np.rint(scale * rows))), max(1, int(np.rint(scale * columns)))


def _resize(rgb: Rgb, target: tuple[int, int]) -> _Float:
    """Resizes uint8 [h, w, 3] by areas: float32 [target rows, target columns, 3]."""
    if rgb.size <= _SMALL:
        return _areas(rgb.astype(np.float32), target)
    (rows, columns, _), (height, width) = rgb.shape, target
    source, along_y = rgb.reshape(rows, -1), _axis(rows, height)
    resized = np.empty((len(along_y.starts) * _BAND, width, 3), np.float32)
    tall = np.empty((min(_GROUP, len(resized)), columns, 3), np.float32)
    for first in range(0, len(along_y.starts), _GROUP // _BAND):
        bands = slice(first, first + _GROUP // _BAND)
        group = resized[first * _BAND :][:_GROUP]
        _vertical(along_y, bands, source, tall[: len(group)].reshape(-1, _BAND, columns * 3))
        _areas(tall[: len(group)], (len(group), width), group)
    return resized[:height]


def _areas(picture: _Float, target: tuple[int, int], out: _Float | None = None) -> _Float:
    """The mean of the source under each pixel of the target (rows, columns), by OpenCV."""
    fy, fx = (_factor(new, old) for new, old in zip(target, picture.shape[:2], strict=True))
    return cast(_Float, cv2.resize(picture, None, dst=out, fx=fx, fy=fy, interpolation=cv2.INTER_AREA))


def _factor(target: int, source: int) -> float:
    """Target over source, by which OpenCV resizes.

    When enlarging, OpenCV takes source pixel floor(i / factor), and rounding sometimes makes that one too low. A factor
    1e-9 smaller avoids it; the size still rounds to `target`.
    """
    return target / source * (1 - 1e-9 * (target > source))


class _Axis(NamedTuple):
    """Weights for averaging along y, as a banded matrix: each band of `_BAND` target rows needs `reach` source rows.

    Attributes:
        starts: intp [bands], the first source row that each band needs.
        reach: how many source rows each band needs.
        weights: float32 [bands, rows of a band, reach]; the last band may hold a few rows too many.
    """

    starts: npt.NDArray[np.intp]
    reach: int
    weights: _Float


def _axis(size: int, target: int) -> _Axis:
    """Row i is the mean of the source from i to i + 1 times size / target.

    It takes a twentieth of a millisecond, so nothing is kept.
    """
    scale = size / target
    pixel = np.minimum(np.arange(-(-target // _BAND) * _BAND), target - 1).reshape(-1, _BAND, 1)
    starts = np.floor(pixel[:, 0, 0] * scale).astype(np.intp)
    ends = np.ceil((pixel[:, -1, 0] + 1) * scale).astype(np.intp)
    reach = min(size, int((ends - starts).max()))
    starts = np.minimum(starts, size - reach)
    source = starts[:, None, None] + np.arange(reach)
    covered = np.minimum(source + 1, (pixel + 1) * scale) - np.maximum(source, pixel * scale)
    return _Axis(starts, reach, (np.maximum(covered, 0) / scale).astype(np.float32))


def _vertical(axis: _Axis, bands: slice, source: npt.NDArray[np.uint8], out: _Float) -> None:
    """Computes bands of target rows, float32 `out` [bands, rows of a band, m], of uint8 source [size, m]."""
    weights, needed = axis.weights[bands], axis.starts[bands, None] + np.arange(axis.reach)
    step = max(1, min(_BLOCK // needed.size, _PRODUCT // (_BAND * axis.reach)))
    for left in range(0, source.shape[1], step):
        columns = slice(left, left + step)
        np.matmul(weights, source[needed, columns].astype(np.float32), out=out[:, :, columns])


def _place(picture: _Float, out: Row) -> None:
    """Puts a picture in the middle of the canvas, repeats its edges and rounds, half to even.

    An axis with odd padding gets one pixel too many, and the mean of each pixel and the next moves the picture by half
    a pixel. The picture fills the other axis, so there are never two such axes. Without any, both are the same pixel.
    """
    height, width = out.shape[:2]
    rows, columns = (height - picture.shape[0] + 1) // 2, (width - picture.shape[1] + 1) // 2
    canvas = cv2.copyMakeBorder(picture, rows, rows, columns, columns, cv2.BORDER_REPLICATE)
    half = WHITE[out.dtype.name] / 255 / 2
    cv2.addWeighted(
        canvas[:height, :width], half, canvas[-height:, -width:], half, 0, dst=out, dtype=_DEPTHS[out.dtype.name]
    )
