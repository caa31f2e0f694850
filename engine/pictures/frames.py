"""The frames of an animation as pictures of their own: GIF, WebP, PNG and AVIF, painted by Pillow as a viewer does."""

import io
from collections.abc import Callable

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from engine.errors import MediumError, Undecodable, first_line
from engine.pictures.decode import Header, check_size
from engine.pictures.over_white import probe
from engine.pictures.sniff import sniff

_OPEN: dict[str, Callable[[bytes], Image.Image]] = {
    "gif": lambda data: GifImageFile(io.BytesIO(data)),
    "webp": lambda data: WebPImageFile(io.BytesIO(data)),
    "png": lambda data: PngImageFile(io.BytesIO(data)),
    "avif": lambda data: AvifImageFile(io.BytesIO(data)),
}


def may_move(head: bytes) -> bool:
    """Whether a file that begins so is of a format that holds animations."""
    try:
        return sniff(head) in _OPEN
    except MediumError:
        return False


def chosen(data: bytes, most: int) -> list[int]:
    """Which frames of a file stand for it: at most so many, from the first one on and evenly spread.

    A picture that does not move, or cannot be opened, has the first one alone.
    """
    try:
        with _OPEN[sniff(data)](data) as image:
            count = int(getattr(image, "n_frames", 1))
    except Exception:  # whatever a decoder makes of a broken file is told when the picture itself is decoded
        return [0]
    if count <= most:
        return list(range(count))
    return [i * count // most for i in range(most)]


def frame(data: bytes, index: int, *, max_pixels: int) -> bytes:
    """Frame `index`, 0 or more, as a PNG file. The first one is the file itself, so it is decoded as ever.

    Raises:
        Undecodable: the frame is broken, or the picture larger than `max_pixels`.
    """
    if index == 0:
        return data
    try:
        header = probe(data)
        check_size(header, max_pixels)
        with _OPEN[header.format](data) as image:
            check_size(Header(header.format, *image.size), max_pixels)
            image.seek(index)
            painted = image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGBA")
            file = io.BytesIO()
            painted.save(file, "PNG", compress_level=1, icc_profile=None)
            return file.getvalue()
    except MediumError:
        raise
    except Exception as error:
        raise Undecodable(f"frame {index + 1} of the animation is broken: {first_line(error)}") from error
