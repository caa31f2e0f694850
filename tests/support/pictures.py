"""Real picture files of every format for the tests, made on the spot."""

import io
import struct
import zlib

import cv2
import numpy as np
import pillow_heif
from PIL import Image


def smooth(rows=61, columns=83, seed=0):
    """uint8 [rows, columns, 3]: soft colours, so that lossy formats stay close."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)


def encoded(form, image, **options):
    """The file of a Pillow image."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def heif(image, **options):
    """The HEIC file of a Pillow image."""
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **options)
    return file.getvalue()


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_claiming(width, height, body=b""):
    """A PNG whose header promises a size, whatever its data."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(body)) + png_chunk(b"IEND", b"")


def every_format():
    """Name to file, each of `smooth()`, or of it and further frames."""
    image = Image.fromarray(smooth())
    rgba = image.copy()
    rgba.putalpha(Image.fromarray(smooth(seed=1)[..., 0]))
    palette = image.quantize(64)
    frames = [Image.fromarray(smooth(seed=seed)) for seed in (2, 3)]
    sixteen = smooth()[..., ::-1].astype(np.uint16) * 257
    return {
        "rgb.jpg": encoded("JPEG", image, quality=95),
        "progressive.jpg": encoded("JPEG", image, quality=95, progressive=True),
        "restart.jpg": encoded("JPEG", image, quality=95, restart_marker_rows=1),
        "gray.jpg": encoded("JPEG", image.convert("L"), quality=95),
        "cmyk.jpg": encoded("JPEG", image.convert("CMYK"), quality=95),
        "rgb.png": encoded("PNG", image),
        "rgba.png": encoded("PNG", rgba),
        "palette.png": encoded("PNG", palette),
        "animated.png": encoded("PNG", image, save_all=True, append_images=frames),
        "sixteen.png": cv2.imencode(".png", sixteen)[1].tobytes(),
        "palette.gif": encoded("GIF", palette),
        "animated.gif": encoded("GIF", palette, save_all=True, append_images=[f.quantize(64) for f in frames]),
        "rgb.bmp": encoded("BMP", image),
        "palette.bmp": encoded("BMP", palette),
        "lossy.webp": encoded("WEBP", image, quality=95),
        "lossless.webp": encoded("WEBP", rgba, lossless=True, exact=True),
        "animated.webp": encoded("WEBP", image, save_all=True, append_images=frames, lossless=True),
        "rgb.avif": encoded("AVIF", image, quality=95, speed=10),
        "animated.avif": encoded("AVIF", image, save_all=True, append_images=frames, quality=95, speed=10),
        "rgb.heic": heif(image, quality=95),
        "rgb.tiff": encoded("TIFF", image),
        "lzw.tiff": encoded("TIFF", image, compression="tiff_lzw"),
        "cmyk.tiff": encoded("TIFF", image.convert("CMYK")),
        "sixteen.tiff": cv2.imencode(".tiff", sixteen)[1].tobytes(),
        "rgb.jp2": encoded("JPEG2000", image),
    }
