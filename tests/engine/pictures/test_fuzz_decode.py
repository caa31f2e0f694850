"""Mutated pictures of every format: pixels or a reason, never another exception, never a crash.

`ENGINE_FUZZ=50000 pytest tests/engine/pictures/test_fuzz_decode.py --timeout 0` tries more than the few of every day.
"""

import os
import random
import zlib

import numpy as np
import pytest

from engine.errors import MediumError
from engine.pictures.decode import DECODERS, decode, probe
from tests.support.pictures import every_format

COUNT = int(os.environ.get("ENGINE_FUZZ", "600"))
SEED = int(os.environ.get("ENGINE_FUZZ_SEED", "1"))
FILES = every_format()


def mutated(data, chance):
    """Flips, overwrites, inserts, deletes, repeats and cuts; headers more often than their share of the file."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        at = chance.randrange(min(len(data), chance.choice((64, len(data)))))
        length = chance.choice((1, 2, 4, 30))
        match chance.randrange(7):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at : at + length] = chance.randbytes(length)
            case 2:
                data[at : at + length] = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
            case 3:
                data[at:at] = chance.randbytes(length)
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + 100]
            case 6:
                del data[chance.randrange(len(data)) :]
    return bytes(data)


def resigned(data):
    """The PNG with its checksums made right, as far as its chunks can be followed: they would stop every mutation."""
    data, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)


@pytest.mark.parametrize("name", FILES)
def test_the_size_that_is_checked_is_the_size_that_is_decoded(name):
    """Headers alone are mutated here, and the decoders asked without what `decode` checks afterwards."""
    chance = random.Random(f"{SEED} sizes {name}")
    decoder = DECODERS[probe(FILES[name]).format]
    for _ in range(COUNT // len(FILES)):
        cut = chance.randrange(8, 700)
        data = FILES[name][:8] + mutated(FILES[name][8:cut], chance) + FILES[name][cut:]
        if name.endswith(".png"):
            data = resigned(data)
        try:
            width, height = decoder.size(data)
            if not 0 < width * height <= 4_000_000:
                continue
            rgb = decoder.decode(data)
        except Exception:  # any will do: `decode` makes a reason of it
            continue
        if name.endswith(".heic"):  # libheif crops, or does not where the crop is broken
            assert rgb.shape[0] * rgb.shape[1] <= 4 * width * height + (1 << 20)
        else:
            assert rgb.shape[:2] == (height, width)


@pytest.mark.parametrize("name", FILES)
def test_mutated_pictures(name):
    chance = random.Random(f"{SEED} {name}")
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(COUNT // len(FILES)):
        data = mutated(FILES[name], chance)
        if name.endswith(".png") and chance.random() < 0.8:
            data = resigned(data)
        try:
            header = probe(data, name)
            rgb = decode(data, name, max_pixels=4_000_000)
        except MediumError as error:
            assert 0 < len(str(error)) < 400
            outcomes["refused"] += 1
        else:
            assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.flags["C_CONTIGUOUS"]
            assert rgb.shape[0] * rgb.shape[1] <= 4_000_000, header
            outcomes["decoded"] += 1
    assert outcomes["refused"] > 0 and (outcomes["decoded"] > 0 or name.endswith(".png")), (
        outcomes
    )  # zlib forgives little
