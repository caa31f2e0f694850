"""Bytes to RGB, with the pixels that the original gets: alpha dropped, EXIF orientation ignored.

Of an animation, the first frame. Each format has its decoder, and the size that counts is the one that this decoder
itself reads from the header. Files that TensorFlow refuses as truncated fail here too; a JPEG that is damaged inside
but complete passes, as there. Formats that the original cannot read are decoded as a user would expect.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from engine.errors import MediumError, Undecodable, first_line
from engine.pictures import gif, jpeg, opencv, pillow, png
from engine.pictures.sniff import sniff
from engine.types import Rgb

MAX_PIXELS = 100_000_000
"""The limit of `decode` where none is given, as large as the default of `--max-pixels`: 300 MB decoded. Real pictures
stay below; a crafted 100 KB file could ask for 2.7 GB."""

_MAX_SIDE = 1 << 20  # OpenCV's own limit; it also bounds what fitting needs for a row


class Header(NamedTuple):
    """A picture's format (see `sniff`) and its size in pixels."""

    format: str
    width: int
    height: int


class Decoder(NamedTuple):
    """What knows a format. Both may raise anything for a broken file."""

    size: Callable[[bytes], tuple[int, int]]
    decode: Callable[[bytes], Rgb]


DECODERS = {
    "jpeg": Decoder(jpeg.size, jpeg.decode),
    "png": Decoder(png.size, png.decode),
    "gif": Decoder(gif.size, gif.decode),
    "bmp": Decoder(opencv.bmp_size, opencv.decode),
    "webp": Decoder(opencv.webp_size, opencv.decode),
    "avif": Decoder(pillow.avif_size, pillow.avif),
    "heif": Decoder(pillow.heif_size, pillow.heif),
    "tiff": Decoder(pillow.tiff_size, pillow.tiff),
    "jp2": Decoder(pillow.jp2_size, pillow.jp2),
}


def probe(data: bytes, key: str = "") -> Header:
    """A picture's format and size, by its header.

    Args:
        data: the whole file.
        key: its storage key; only its extension matters, see `sniff`.

    Raises:
        NotAPicture: the content is no picture and the key does not claim that it is one.
        Undecodable: the key claims a picture that is none, the file is empty or its header is broken.
        MemoryError: as `decode`.
    """
    name = sniff(data, key)
    try:
        width, height = DECODERS[name].size(data)
    except MediumError:
        raise
    except Exception as error:  # whatever a decoder makes of a broken file is that file's outcome
        if is_memory_shortage(error):
            raise MemoryError("not enough memory to read the header") from error
        raise Undecodable(f"the {name} header is truncated or broken ({first_line(error)})") from error
    if width < 1 or height < 1:
        raise Undecodable(f"the header says {width} x {height} pixels")
    return Header(name, width, height)


def decode(data: bytes, key: str = "", *, max_pixels: int = MAX_PIXELS) -> Rgb:
    """Decodes one picture.

    Args:
        data: the whole file.
        key: its storage key; only its extension matters, see `sniff`.
        max_pixels: larger pictures are refused by their header, before anything is allocated.

    Returns:
        uint8 [height, width, 3], RGB, C-contiguous.

    Raises:
        NotAPicture: the content is no picture and the key does not claim that it is one.
        Undecodable: empty, truncated, broken, not supported or too large; the message says which.
        MemoryError: there is too little memory at this moment, which says nothing about the picture.
    """
    header = probe(data, key)
    size = f"{header.width} x {header.height} pixels"
    check_size(header, max_pixels)
    try:
        rgb = DECODERS[header.format].decode(data)
    except MediumError:
        raise
    except Exception as error:
        if is_memory_shortage(error):
            raise MemoryError(f"not enough memory for {size}") from error
        raise Undecodable(f"broken {header.format}: {first_line(error)}") from error
    if rgb.shape != (header.height, header.width, 3) or rgb.dtype != np.uint8:
        raise Undecodable(f"broken {header.format}: decoded to {rgb.shape} of {rgb.dtype} instead of {size}")
    return np.ascontiguousarray(rgb)


def check_size(header: Header, max_pixels: int) -> None:
    """Raises `Undecodable` for a picture that is too large."""
    if header.width * header.height > max_pixels or max(header.width, header.height) > _MAX_SIDE:
        raise Undecodable(
            f"{header.width} x {header.height} pixels are more than the limit of {max_pixels:,} (and {_MAX_SIDE:,} a "
            "side): raise it with --max-pixels"
        )


def is_memory_shortage(error: BaseException) -> bool:
    """Whether an error says that memory, or room for one more thread, is short at this moment."""
    if isinstance(error, cv2.error):  # its attribute `code` is the class's, and so that of any thread's latest error
        return "Insufficient memory" in str(error)
    return isinstance(error, MemoryError) or "can't start new thread" in str(error)
