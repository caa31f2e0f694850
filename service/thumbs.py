"""Thumbnails for the page, made when they are asked for and kept in memory."""

import threading
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, ImageDraw, ImageOps

from engine.pictures.decode import decode
from engine.pictures.sniff import sniff

MAX_PIXELS = 50_000_000
"""A picture with more is not opened for the page: 50 megapixels are 200 MB once decoded."""

MAX_FILE_SIZE = 256_000_000
"""A file with more bytes is not read for the page; the engine's own default."""

_WITH_EXIF = ("jpeg", "png", "webp", "avif")  # as Pillow calls them too; TIFF and HEIF come upright

_decoding = threading.Semaphore(2)  # bounds the memory, and leaves cores to an engine on this machine


def thumbnail(file: Path, side: int) -> bytes:
    """The picture within side x side as WebP, turned as its EXIF says; a plain tile if it cannot be decoded.

    It is decoded as the engine does, so it shows what the model sees (without transparency), and opens nothing else.

    A tile instead of an error, so that the page looks well though some files are broken.
    """
    try:
        status = file.stat()
        if status.st_size > MAX_FILE_SIZE:
            return placeholder()
        return _thumbnail(file, status.st_mtime_ns, side)
    except Exception:  # on broken files Pillow raises exceptions of many types
        return placeholder()


@lru_cache(maxsize=2_000)  # some 15 KB each
def _thumbnail(file: Path, _changed: int, side: int) -> bytes:
    with _decoding:
        data = file.read_bytes()
        small = Image.fromarray(decode(data, file.name, max_pixels=MAX_PIXELS))
        small.thumbnail((side, side))
        small.getexif()[ExifTags.Base.Orientation] = _orientation(data, sniff(data))
        return _webp(ImageOps.exif_transpose(small))


def _orientation(data: bytes, kind: str) -> int:
    """How a picture is to be turned (EXIF, 1 to 8); 1 where that is not said or the EXIF is broken."""
    if kind not in _WITH_EXIF:
        return 1
    try:
        with Image.open(BytesIO(data), formats=[kind]) as image:
            return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # on broken files Pillow raises exceptions of many types
        return 1


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
