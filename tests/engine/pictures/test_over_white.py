"""Decoding as the published code of WD taggers does it: by Pillow, alpha over white, upright as gradio gives it."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from engine.errors import NotAPicture, Undecodable
from engine.pictures import over_white


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


def smooth(height: int, width: int, channels: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [128 + 127 * np.sin(x / (5 + c) + y / (9 - c) + c) for c in range(channels)]
    return np.stack(waves, axis=2).astype(np.uint8)


def published(data: bytes) -> np.ndarray:
    """gradio's `Image(image_mode="RGBA")`, then the beginning of SmilingWolf's `prepare_image`."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
    canvas = Image.new("RGBA", image.size, (255, 255, 255))
    canvas.alpha_composite(image)
    return np.asarray(canvas.convert("RGB"))


def saved(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def sideways() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def palette(alpha: bool) -> Image.Image:
    image = Image.fromarray(smooth(41, 37, 3)).quantize(16)
    if alpha:
        image.info["transparency"] = 3
    return image


GRAY16 = Image.fromarray((np.arange(41 * 37, dtype=np.uint16) * 43).reshape(41, 37))
FILES = {
    "jpeg": saved(Image.fromarray(smooth(61, 83, 3)), "JPEG", quality=80),
    "jpeg, progressive, 4:4:4": saved(
        Image.fromarray(smooth(61, 83, 3)), "JPEG", quality=95, subsampling=0, progressive=True
    ),
    "jpeg, gray": saved(Image.fromarray(smooth(61, 83, 1)[..., 0]), "JPEG"),
    "jpeg, CMYK": saved(Image.fromarray(smooth(33, 47, 4), "CMYK"), "JPEG"),
    "jpeg, on its side": saved(Image.fromarray(smooth(61, 83, 3)), "JPEG", exif=sideways()),
    "png": saved(Image.fromarray(noise(41, 37, 3)), "PNG"),
    "png, alpha": saved(Image.fromarray(noise(41, 37, 4)), "PNG"),
    "png, gray and alpha": saved(Image.fromarray(noise(41, 37, 2), "LA"), "PNG"),
    "png, gray": saved(Image.fromarray(noise(41, 37)), "PNG"),
    "png, gray of 16 bits": saved(GRAY16, "PNG"),
    "png, one bit": saved(Image.fromarray(noise(41, 37)).convert("1"), "PNG"),
    "png, palette": saved(palette(alpha=False), "PNG"),
    "png, palette with a transparent colour": saved(palette(alpha=True), "PNG"),
    "png, palette with alphas": saved(palette(alpha=False), "PNG", transparency=bytes(range(0, 256, 16))),
    "png, one transparent colour": saved(Image.new("RGB", (5, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
    "png, on its side": saved(Image.fromarray(noise(41, 37, 4)), "PNG", exif=sideways()),
    "gif": saved(palette(alpha=False), "GIF"),
    "gif, transparent": saved(palette(alpha=True), "GIF", transparency=3),
    "gif, animated": saved(
        palette(alpha=True), "GIF", transparency=3, save_all=True, append_images=[Image.new("L", (37, 41), 9)]
    ),
    "bmp": saved(Image.fromarray(noise(41, 37, 3)), "BMP"),
    "bmp, alpha": saved(Image.fromarray(noise(41, 37, 4)), "BMP"),
    "webp": saved(Image.fromarray(smooth(41, 37, 3)), "WEBP", quality=70),
    "webp, alpha": saved(Image.fromarray(noise(41, 37, 4)), "WEBP", lossless=True, exact=True),
    "webp, on its side": saved(Image.fromarray(smooth(41, 37, 3)), "WEBP", exif=sideways()),
    "avif, alpha": saved(Image.fromarray(smooth(64, 64, 4)), "AVIF"),
    "tiff, alpha": saved(Image.fromarray(noise(41, 37, 4)), "TIFF"),
    "tiff, CMYK": saved(Image.fromarray(noise(41, 37, 4), "CMYK"), "TIFF"),
    "jp2": saved(Image.fromarray(smooth(64, 64, 3)), "JPEG2000"),
    "one pixel": saved(Image.fromarray(noise(1, 1, 4)), "PNG"),
    "a line": saved(Image.fromarray(noise(1, 301, 4)), "PNG"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("band", [1 << 20, 100])  # in one go, and some rows at a time
def test_the_pixels_are_those_of_the_published_code(name: str, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_white, "_BAND", band)
    decoded, wanted = over_white.decode(FILES[name]), published(FILES[name])
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, wanted)


def test_what_is_transparent_is_white() -> None:
    assert over_white.decode(FILES["png, one transparent colour"]).min() == 255


def test_orientation_may_stay_as_it_is() -> None:
    lying = over_white.decode(FILES["jpeg, on its side"], upright=False)
    assert np.array_equal(lying.shape, (61, 83, 3))
    assert np.array_equal(np.rot90(lying, 3), over_white.decode(FILES["jpeg, on its side"]))


def gif_with_a_large_screen() -> bytes:
    data = bytearray(FILES["gif"])
    data[6:10] = struct.pack("<HH", 60_000, 60_000)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (FILES["jpeg"][:900], "truncated"),
        (FILES["png"][:-30], "truncated"),
        (FILES["webp"][:-30], "broken webp"),
        (FILES["gif"][:40], "gif"),
        (gif_with_a_large_screen(), "60000 x 60000 pixels are more than the limit"),
        (b"", "empty"),
    ],
)
def test_what_cannot_be_decoded(data: bytes, says: str) -> None:
    with pytest.raises(Undecodable, match=says):
        over_white.decode(data)


def test_limits_hold() -> None:
    with pytest.raises(Undecodable, match="raise it with --max-pixels"):
        over_white.decode(FILES["png"], max_pixels=1000)
    with pytest.raises(NotAPicture):
        over_white.decode(b"%PDF-1.7 and more", "a.pdf")
    assert over_white.probe(gif_with_a_large_screen()).width == 60_000
