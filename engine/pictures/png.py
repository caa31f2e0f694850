"""PNG by Pillow, from the chunks that its pixels depend on.

libpng would give the same pixels, but prints its opinion of a file on stderr.
"""

import io
import struct
import zlib

from PIL.PngImagePlugin import PngImageFile

from engine.errors import Undecodable
from engine.pictures.pillow import to_rgb
from engine.types import Rgb

CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
"""The chunks that a decoder must not leave out."""


def size(data: bytes) -> tuple[int, int]:
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    if name != b"IHDR" or length != 13:
        raise ValueError("PNG without IHDR")
    return width, height


def decode(data: bytes) -> Rgb:
    """Without colour profiles, text, EXIF, the further frames of an animation, and its transparency."""
    with PngImageFile(io.BytesIO(chunks(data, *CRITICAL))) as image:
        return to_rgb(image)


def chunks(data: bytes, *names: bytes) -> bytes:
    """The PNG with only the chunks of these names. Truncation and wrong checksums are found on the way."""
    kept: list[bytes | memoryview] = [data[:8]]
    at, view = 8, memoryview(data)
    while True:
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise Undecodable("truncated PNG")
        if name in names:
            if name == b"IHDR" and at != 8:
                raise Undecodable("broken PNG: two headers")
            if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
                raise Undecodable(f"broken PNG: wrong checksum in {name.decode()}")
            kept.append(view[at:end])
        if name == b"IEND":
            return b"".join(kept)
        at = end
