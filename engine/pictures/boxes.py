"""How large the pictures inside AVIF, HEIF and JPEG 2000 are, told by their data: boxes are walked, not searched.

Such a file states the size of its picture in a box, and again in the data of the picture. A decoder checks the first
and allocates by the second, so both are read. What is walked: ISO 14496-12 (boxes, tracks), ISO 23008-12 (items),
the AV1 bitstream specification (5.5, sequence header), ISO 15444-1 (A.5.1, SIZ).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_MOST_UNITS = 10_000  # a picture has a handful, and a unit may be a single byte


class Box(NamedTuple):
    """A box's type and where its content lies."""

    type: bytes
    start: int
    end: int


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes of a stretch, one after the other. Raises `ValueError` for one that goes beyond it."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        elif size == 0:
            size = end - start
        if not body - start <= size <= end - start:
            raise ValueError(f"the box {kind!r} goes beyond the end")
        yield Box(kind, body, start + size)
        start += size


def find(data: bytes, path: tuple[bytes, ...], start: int = 0, end: int | None = None) -> Iterator[Box]:
    """All boxes at a path of types; `meta` has four bytes before its children."""
    for box in boxes(data, start, len(data) if end is None else end):
        if box.type == path[0]:
            if len(path) == 1:
                yield box
            else:
                yield from find(data, path[1:], box.start + 4 * (box.type == b"meta"), box.end)


def jp2_size(data: bytes) -> tuple[int, int]:
    """Width and height by the SIZ segment of the codestream, which is the first `jp2c` box or the whole file."""
    at = 0
    if not data.startswith(b"\xff\x4f"):
        codestream = next(find(data, (b"jp2c",)), None)
        if codestream is None:
            raise ValueError("JPEG 2000 without a codestream")
        at = codestream.start
    soc_siz, _, _, right, bottom, left, top = struct.unpack_from(">IHHIIII", data, at)
    if soc_siz != 0xFF4FFF51:
        raise ValueError("JPEG 2000 whose codestream has no size")
    return right - left, bottom - top


def heif_pixels(data: bytes) -> int:
    """The pixels of the largest picture that the boxes of a HEIF file state, before it is cropped."""
    found = find(data, (b"meta", b"iprp", b"ipco", b"ispe"))
    sizes = (struct.unpack_from(">II", data, box.start + 4) for box in found)
    return max((width * height for width, height in sizes), default=0)


def av1_pixels(data: bytes) -> int:
    """The pixels of all pictures that decoding an AVIF file may unpack: tiles, alpha, the first frames of tracks."""
    streams = [*_items(data), *_first_samples(data)]
    return sum(_largest_frame(stream) for stream in streams)


def _items(data: bytes) -> Iterator[bytes]:
    """The AV1 items of the file, each joined from its extents."""
    meta = (b"meta",)
    kinds = {number for box in find(data, (*meta, b"iinf")) for number in _av1_numbers(data, box)}
    inline = next(find(data, (*meta, b"idat")), None)
    left = len(data)
    for box in find(data, (*meta, b"iloc")):
        for number, method, extents in _locations(data, box):
            if number not in kinds:
                continue
            base, end = (inline.start, inline.end) if method == 1 and inline else (0, len(data))
            item = bytearray()
            for at, length in extents:
                item += data[base + at : min(end, base + at + length) if length else end]
                if len(item) > left:
                    raise ValueError("its items share their bytes")
            left -= len(item)
            yield bytes(item)


def _av1_numbers(data: bytes, iinf: Box) -> Iterator[int]:
    count = 2 if data[iinf.start] == 0 else 4
    for box in boxes(data, iinf.start + 4 + count, iinf.end):
        if box.type == b"infe" and data[box.start] >= 2:
            wide = data[box.start] >= 3
            number, _, kind = struct.unpack_from(">IH4s" if wide else ">HH4s", data, box.start + 4)
            if kind == b"av01":
                yield number


def _locations(data: bytes, iloc: Box) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Number, construction method and extents (offset, length) of each item."""
    at = iloc.start + 4
    version = data[iloc.start]

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > iloc.end:
            raise ValueError("the box of locations is cut off")
        return int.from_bytes(data[at - size : at], "big")

    sizes = number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(number(2 if version < 2 else 4)):
        item = number(2 if version < 2 else 4)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        extents = []
        for _ in range(number(2)):
            number(index_size if version else 0)
            extents.append((base + number(offset_size), number(length_size)))
        yield item, method, extents


def _first_samples(data: bytes) -> Iterator[bytes]:
    """The first sample of each track; what is no AV1 has no sequence header to be found."""
    for table in find(data, (b"moov", b"trak", b"mdia", b"minf", b"stbl")):
        for kind, form in ((b"stco", ">I"), (b"co64", ">Q")):
            for box in find(data, (kind,), table.start, table.end):
                (at,) = struct.unpack_from(form, data, box.start + 8)
                same, _, first = struct.unpack_from(
                    ">III", data, next(find(data, (b"stsz",), table.start, table.end)).start + 4
                )
                yield data[at : at + (same or first)]


def _largest_frame(stream: bytes) -> int:
    """The pixels that the largest sequence header among the units (OBUs) of an AV1 stream allows for a frame."""
    at = largest = units = 0
    while at < len(stream):
        units += 1
        if units > _MOST_UNITS:
            raise ValueError("its data is in too many pieces")
        header = stream[at]
        at += 2 if header & 4 else 1
        length = len(stream) - at
        if header & 2:
            length, at = _leb128(stream, at)
        if header >> 3 & 15 == 1:
            width, height = _sequence_size(stream[at : at + length])
            largest = max(largest, width * height)
        at += length
    return largest


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        value |= (data[at + i] & 127) << 7 * i
        if not data[at + i] & 128:
            return value, at + i + 1
    raise ValueError("a length has no end")


class _Bits:
    """Reads a stream bit by bit, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("the sequence header is cut off")
        return self._value >> self._left & (1 << count) - 1

    def variable(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
        return self.read(zeros) + (1 << zeros) - 1


def _sequence_size(unit: bytes) -> tuple[int, int]:
    """The largest width and height of a frame, by a sequence header."""
    bits = _Bits(unit[:512])
    bits.read(4)  # profile, still picture
    if bits.read(1):  # reduced header
        bits.read(5)
    else:
        _pass_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _pass_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # timing
        bits.read(64)
        if bits.read(1):
            bits.variable()
        if bits.read(1):  # decoder model
            delay_bits = bits.read(5) + 1
            bits.read(42)
    initial_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # level
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if initial_delay and bits.read(1):
            bits.read(4)
