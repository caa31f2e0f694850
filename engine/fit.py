"""DeepDanbooru's geometry: a decoded picture of any size becomes one uint8 row of the batch, exactly as it was trained.

What the original does (`deepdanbooru.data.load_image_for_evaluate`, `deepdanbooru.image.transform_and_pad_image`):

1. `tf.image.resize(method=AREA, preserve_aspect_ratio=True)` to the largest size inside the canvas: each target pixel
   is the mean of the source under it. That holds for small pictures too, which are scaled up.
2. `skimage.transform.warp(order=1, mode="edge")` moves its middle to the middle of the canvas. Where the padding of an
   axis is odd, the move is by half a pixel, so each pixel becomes the mean of two neighbours. Beyond the picture, its
   edge pixels are repeated.

Both are linear and work on each axis alone. The sums are float32; rounding to uint8 happens once, at the end.
`tests/engine/reference.py` holds the same in a slow and readable form.

The heavy part is OpenCV's and releases the GIL; the threads are the pipeline's own, which calls `cv2.setNumThreads(1)`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.errors import ModelError
from engine.types import Preprocessing, Rgb

_Float = npt.NDArray[np.float32]

_BAND_PIXELS = 1 << 18
"""Source pixels converted to float32 at a time: 3 MB, which stays in the processor's cache."""


def fit(rgb: Rgb, height: int, width: int, out: Rgb | None = None) -> Rgb:
    """Fits a picture into the canvas of a DeepDanbooru model.

    Args:
        rgb: uint8 [h, w, 3], h and w at least 1; not changed.
        height: rows of the canvas.
        width: columns of the canvas.
        out: uint8 [height, width, 3] to write to, such as a row of a batch; a new array if None.

    Returns:
        `out`, whole and written: within half a level of what the original computes in float32.

    Memory beyond `rgb` and `out`: at most 12 bytes x h x min(w, width) for an odd padding, nothing of the source's size
    for an even one; never a float copy of the source.
    """
    if out is None:
        out = np.empty((height, width, 3), np.uint8)
    target_height, target_width = target_size(rgb.shape[0], rgb.shape[1], height, width)
    shrinks = target_height <= rgb.shape[0] and target_width <= rgb.shape[1]
    odd = (height - target_height) % 2, (width - target_width) % 2
    if shrinks and not any(odd):  # nothing follows the resize: it may round by itself
        fitted = cv2.resize(rgb, (target_width, target_height), interpolation=cv2.INTER_AREA)
    else:
        resize = _shrink if shrinks else _enlarge
        fitted = _rounded(_half_pixel(resize(rgb, target_height, target_width), odd))
    _place(fitted, out)
    return out


def target_size(rows: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """Returns the (rows, columns) of the picture on the canvas, as `tf.image.resize` computes them in float32.

    Ties go to even. Where the original would round a side to 0 and raise, it is 1 here.
    """
    scale = min(np.float32(height) / np.float32(rows), np.float32(width) / np.float32(columns))
    return max(1, int(np.rint(scale * np.float32(rows)))), max(1, int(np.rint(scale * np.float32(columns))))


def _shrink(rgb: Rgb, height: int, width: int) -> _Float:
    """Area-resizes along x in bands of rows, then along y: float32 [height, width, 3]."""
    rows, columns = rgb.shape[:2]
    narrow = np.empty((rows, width, 3), np.float32)
    step = max(1, _BAND_PIXELS // columns)
    for top in range(0, rows, step):
        band = rgb[top : top + step].astype(np.float32)
        narrow[top : top + step] = cv2.resize(band, (width, len(band)), interpolation=cv2.INTER_AREA)
    return cv2.resize(narrow, (width, height), interpolation=cv2.INTER_AREA)


def _enlarge(rgb: Rgb, height: int, width: int) -> _Float:
    """Box-samples upwards along y, then along x: float32 [height, width, 3]."""
    tall = _enlarge_rows(rgb.astype(np.float32), height)
    return cv2.transpose(_enlarge_rows(cv2.transpose(tall), width))


def _enlarge_rows(picture: npt.NDArray[Any], count: int) -> _Float:
    """Spreads float32 [n, m, 3] over count >= n rows, each the mean of the source under it."""
    first, second, weight = _taps(len(picture), count)
    rows: _Float = picture[first]
    rows += (picture[second] - rows) * weight
    return rows


@lru_cache(maxsize=64)
def _taps(size: int, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], _Float]:
    """For an axis enlarged from size to count: the one or two source pixels under each target and the second's share."""
    scale = size / count
    start = np.arange(count) * scale
    first = np.minimum(np.floor(start).astype(np.intp), size - 1)
    share = np.clip((start + scale - (first + 1)) / scale, 0, 1).astype(np.float32)
    return first, np.minimum(first + 1, size - 1), share[:, None, None]


def _half_pixel(picture: _Float, odd: tuple[int, int]) -> _Float:
    """Shifts by half a pixel along each odd axis, which grows by one: inner pixels are means, edges repeat."""
    if odd[0]:
        inner = (picture[:-1] + picture[1:]) * np.float32(0.5)
        picture = np.concatenate((picture[:1], inner, picture[-1:]))
    if odd[1]:
        inner = (picture[:, :-1] + picture[:, 1:]) * np.float32(0.5)
        picture = np.concatenate((picture[:, :1], inner, picture[:, -1:]), axis=1)
    return picture


def _rounded(picture: _Float) -> Rgb:
    return np.rint(picture).astype(np.uint8)


def _place(picture: Rgb, out: Rgb) -> None:
    """Centres uint8 [h, w, 3] on the canvas, whose padding is even or short by one, and repeats its edges outwards."""
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
