"""Bytes to RGB, with the pixels that the original gets: alpha dropped, EXIF orientation ignored.

Of an animation, the first frame. JPEG goes through libjpeg-turbo (simplejpeg) with the fast DCT and fancy upsampling,
which is bit-exact with TensorFlow's decoder; AVIF through Pillow, whose wheels bring a decoder on every platform; all
else through OpenCV.
Files that TensorFlow refuses as truncated fail here too; a JPEG that is damaged inside but complete passes, as there.
"""

import io
import struct
import zlib

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from engine.errors import MediumError, Undecodable, first_line
from engine.pictures.sniff import Header, probe
from engine.types import Rgb

__all__ = ["MAX_PIXELS", "Header", "decode", "probe"]

MAX_PIXELS = 100_000_000
"""Default of `--max-pixels`: 300 MB decoded. Real pictures stay below; a crafted 100 KB file could ask for 2.7 GB."""

_MAX_SIDE = 1 << 20  # OpenCV's own limit; it also bounds what fitting needs for a row

# OpenCV prints every broken file on stderr, beside the exception or the None that it gives.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# The size is checked before Pillow sees a file; its own check would warn, or raise at another limit than ours.
Image.MAX_IMAGE_PIXELS = None


def decode(data: bytes, key: str = "", *, max_pixels: int = MAX_PIXELS) -> Rgb:
    """Decodes one picture.

    Args:
        data: the whole file.
        key: its storage key; only its extension matters, see `probe`.
        max_pixels: larger pictures are refused by their header, before anything is allocated.

    Returns:
        uint8 [height, width, 3], RGB, C-contiguous.

    Raises:
        NotAPicture: the content is no picture and the key does not claim that it is one.
        Undecodable: empty, truncated, broken, not supported or too large; the message says which.
    """
    header = probe(data, key)
    if header.width * header.height > max_pixels or max(header.width, header.height) > _MAX_SIDE:
        raise Undecodable(
            f"{header.width} x {header.height} pixels are more than the limit of {max_pixels:,} "
            f"(and {_MAX_SIDE:,} a side): raise it with --max-pixels"
        )
    try:
        rgb = _DECODERS.get(header.format, _opencv)(data)
    except MediumError:
        raise
    except MemoryError as error:
        raise Undecodable(f"not enough memory for {header.width} x {header.height} pixels") from error
    except Exception as error:  # whatever a decoder makes of a broken file is that file's outcome
        raise Undecodable(f"broken {header.format}: {first_line(error)}") from error
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise Undecodable(f"broken {header.format}: decoded to {rgb.shape} of {rgb.dtype}")
    return np.ascontiguousarray(rgb)


def _jpeg(data: bytes) -> Rgb:
    """TensorFlow fails where data ends too early and passes over other damage, so warnings get a second look."""
    try:
        return _turbojpeg(data, strict=True)
    except ValueError as error:
        if "subsampling" in str(error) and data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda"):
            return _opencv(data)  # rare, unknown to simplejpeg: by the slow DCT, up to 4 levels off; it has its end
        if not str(error).startswith("Corrupt JPEG data"):
            raise
    return _turbojpeg(data, strict=False)


def _turbojpeg(data: bytes, *, strict: bool) -> Rgb:
    """Decodes with the original's settings: the fast DCT, but not the fast upsampling."""
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


def _png(data: bytes) -> Rgb:
    return _opencv(_critical_chunks(data))


def _critical_chunks(data: bytes) -> bytes:
    """The PNG without what does not change the pixels: colour profiles, text, EXIF, the further frames of an animation.

    libpng would print its opinion of each broken one on stderr. Truncation and checksums are found on the way.
    """
    chunks: list[bytes | memoryview] = [data[:8]]
    at, view = 8, memoryview(data)
    while True:
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise Undecodable("truncated PNG")
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
                raise Undecodable(f"broken PNG: wrong checksum in {name.decode()}")
            chunks.append(view[at:end])
        if name == b"IEND":
            return b"".join(chunks)
        at = end


def _opencv(data: bytes) -> Rgb:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if rgb is None:
        raise Undecodable("truncated or broken")
    return rgb.astype(np.uint8, copy=False)


def _avif(data: bytes) -> Rgb:
    with Image.open(io.BytesIO(data), formats=("AVIF",)) as image:
        return np.asarray(image.convert("RGB"))


_DECODERS = {"jpeg": _jpeg, "png": _png, "avif": _avif}
