"""Puts an XMP packet into the bytes of a JPEG, PNG or WebP. All other parts keep their bytes and their order.

A packet that is there already is replaced at its place. Files of another build than their formats have are refused:
better a picture without keywords than one that some program does not open any more.
"""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from engine.errors import MediumError
from engine.output.xmp import Unsafe
from engine.pictures.sniff import sniff

Edit = Callable[[bytes | None], bytes]
"""The packet that was there, or None -> the new one. Raises `Unsafe`."""

_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP = b"XML:com.adobe.xmp\0"
_LONGEST_SEGMENT = 65_533 - len(_JPEG_XMP)  # bytes of a packet in a JPEG
_LONGEST = 16 << 20  # bytes that a compressed packet may have


class Part(NamedTuple):
    """A stretch of a file: [begin, end), and what it is."""

    kind: bytes
    begin: int
    end: int


def with_packet(data: bytes, edit: Edit) -> bytes:
    """A picture's file with the packet that `edit` makes of the present one.

    Raises:
        Unsafe: the format takes none here, the file is broken or unusual, or the packet is too large for it.
    """
    try:
        name = sniff(data)
    except MediumError as error:
        raise Unsafe(str(error)) from None
    if name not in _WRITERS:
        raise Unsafe(f"keywords are written into JPEG, PNG and WebP only, and this is {name.upper()}")
    try:
        return _WRITERS[name](data, edit)
    except (struct.error, IndexError, zlib.error):
        raise Unsafe(f"the {name.upper()} is truncated or broken") from None


def packet_of(data: bytes) -> bytes | None:
    """The packet in a picture's file; None if there is none. Raises `Unsafe` as `with_packet`."""
    found: list[bytes | None] = []

    def look(packet: bytes | None) -> bytes:
        found.append(packet)
        return packet or b""

    with_packet(data, look)
    return found[0]


def _jpeg(data: bytes, edit: Edit) -> bytes:
    """APP1 segments hold it, behind those of JFIF and Exif, which want to be first."""
    parts = jpeg_parts(data)
    old = [part for part in parts if part.kind == b"XMP"]
    if len(old) > 1:
        raise Unsafe("the JPEG holds several XMP packets")
    place = 2
    for part in parts:
        if part.kind not in (b"\xe0", b"Exif"):
            break
        place = part.end
    begin, end = (old[0].begin, old[0].end) if old else (place, place)
    if any(part.kind == b"MPF" and part.begin < begin for part in parts):
        raise Unsafe("the JPEG holds further pictures, whose places would shift")
    packet = edit(data[begin + 4 + len(_JPEG_XMP) : end] if old else None)
    if len(packet) > _LONGEST_SEGMENT:
        raise Unsafe(f"a JPEG holds a packet of {_LONGEST_SEGMENT:,} bytes at most, and this one has {len(packet):,}")
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(_JPEG_XMP) + len(packet)) + _JPEG_XMP + packet
    return data[:begin] + segment + data[end:]


def jpeg_parts(data: bytes) -> list[Part]:
    """The segments before the picture's data, by their marker's second byte or what they hold. Raises `Unsafe`."""
    parts: list[Part] = []
    at = 2
    while True:
        if data[at] != 0xFF:
            raise Unsafe("the JPEG holds junk between its segments")
        marker = data[at + 1 : at + 2]
        if marker == b"\xda":
            return parts
        if marker == b"\xff" or marker < b"\xc0" or b"\xd0" <= marker <= b"\xd9":
            raise Unsafe("the JPEG has an unusual header")
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        content = data[at + 4 : end]
        kind = marker
        for of, start, name in _SEGMENTS:
            if marker == of and content.startswith(start):
                kind = name
        parts.append(Part(kind, at, end))
        at = end


_SEGMENTS = ((b"\xe1", _JPEG_XMP, b"XMP"), (b"\xe1", b"Exif\0", b"Exif"), (b"\xe2", b"MPF\0", b"MPF"))


