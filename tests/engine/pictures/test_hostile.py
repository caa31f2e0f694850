"""Small files that state one size and unpack to another: refused by the size that their decoder would allocate."""

import struct
import tracemalloc

import pytest
from PIL import Image

from engine.errors import Undecodable
from engine.pictures.decode import decode
from tests.support.pictures import encoded, every_format, heif, smooth

FILES = every_format()
BIG = 60_000
PICTURE = Image.fromarray(smooth(1500, 1700))
OWN_SIZE, LIE = struct.pack(">II", 1700, 1500), struct.pack(">II", 8, 8)

JP2 = encoded("JPEG2000", PICTURE, quality_mode="rates", quality_layers=[200], irreversible=True)


def box(kind: bytes, *content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_behind_restart() -> bytes:
    """RST0 has no length. Who takes FF E0 behind it for one leaps over the true frame header to one in a comment."""
    large = FILES["gray.jpg"][2:].replace(struct.pack(">HH", 61, 83), struct.pack(">HH", 65_500, 65_500))
    scan = large.index(b"\xff\xda")
    landing = 4 + 0xFFE0
    comment = bytes(landing - scan - 8) + jpeg_segment(0xC0, struct.pack(">BHHB", 8, 8, 8, 1) + b"\1\x11\0")
    return b"\xff\xd8\xff\xd0" + large[:scan] + jpeg_segment(0xFE, comment) + large[scan:]


def jpeg2000(place: bytes) -> bytes:
    """A SIZ of 8 x 8 in a box that no decoder looks into, before the codestream."""
    data = JP2
    at = data.index(b"jp2h") - 4
    decoy = box(place, b"\xff\x4f\xff\x51" + struct.pack(">HHIIII", 41, 0, 8, 8, 0, 0))
    return data[:at] + decoy + data[at:]


def tiff_twice() -> bytes:
    """Width and height twice: libtiff takes the first, Pillow the last."""
    small = encoded("TIFF", Image.fromarray(smooth()).convert("L"), compression="tiff_lzw")
    (at,) = struct.unpack_from("<I", small, 4)
    (count,) = struct.unpack_from("<H", small, at)
    entries = small[at + 2 : at + 2 + 12 * count]
    first = b"".join(struct.pack("<HHII", tag, 4, 1, BIG) for tag in (256, 257))
    directory = struct.pack("<H", count + 2) + first + entries + bytes(4)
    return small[:4] + struct.pack("<I", len(small) + len(small) % 2) + small[8:] + bytes(len(small) % 2) + directory


def tiff_tile() -> bytes:
    """A picture of 83 x 61 pixels in one tile of 60,000 x 60,000."""
    tags = {256: 83, 257: 61, 258: 8, 259: 8, 262: 1, 277: 1, 322: BIG, 323: BIG, 324: 8, 325: 100}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 200) + bytes(192) + struct.pack("<H", len(tags)) + entries + bytes(4)


AVIF = encoded("AVIF", PICTURE, speed=10)
HEIF = heif(Image.fromarray(smooth(1499, 1699)), quality=30)
SEQUENCE = encoded("AVIF", PICTURE, save_all=True, append_images=[PICTURE], speed=10)
HOSTILE = {
    "jpeg: RST0 with a length": jpeg_behind_restart(),
    "jp2: SIZ in free": jpeg2000(b"free"),
    "jp2: SIZ in uuid": jpeg2000(b"uuid"),
    "jp2: box and codestream differ": JP2.replace(struct.pack(">II", 1500, 1700), LIE, 1),
    "avif: ispe states less than the data": AVIF.replace(OWN_SIZE, LIE),
    "avif: a decoy before the true ispe": AVIF[:-1] + AVIF[-1:] + box(b"free", box(b"ispe", bytes(4), LIE)),
    "avif: a sequence's boxes state less": SEQUENCE.replace(OWN_SIZE, LIE),
    "heif: cropped to 8 x 8": HEIF.replace(b"clap" + struct.pack(">II", 1699, 1), b"clap" + struct.pack(">II", 8, 1)),
    "heif: ispe states less than the data": HEIF.replace(struct.pack(">II", 1700, 1500), LIE),
    "tiff: width and height twice": tiff_twice(),
    "tiff: one tile of 3.6 gigapixels": tiff_tile(),
    "gif: a frame larger than its screen": FILES["palette.gif"].replace(
        b"," + struct.pack("<HHHH", 0, 0, 83, 61), b"," + struct.pack("<HHHH", 0, 0, BIG, BIG)
    ),
    "webp: a picture larger than its canvas": b"RIFF"
    + struct.pack("<I4s4sI", 1 << 20, b"WEBP", b"VP8X", 10)
    + bytes(4)
    + b"\x07\0\0\x07\0\0"
    + encoded("WEBP", PICTURE, quality=50)[12:],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_size_that_is_not_the_decoders_passes_no_limit(name):
    """The limit is a million pixels, each true size more; the size stated is less than the limit."""
    assert len(HOSTILE[name]) < 70_000
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable):
            decode(HOSTILE[name], "hostile", max_pixels=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
