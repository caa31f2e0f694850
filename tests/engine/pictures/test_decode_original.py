"""Decoding held against TensorFlow's own, pixel by pixel: GIFs of every kind, JPEGs whose headers make libjpeg warn."""

import os
import random
import struct

import numpy as np
import pytest
from PIL import Image

from engine.errors import MediumError
from engine.pictures.decode import decode
from tests.support.pictures import encoded, every_format, smooth

pytestmark = pytest.mark.full
COUNT = int(os.environ.get("ENGINE_FUZZ", "600"))
PICTURE = Image.fromarray(smooth())
BASES = {name: data for name, data in every_format().items() if name.endswith(".jpg")}


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def trouble(chance: random.Random) -> bytes:
    """What libjpeg warns of, or passes over, between two segments of a header."""
    return chance.choice(
        (
            b"junk"[: chance.randrange(1, 5)],
            bytes((0xFF, 0xD0 + chance.randrange(8))),
            b"\xff\x01",
            b"\xff\xff\xff",
            segment(0xE2, b"ICC_PROFILE\0" + bytes((chance.randrange(4), chance.randrange(4))) + chance.randbytes(20)),
            segment(0xEE, (b"Adobe" + chance.randbytes(7))[: chance.randrange(13)]),
            segment(0xEE, b"Adobe\0d\0\0\0\0" + bytes([chance.choice((0, 1, 2, 3, 9))])),
            segment(0xE0, b"JFIF\0" + bytes((chance.randrange(4), chance.randrange(9))) + chance.randbytes(7)),
            segment(0xE1, b"Exif\0\0" + chance.randbytes(30)),
            segment(0xFE, chance.randbytes(9)),
        )
    )


def troubled(data: bytes, chance: random.Random) -> bytes:
    out, at = bytearray(data[:2]), 2
    while data[at + 1] != 0xDA:
        if chance.random() < 0.4:
            out += trouble(chance)
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        out += data[at:end]
        at = end
    return bytes(out + data[at:])


def gif(chance: random.Random) -> bytes:
    """One frame of any size, at any place of a screen of any size, transparent or not, interlaced or not."""
    colours = chance.choice((2, 3, 4, 16, 64, 200, 256))
    size = chance.randrange(1, 84), chance.randrange(1, 62)
    options = {"transparency": chance.randrange(colours)} if chance.random() < 0.6 else {}
    picture = PICTURE.crop((0, 0, *size)).quantize(colours)
    data = encoded("GIF", picture, interlace=chance.randrange(2), **options)
    at = data.index(b"," + struct.pack("<HHHH", 0, 0, *size))
    screen = struct.pack("<HH", *(chance.randrange(1, 200) for _ in range(2))) if chance.random() < 0.5 else data[6:10]
    place = struct.pack("<HH", *(chance.randrange(90) for _ in range(2))) if chance.random() < 0.5 else bytes(4)
    return data[:6] + screen + data[10 : at + 1] + place + data[at + 5 :]


def originals(data: bytes):
    """As `deepdanbooru evaluate` decodes; None where that raises."""
    import tensorflow as tf

    try:
        return tf.io.decode_png(tf.constant(data), channels=3).numpy()
    except tf.errors.InvalidArgumentError:
        return None


def test_gifs_are_equal() -> None:
    chance = random.Random(1)
    for _ in range(max(60, COUNT // 10)):
        data = gif(chance)
        assert np.array_equal(decode(data), originals(data))


@pytest.mark.parametrize("name", BASES)
def test_jpegs_with_trouble_in_the_header_are_equal(name: str) -> None:
    chance = random.Random(name)
    decoded = 0
    for _ in range(max(60, COUNT // 10)):
        data = troubled(BASES[name], chance)
        wanted = originals(data)
        if wanted is None:
            with pytest.raises(MediumError):
                decode(data)
        else:
            assert np.array_equal(decode(data), wanted)
            decoded += 1
    assert decoded > 40


@pytest.mark.parametrize("name", [name for name in every_format() if name.endswith(".png")])
def test_pngs_are_equal(name: str) -> None:
    data = every_format()[name]
    assert np.array_equal(decode(data), originals(data))
