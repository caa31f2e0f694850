"""RGB -> row by Pillow: padded to the shape of the canvas first, then resized, to the bit.

    padded = Image.new("RGB", (side, side), "white"); padded.paste(image, ...); padded.resize(size, Image.BICUBIC)

is what many taggers do. Here the padded picture is never made as a whole: that of a narrow strip would take gigabytes.
Pillow resizes along x and then along y, rounds to 8 bits between the two, and takes each row (each column) by itself.
So the same is done here with a few rows at a time, padded as they are needed. And where nearly all would be padding, as
with a strip of 800 x 30,000 pixels, only the pixels near the picture are computed, with Pillow's arithmetic.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.types import WHITE, Rgb, Row

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
_SUPPORTS = {"bicubic": 2.0, "area": 0.5, "lanczos": 3.0}
"""How far each filter reaches, in pixels of the smaller of the two pictures."""
_BITS = 22  # Pillow's weights are whole numbers: times 2^22
_BAND = 8_000_000  # bytes of padded rows at a time
_LARGE = 64_000_000  # pixels of the padded picture, from which on its padding is left out of the computation


def fit(
    rgb: Rgb,
    row: Row,
    *,
    pad: Literal["white", "edge", "none"] = "white",
    interpolation: Literal["bicubic", "area", "lanczos"] = "bicubic",
) -> None:
    """Fits a picture into a row.

    Args:
        rgb: uint8 [h, w, 3], h and w at least 1; not changed.
        row: [height, width, 3] of a dtype in `WHITE`; all of it is written.
        pad: what is put around the picture until it has the row's shape; `none`: it is stretched.
        interpolation: Pillow's filter; `area` is its box filter.
    """
    height, width = row.shape[:2]
    if pad == "none":
        fitted = np.asarray(Image.fromarray(rgb).resize((width, height), _FILTERS[interpolation]))
    else:
        tall, wide = _padded(rgb.shape[0], rgb.shape[1], height, width)
        left, along_x = _resized(rgb, wide, width, pad, interpolation)
        # The other axis is the same with rows and columns exchanged.
        top, along_y = _resized(along_x.transpose(1, 0, 2), tall, height, pad, interpolation)
        fitted = np.full((height, width, 3), 255, np.uint8)
        fitted[top : top + along_y.shape[1], left : left + len(along_y)] = along_y.transpose(1, 0, 2)
    np.multiply(fitted, WHITE[row.dtype.name] // 255, out=row, dtype=row.dtype)


def _padded(rows: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """The size of the smallest picture around this one that has the canvas' shape, rounded down where it is odd."""
    if rows * width >= columns * height:
        return rows, max(columns, rows * width // height)
    return max(rows, columns * height // width), columns


def _resized(rgb: Rgb, padded: int, width: int, pad: str, interpolation: str) -> tuple[int, Rgb]:
    """[n, w, 3] -> [n, width, 3]: each row padded to `padded` pixels, with the picture in the middle, and resized.

    Comes without columns on the left and on the right that are white anyway, and with the place of the first column.
    """
    before = (padded - rgb.shape[1]) // 2
    if len(rgb) * padded > _LARGE and padded > max(width, 2 * rgb.shape[1]):
        return _sparse(rgb, before, padded, width, pad, interpolation)
    resized = np.empty((len(rgb), width, 3), np.uint8)
    around = ((0, 0), (before, padded - rgb.shape[1] - before), (0, 0))
    step = max(1, _BAND // (padded * 3))
    for top in range(0, len(rgb), step):
        band = rgb[top : top + step]
        if padded > rgb.shape[1]:
            band = np.pad(band, around, "edge") if pad == "edge" else np.pad(band, around, constant_values=255)
        if padded == width:
            resized[top : top + step] = band
        else:
            image = Image.fromarray(np.ascontiguousarray(band))
            resized[top : top + step] = np.asarray(image.resize((width, len(band)), _FILTERS[interpolation]))
    return 0, resized


def _sparse(rgb: Rgb, before: int, padded: int, width: int, pad: str, interpolation: str) -> tuple[int, Rgb]:
    """The same for rows that are mostly padding. All sums are exact in float64."""
    columns = rgb.shape[1]
    inside, left, right = np.zeros((columns, width)), np.empty(width), np.empty(width)
    for x in range(width):
        start, weights = _weights(x, padded, width, interpolation)
        first, last = (min(max(before + at - start, 0), len(weights)) for at in (0, columns))
        inside[start + first - before :][: last - first, x] = weights[first:last]
        left[x], right[x] = weights[:first].sum(), weights[last:].sum()
    if pad == "edge":
        inside[0] += left
        inside[-1] += right
    white = 0.0 if pad == "edge" else 255 * (left + right)
    near = np.flatnonzero(inside.any(axis=0))
    near = np.arange(near[0], near[-1] + 1)
    resized = np.empty((len(rgb), len(near), 3), np.uint8)
    step = max(1, _BAND // (columns * 24))
    for top in range(0, len(rgb), step):
        band = rgb[top : top + step].transpose(0, 2, 1).astype(np.float64)
        sums = (band @ inside[:, near]) + np.broadcast_to(white, width)[near] + (1 << (_BITS - 1))
        resized[top : top + step] = np.clip(np.floor(sums / (1 << _BITS)), 0, 255).transpose(0, 2, 1)
    return int(near[0]), resized


def _weights(x: int, size: int, target: int, interpolation: str) -> tuple[int, npt.NDArray[np.float64]]:
    """The first source pixel of a target pixel and the weights from there on, whole numbers: Pillow's `Resample.c`."""
    scale = size / target
    support = _SUPPORTS[interpolation] * max(scale, 1.0)
    centre = (x + 0.5) * scale
    start, end = max(0, int(centre - support + 0.5)), min(size, int(centre + support + 0.5))
    weights = _filter((np.arange(start, end) - centre + 0.5) * (1 / max(scale, 1.0)), interpolation)
    weights /= np.cumsum(weights)[-1]  # one after the other, as Pillow adds them
    return start, np.trunc(weights * (1 << _BITS) + np.where(weights < 0, -0.5, 0.5))


def _filter(at: npt.NDArray[np.floating[Any]], interpolation: str) -> npt.NDArray[np.float64]:
    if interpolation == "area":
        return ((at > -0.5) & (at <= 0.5)).astype(np.float64)
    if interpolation == "lanczos":
        return np.where((at >= -3) & (at < 3), np.sinc(at) * np.sinc(at / 3), 0.0)
    a, x = -0.5, np.abs(at)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
