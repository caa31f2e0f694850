"""Thumbnails for the page, made when they are asked for and kept in memory."""

import threading
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

MAX_PIXELS = 50_000_000
"""A picture with more is not opened for the page: 50 megapixels are 200 MB once decoded."""

_decoding = threading.Semaphore(2)  # bounds the memory, and leaves cores to an engine on this machine


def thumbnail(file: Path, side: int) -> bytes:
    """The picture within side x side as WebP, turned as its EXIF says; a plain tile if it cannot be decoded.

    A tile instead of an error, so that the page looks well though some files are broken.
    """
    try:
        status = file.stat()
        return _thumbnail(file, status.st_mtime_ns, side)
    except Exception:  # on broken files Pillow raises exceptions of many types
        return placeholder()


@lru_cache(maxsize=2_000)  # some 15 KB each
def _thumbnail(file: Path, _changed: int, side: int) -> bytes:
    with _decoding, Image.open(file) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        image.draft("RGB", (side, side))  # a JPEG is decoded at a fraction of its size
        small = ImageOps.exif_transpose(image)
        small = small.convert("RGBA" if small.has_transparency_data else "RGB")
        small.thumbnail((side, side))
        return _webp(small)


@lru_cache(maxsize=1)
def placeholder() -> bytes:
    """A dark tile with a cross."""
    tile = Image.new("RGB", (240, 240), "#22222e")
    draw = ImageDraw.Draw(tile)
    for line in ((96, 96, 144, 144), (96, 144, 144, 96)):
        draw.line(line, fill="#55556a", width=6)
    return _webp(tile)


def _webp(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "WEBP", quality=80)
    return out.getvalue()
