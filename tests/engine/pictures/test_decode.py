"""Real files of every format: the right pixels, the first frame, and a reason for each that cannot be decoded."""

import contextlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from engine.errors import NotAPicture, Undecodable
from engine.pictures import pillow
from engine.pictures.decode import decode, probe
from tests.support.pictures import encoded, every_format, png_chunk, png_claiming, smooth

FILES = every_format()
COARSE = {"palette.png": 90, "palette.gif": 90, "palette.bmp": 90, "animated.gif": 90, "gray.jpg": 255}
"""How far a format may be from its source, in levels; the others 40 (lossy, chroma at half size)."""
ONE_FRAME = {"animated.png": "rgb.png", "animated.gif": "palette.gif"}
"""Animations of which only the first frame is looked at, and the file that ends with it."""


@pytest.mark.parametrize("name", FILES)
def test_every_format(name):
    header = probe(FILES[name], "no-extension")
    rgb = decode(FILES[name], "no-extension")
    assert (header.height, header.width) == (61, 83)
    assert rgb.shape == (61, 83, 3) and rgb.dtype == np.uint8 and rgb.flags["C_CONTIGUOUS"]
    far = np.abs(rgb.astype(int) - smooth()).max()
    assert far <= COARSE.get(name, 0 if name.startswith(("rgb.png", "rgba", "sixteen", "lossless")) else 40)


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_fail(name):
    data = FILES[name]
    first_frame = len(FILES[ONE_FRAME.get(name, name)])
    for length in (first_frame // 3, first_frame // 2, first_frame * 9 // 10):
        with pytest.raises(Undecodable):
            decode(data[:length], name)
    if name.endswith((".jpg", ".png")):
        with pytest.raises(Undecodable, match=r"Premature end|truncated"):
            decode(data[:-2], name)


def test_a_jpeg_that_is_damaged_but_complete_passes_as_in_the_original():
    data = FILES["rgb.jpg"]
    middle = len(data) * 3 // 4
    assert decode(data[:middle] + bytes(8) + data[middle + 8 :]).shape == (61, 83, 3)
    assert np.array_equal(decode(data + b"trailing"), decode(data))


def test_cmyk_is_converted_as_in_the_original():
    image = Image.fromarray(smooth()).convert("CMYK")
    rgb = decode(encoded("JPEG", image, quality=100, subsampling=0))
    inks = 255 - np.asarray(image).astype(int)
    assert np.abs(rgb - inks[..., :3] * inks[..., 3:] // 255).max() <= 10


def test_a_jpeg_of_rare_subsampling_is_decoded():
    data = bytearray(encoded("JPEG", Image.fromarray(smooth()), subsampling=0))
    data[data.index(b"\xff\xc0") + 11] = 0x31  # a lie, so the pixels mean nothing, but its decoder is found
    assert decode(bytes(data)).shape == (61, 83, 3)
    with pytest.raises(Undecodable, match="subsampling"):
        decode(bytes(data[:-2]))


def test_exif_orientation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("JPEG", "PNG", "WEBP"):
        assert decode(encoded(form, Image.fromarray(smooth()), exif=exif)).shape == (61, 83, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_broken_colour_profile_or_exif_does_no_harm(form, capfd):
    image = Image.fromarray(smooth())
    plain = decode(encoded(form, image))
    assert np.array_equal(decode(encoded(form, image, icc_profile=b"\xff" * 999)), plain)
    assert np.array_equal(decode(encoded(form, image, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xee" * 99)), plain)
    assert capfd.readouterr().err == ""


def test_a_wrong_checksum_fails_only_where_pixels_are():
    data = FILES["rgb.png"]
    text = png_chunk(b"tEXt", b"a\0b")
    broken_text = data[:33] + text[:-1] + b"?" + data[33:]
    assert np.array_equal(decode(broken_text), decode(data))
    at = data.index(b"IDAT") + 20
    with pytest.raises(Undecodable, match="checksum in IDAT"):
        decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


NOT_PICTURES = {
    "video.mp4": b"\0\0\0\x20ftypisom" + bytes(500),
    "video.webm": b"\x1aE\xdf\xa3" + bytes(500),
    "video.avi": b"RIFF\0\0\0\0AVI " + bytes(500),
    "sidecar.xml": b"\xef\xbb\xbf<?xml version='1.0'?>",
    "sidecar.json": b'{"tags": []}',
    "tags.txt": b"1girl, solo",
    "pictures.zip": b"PK\x03\x04" + bytes(100),
    "Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(100),
    "empty.txt": b"",
    "hash-without-extension": b"<html></html>",
}


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_what_is_no_picture_is_skipped_unless_it_claims_to_be_one(name):
    for read in (probe, decode):
        with pytest.raises(NotAPicture):
            read(NOT_PICTURES[name], f"a.jpg/{name}")
        with pytest.raises(Undecodable, match="not a picture"):
            read(NOT_PICTURES[name], f"{name}.JPG")


@pytest.mark.parametrize("name", ["claimed.jpg", "claimed"])
def test_an_empty_file_fails(name):
    with pytest.raises(Undecodable, match="empty"):
        decode(b"", name)


def test_what_cannot_be_decoded_is_named():
    with pytest.raises(Undecodable, match="JPEG XL"):
        decode(b"\xff\x0a" + bytes(99), "a.jxl")


BOMBS = {
    "png": png_claiming(30_000, 30_000, bytes(100_000_000)),
    "gif": FILES["palette.gif"].replace(struct.pack("<HH", 83, 61), struct.pack("<HH", 60_000, 60_000)),
    "bmp": FILES["rgb.bmp"][:18] + struct.pack("<ii", 40_000, -40_000) + FILES["rgb.bmp"][26:],
    "webp": FILES["animated.webp"][:24] + b"\xff\x3f\0\xff\x3f\0" + FILES["animated.webp"][30:],
    "avif": FILES["rgb.avif"].replace(struct.pack(">II", 83, 61), struct.pack(">II", 12_000, 12_000)),
    "tall png": png_claiming(2, 1 << 21),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_anything_is_allocated(name):
    assert len(BOMBS[name]) < 120_000
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable, match="--max-pixels"):
            decode(BOMBS[name], "bomb")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_can_be_raised_and_lowered():
    assert decode(FILES["rgb.png"], max_pixels=61 * 83).shape == (61, 83, 3)
    with pytest.raises(Undecodable, match="83 x 61 pixels are more than the limit of 5,062"):
        decode(FILES["rgb.png"], max_pixels=61 * 83 - 1)


def test_thousands_of_frames_cost_one():
    frames = [Image.fromarray(np.full((200, 200), shade % 250, np.uint8)) for shade in range(2000)]
    data = encoded("GIF", frames[0], save_all=True, append_images=frames[1:])
    tracemalloc.start()
    try:
        assert decode(data).shape == (200, 200, 3)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_broken_files_leave_no_noise(capfd):
    for name, data in FILES.items():
        with pytest.raises(Undecodable):
            decode(data[: len(data) // 3], name)
    assert capfd.readouterr().err == ""


PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", png_chunk(b"IEND", b"")
GRAY_HEADER = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
ROWS = bytes(8 * 9)
LIBPNG_SPEAKS_OF = {
    "too much data": [(b"IHDR", GRAY_HEADER), (b"IDAT", zlib.compress(ROWS + ROWS))],
    "data that is no stream": [(b"IHDR", GRAY_HEADER), (b"IDAT", b"not zlib")],
    "a wrong sum of the data": [(b"IHDR", GRAY_HEADER), (b"IDAT", zlib.compress(ROWS)[:-1] + b"?")],
    "too little data": [(b"IHDR", GRAY_HEADER), (b"IDAT", zlib.compress(ROWS[:20]))],
    "an unknown filter": [(b"IHDR", GRAY_HEADER), (b"IDAT", zlib.compress(b"\x09" + ROWS[1:]))],
    "an odd header": [(b"IHDR", GRAY_HEADER[:-2] + b"\7\7"), (b"IDAT", zlib.compress(ROWS))],
    "a palette of gray": [(b"IHDR", GRAY_HEADER), (b"PLTE", bytes(9)), (b"IDAT", zlib.compress(ROWS))],
    "odd transparency": [(b"IHDR", GRAY_HEADER), (b"tRNS", b"\xff\xff"), (b"IDAT", zlib.compress(ROWS))],
}


@pytest.mark.parametrize("name", LIBPNG_SPEAKS_OF)
def test_nothing_of_a_png_reaches_the_terminal(name, capfd):
    with contextlib.suppress(Undecodable):
        decode(PNG_START + b"".join(png_chunk(*chunk) for chunk in LIBPNG_SPEAKS_OF[name]) + PNG_END)
    shown = capfd.readouterr()
    assert shown.out == shown.err == ""


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_a_picture_in_strips_has_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 29, 3), np.uint8))
    image = rgb.convert("L").convert("I;16") if mode == "I;16" else rgb.convert(mode)
    whole = pillow.to_rgb(image)
    monkeypatch.setattr(pillow, "_STRIP", 29 * 5 + 3)
    assert np.array_equal(pillow.to_rgb(image), whole) and whole.shape == (37, 29, 3)
