"""JPEG by libjpeg-turbo (simplejpeg), bit-exact with TensorFlow's decoder: the fast DCT, but not the fast upsampling.

TensorFlow fails where data ends too early and passes over other damage, in the header too. simplejpeg raises for every
warning that the header gives, so such a file is decoded with its header rebuilt from what the pixels depend on.
"""

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import simplejpeg

from engine.errors import Undecodable
from engine.pictures import opencv
from engine.types import Rgb

_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_RARE = "subsampling"  # what simplejpeg says where it does not know a file's subsampling
_STANDALONE = {0x01, *range(0xD0, 0xD8)}  # TEM and RST0 to RST7: markers without a segment
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15


def size(data: bytes) -> tuple[int, int]:
    """Width and height, as libjpeg reads them."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError as error:
        if _RARE not in str(error):
            raise
        frame = next(segment for marker, segment in _segments(data) if marker in _FRAMES)
        height, width = struct.unpack_from(">HH", frame, 5)
    return width, height


def decode(data: bytes) -> Rgb:
    try:
        return _decode(data)
    except ValueError as error:
        if str(error).startswith("Premature end"):
            raise
        try:
            rebuilt = plain_header(data)
        except (ValueError, struct.error):
            raise error from None
        if rebuilt == data:
            raise
        if size(rebuilt) != size(data):
            raise Undecodable(f"broken jpeg: two sizes, {size(data)} and {size(rebuilt)}") from error
        return _decode(rebuilt)


def _decode(data: bytes) -> Rgb:
    """The strict decoder raises for every warning; only those about the end of the data are to fail."""
    try:
        return _turbojpeg(data, strict=True)
    except ValueError as error:
        if _RARE in str(error) and data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda"):  # it has its end
            return opencv.decode(data)  # by the slow DCT, up to 4 levels off
        if not str(error).startswith("Corrupt JPEG data"):
            raise
    return _turbojpeg(data, strict=False)


def _turbojpeg(data: bytes, *, strict: bool) -> Rgb:
    _, _, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    if colorspace not in ("CMYK", "YCCK"):
        rgb: Rgb = simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=False, strict=strict)
        return rgb
    inks = simplejpeg.decode_jpeg(data, "CMYK", fastdct=True, fastupsample=False, strict=strict)
    return _from_cmyk(inks, inverted=b"Adobe" in data[:4096])


def _from_cmyk(cmyk: npt.NDArray[np.uint8], *, inverted: bool) -> Rgb:
    """TensorFlow's conversion (`jpeg_mem.cc`), a row at a time: files by Adobe hold 255 minus the ink."""
    rgb = np.empty((*cmyk.shape[:2], 3), np.uint8)
    for row, inks in zip(rgb, cmyk if inverted else 255 - cmyk, strict=True):
        light = inks.astype(np.uint16)
        row[:] = light[:, :3] * light[:, 3:] // 255
    return rgb


def plain_header(data: bytes) -> bytes:
    """The file without what does not change its pixels but can make libjpeg warn, up to its first scan.

    Left out are application segments and comments, stray RST and TEM, and what lies between segments. Two application
    segments stay, for they choose the colour space: JFIF, with its plain content, and Adobe's, if it is whole.

    Raises `ValueError` or `struct.error` where there is no scan.
    """
    segments = list(_segments(data))
    components = next((segment[9] for marker, segment in segments if marker in _FRAMES and len(segment) > 9), 3)
    kept = [b"\xff\xd8"]
    for marker, segment in segments:
        if marker == 0xE0 and segment[4:9] == b"JFIF\0" and len(segment) >= 16:
            kept.append(_JFIF)
        elif marker == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16:
            # libjpeg takes a transform that it does not know for the usual one, and warns.
            usual = 2 if components == 4 else 1
            kept.append(b"\xff\xee\0\x0e" + segment[4:15] + bytes([usual if segment[15] else 0]))
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
    return b"".join(kept)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment after the first SOI, as libjpeg finds them; the last is the rest from SOS on."""
    at = 2
    while True:
        at = data.index(b"\xff", at)
        (marker,) = struct.unpack_from("B", data, at + 1)
        if marker == 0xDA:
            yield marker, data[at:]
            return
        if marker in (0xD8, 0xD9):
            raise ValueError("a picture begins or ends in the header")
        if marker == 0xFF:
            at += 1
        elif marker == 0 or marker in _STANDALONE:
            at += 2
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            if length < 2 or at + 2 + length > len(data):
                raise ValueError("a segment goes beyond the end")
            yield marker, data[at : at + 2 + length]
            at += 2 + length