def _png(data: bytes, edit: Edit) -> bytes:
    """An iTXt chunk holds it; a new one stands right behind the header."""
    parts = png_parts(data)
    old = [part for part in parts if part.kind == b"iTXt" and data.startswith(_PNG_XMP, part.begin + 8)]
    if len(old) > 1:
        raise Unsafe("the PNG holds several XMP packets")
    if parts[0].kind != b"IHDR":
        raise Unsafe("the PNG does not begin with its header")
    begin, end = (old[0].begin, old[0].end) if old else (parts[0].end, parts[0].end)
    packet = edit(_png_text(data[begin + 8 + len(_PNG_XMP) : end - 4]) if old else None)
    body = b"iTXt" + _PNG_XMP + b"\0\0\0\0" + packet  # not compressed, no method, no language, no other keyword
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:begin] + chunk + data[end:]


def png_parts(data: bytes) -> list[Part]:
    """The chunks, up to IEND. Raises `struct.error` or `Unsafe` if it is truncated."""
    parts: list[Part] = []
    at = 8
    while not parts or parts[-1].kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise Unsafe("the PNG is truncated")
        parts.append(Part(kind, at, end))
        at = end
    return parts


def _png_text(content: bytes) -> bytes:
    """The text of an iTXt chunk, without its keyword."""
    compressed, rest = content[0], content[2:]
    _, _, rest = rest.partition(b"\0")
    _, _, text = rest.partition(b"\0")
    if not compressed:
        return text
    unpack = zlib.decompressobj()
    plain = unpack.decompress(text, _LONGEST)
    if not unpack.eof:
        raise Unsafe("the PNG holds a broken or huge XMP packet")
    return plain


def _webp(data: bytes, edit: Edit) -> bytes:
    """A chunk `XMP ` holds it, as the last one; the header of the extended form says that it is there."""
    parts = webp_parts(data)
    old = [part for part in parts if part.kind == b"XMP "]
    if len(old) > 1:
        raise Unsafe("the WebP holds several XMP packets")
    riff_end = parts[-1].end
    if old:
        length = struct.unpack_from("<I", data, old[0].begin + 4)[0]
        packet = edit(data[old[0].begin + 8 : old[0].begin + 8 + length])
        begin, end = old[0].begin, old[0].end
    else:
        packet = edit(None)
        begin = end = riff_end
    chunk = b"XMP " + struct.pack("<I", len(packet)) + packet + b"\0" * (len(packet) % 2)
    head, at = _vp8x(data, parts[0])
    body = head + data[at:begin] + chunk + data[end:riff_end]
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body + data[riff_end:]


def webp_parts(data: bytes) -> list[Part]:
    """The chunks. Raises `struct.error` or `Unsafe` if it is truncated."""
    riff_end = 8 + struct.unpack_from("<I", data, 4)[0]
    parts: list[Part] = []
    at = 12
    while at < riff_end:
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if end > min(riff_end, len(data)):
            raise Unsafe("the WebP is truncated")
        parts.append(Part(kind, at, end))
        at = end
    if not parts or parts[0].kind not in (b"VP8X", b"VP8 ", b"VP8L"):
        raise Unsafe("the WebP has an unusual header")
    return parts


def _vp8x(data: bytes, first: Part) -> tuple[bytes, int]:
    """The header of the extended form with the flag for XMP, and where the rest of the file begins."""
    if first.kind == b"VP8X":
        old = data[first.begin : first.end]
        return old[:8] + bytes([old[8] | _HAS_XMP]) + old[9:], first.end
    if first.kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, first.begin + 9)
        width, height, alpha = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1
    else:
        width, height = ((side & 0x3FFF) - 1 for side in struct.unpack_from("<HH", data, first.begin + 14))
        alpha = 0
    flags = _HAS_XMP | (_HAS_ALPHA if alpha else 0)
    size = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return b"VP8X" + struct.pack("<II", 10, flags) + size, first.begin


_HAS_XMP, _HAS_ALPHA = 0x04, 0x10
_WRITERS = {"jpeg": _jpeg, "png": _png, "webp": _webp}
