"""AVIF, HEIF, TIFF and JPEG 2000 by Pillow, whose wheels bring the decoders on every platform.

Pillow's classes are used one by one: `Image.open` would also check its global limit, which is not ours to change, and
try formats that we do not want opened. What the data of a picture makes a decoder allocate is held against the size
that Pillow tells, which is the size that is checked.
"""

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.TiffImagePlugin import TiffImageFile

from engine.errors import Undecodable
from engine.pictures import boxes
from engine.types import Rgb

if TYPE_CHECKING:
    from pillow_heif import HeifFile

_STRIP = 1 << 22
"""Pixels that are converted at once."""
_SLACK = 1 << 20  # pixels: small pictures come in tiles that are larger than they


def avif_size(data: bytes) -> tuple[int, int]:
    with AvifImageFile(io.BytesIO(data)) as image:
        return _if_consistent(image.size, boxes.av1_pixels(data))


def avif(data: bytes) -> Rgb:
    with AvifImageFile(io.BytesIO(data)) as image:
        return to_rgb(image)


def jp2_size(data: bytes) -> tuple[int, int]:
    with Jpeg2KImageFile(io.BytesIO(data)) as image:
        if image.size != boxes.jp2_size(data):
            raise ValueError(f"its header says {image.size}, its data {boxes.jp2_size(data)}")
        return image.size


def jp2(data: bytes) -> Rgb:
    with Jpeg2KImageFile(io.BytesIO(data)) as image:
        return to_rgb(image)


def tiff_size(data: bytes) -> tuple[int, int]:
    with TiffImageFile(io.BytesIO(data)) as image:
        sides = [image.tag_v2.get(tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
        return _if_consistent(image.size, sides[0] * sides[1])


def tiff(data: bytes) -> Rgb:
    """Upright, as Pillow turns it; the original reads no TIFF, so there is nothing to be equal to."""
    with TiffImageFile(io.BytesIO(data)) as image:
        return to_rgb(image)


def heif_size(data: bytes) -> tuple[int, int]:
    width, height = _heif(data).size  # cropped and turned; libheif holds what it unpacks against the size before that
    return _if_consistent((width, height), boxes.heif_pixels(data))


def heif(data: bytes) -> Rgb:
    return to_rgb(open_heif(data))


def open_heif(data: bytes) -> Image.Image:
    """The decoded picture, upright."""
    return _heif(data).to_pillow()


def _heif(data: bytes) -> "HeifFile":
    """The file, not yet decoded; it will be upright: what a phone turned, libheif turns as the file says."""
    try:
        import pillow_heif
    except ImportError:
        raise Undecodable(
            "a HEIC picture: the extra `heif` reads it, pip install 'deepdanbooru-engine[heif]'"
        ) from None
    return pillow_heif.open_heif(io.BytesIO(data))


def to_rgb(image: Image.Image) -> Rgb:
    """uint8 [height, width, 3] of a picture of any mode: alpha dropped, 16 bits to their high 8.

    A large one is converted in strips: Pillow hands out copies of what it holds, several at once for a whole picture.
    """
    image.load()
    width, height = image.size
    if width * height <= _STRIP:
        return _converted(image)
    rgb, rows = np.empty((height, width, 3), np.uint8), max(1, _STRIP // width)
    for top in range(0, height, rows):
        rgb[top : top + rows] = _converted(image.crop((0, top, width, min(height, top + rows))))
    return rgb


def _converted(image: Image.Image) -> Rgb:
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode in ("RGBA", "RGBX"):
        return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGBA2RGB).astype(np.uint8, copy=False)
    if image.mode.startswith("I;16"):
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(gray[..., np.newaxis], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _if_consistent(size: tuple[int, int], decoded: int) -> tuple[int, int]:
    """The size, if what its decoder unpacks at once (with alpha, thumbnails and edges of tiles) is in proportion."""
    if decoded > 4 * size[0] * size[1] + _SLACK:
        raise ValueError(f"it says {size[0]} x {size[1]} pixels, but unpacks {decoded:,}")
    return size
