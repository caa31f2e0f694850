"""Bytes -> RGB as Pillow decodes them, with what is transparent laid over white: what most taggers are fed.

    image = Image.open(file).convert("RGBA")
    canvas = Image.new("RGBA", image.size, "white"); canvas.alpha_composite(image); canvas.convert("RGB")

gives the same pixels, from four times the memory. Formats are told apart, headers checked and sizes limited as in
`engine.pictures.decode`; `Image.open` would try formats that we do not want opened, and has a global limit of its own.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from engine.errors import MediumError, Undecodable, first_line
from engine.pictures import pillow, png
from engine.pictures.decode import MAX_PIXELS, Header, check_size, is_memory_shortage
from engine.pictures.decode import probe as probe_frame
from engine.types import Rgb

_OPEN: dict[str, Callable[[bytes], Image.Image]] = {
    "jpeg": lambda data: JpegImageFile(io.BytesIO(data)),
    "png": lambda data: PngImageFile(io.BytesIO(png.chunks(data, *png.CRITICAL, b"tRNS", b"eXIf"))),
    "gif": lambda data: GifImageFile(io.BytesIO(data)),
    "bmp": lambda data: BmpImageFile(io.BytesIO(data)),
    "webp": lambda data: WebPImageFile(io.BytesIO(data)),
    "avif": lambda data: AvifImageFile(io.BytesIO(data)),
    "tiff": lambda data: TiffImageFile(io.BytesIO(data)),
    "jp2": lambda data: Jpeg2KImageFile(io.BytesIO(data)),
    "heif": pillow.open_heif,
}
_BAND = 1 << 20  # pixels that are laid over white at a time


def probe(data: bytes, key: str = "") -> Header:
    """As `engine.pictures.decode.probe`, but of a GIF the screen, which Pillow paints on, and not its first frame."""
    header = probe_frame(data, key)
    if header.format != "gif":
        return header
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (6, 8))
    return Header("gif", max(width, header.width), max(height, header.height))


def decode(data: bytes, key: str = "", *, max_pixels: int = MAX_PIXELS, upright: bool = True) -> Rgb:
    """Decodes one picture; of an animation the first frame.

    Args:
        data: the whole file.
        key: its storage key; only its extension matters.
        max_pixels: larger pictures are refused by their header, before anything is allocated.
        upright: turned as EXIF says.

    Returns:
        uint8 [height, width, 3], RGB, C-contiguous.

    Raises:
        NotAPicture, Undecodable, MemoryError: as `engine.pictures.decode.decode`.
    """
    header = probe(data, key)
    check_size(header, max_pixels)
    try:
        with _OPEN[header.format](data) as image:
            check_size(Header(header.format, *image.size), max_pixels)
            if upright:
                ImageOps.exif_transpose(image, in_place=True)
            return _over_white(image)
    except MediumError:
        raise
    except Exception as error:  # whatever a decoder makes of a broken file is that file's outcome
        if is_memory_shortage(error):
            raise MemoryError(f"not enough memory for {header.width} x {header.height} pixels") from error
        raise Undecodable(f"broken {header.format}: {first_line(error)}") from error


def _over_white(image: Image.Image) -> Rgb:
    image.load()
    if not image.has_transparency_data:
        return np.ascontiguousarray(image.convert("RGB"))
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    step = max(1, _BAND // image.width)
    for top in range(0, image.height, step):
        band = image.crop((0, top, image.width, min(top + step, image.height))).convert("RGBA")
        canvas = Image.new("RGBA", band.size, (255, 255, 255))
        canvas.alpha_composite(band)
        rgb[top : top + step] = np.asarray(canvas.convert("RGB"))
    return rgb
