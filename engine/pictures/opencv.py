"""WebP and BMP by OpenCV, whose sizes stand at a fixed place."""

import struct

import cv2
import numpy as np

from engine.errors import Undecodable
from engine.types import Rgb

# OpenCV prints every broken file on stderr, beside the exception or the None that it gives.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: bytes) -> Rgb:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if rgb is None:
        raise Undecodable("truncated or broken")
    return rgb.astype(np.uint8, copy=False)


def bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return width, abs(height)  # negative: the rows go down


def webp_size(data: bytes) -> tuple[int, int]:
    """The size of the canvas; libwebp refuses a picture of another size and frames that leave the canvas."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        if len(data) < 30:
            raise ValueError("WebP without a picture")
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ValueError("WebP without a picture")
    return width, height
