"""What a file is and how large its picture would be, told from its first bytes; nothing is decoded here."""

import struct
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from engine.errors import NotAPicture, Undecodable


class Header(NamedTuple):
    """A picture's format (`jpeg`, `png`, `gif`, `bmp`, `webp`, `avif`, `tiff`, `jp2`) and its size in pixels."""

    format: str
    width: int
    height: int


CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".png": "image/png",
    ".apng": "image/apng",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".dib": "image/bmp",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".jp2": "image/jp2",
    ".j2k": "image/j2c",
}
"""The suffixes of pictures that can be decoded, in lower case, and what HTTP calls their content."""

PICTURE_SUFFIXES = frozenset(CONTENT_TYPES) | {".heic", ".heif", ".jxl"}
"""A key that ends so claims to be a picture: if its content is none, that is a failure and not a skipped sidecar."""

_OTHERS = (  # what else lies in picture folders, to name it
    (b"\x1aE\xdf\xa3", "a video (Matroska, WebM)"),
    (b"FLV", "a video (Flash)"),
    (b"OggS", "Ogg audio or video"),
    (b"\x00\x00\x01\xba", "a video (MPEG)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"CWS", "a Flash file"),
    (b"FWS", "a Flash file"),
    (b"\xff\x0a", "a JPEG XL picture, which is not supported"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture, which is not supported"),
    (b"<", "XML or HTML"),
    (b"{", "JSON or text"),
    (b"[", "JSON or text"),
)


def probe(data: bytes, key: str = "") -> Header:
    """Reads a picture's header; the content decides what it is, the key only what to call a file that is none.

    Args:
        data: the file, or at least its header.
        key: its storage key, for the extension.

    Raises:
        NotAPicture: the content is no picture and the key does not claim that it is one.
        Undecodable: the key claims a picture that is none, the file is empty or its header is broken.
    """
    read = _reader(data)
    if read is None:
        raise _no_picture(data, key)
    try:
        header = read(data)
    except (struct.error, ValueError) as error:
        raise Undecodable(f"the header is truncated or broken ({error})") from error
    if header.width < 1 or header.height < 1:
        raise Undecodable(f"the header says {header.width} x {header.height} pixels")
    return header


def _reader(data: bytes) -> Callable[[bytes], Header] | None:
    if data[4:8] == b"ftyp":
        return _avif if data[8:12] in _AVIF_BRANDS else None
    if data[:4] == b"RIFF":
        return _webp if data[8:12] == b"WEBP" else None
    for magic, read in _READERS:
        if data.startswith(magic):
            return read
    return None


def _no_picture(data: bytes, key: str) -> NotAPicture | Undecodable:
    suffix = PurePosixPath(key.replace("\\", "/")).suffix.lower()
    kind = _kind(data)
    if suffix in PICTURE_SUFFIXES or (not data and not suffix):
        return Undecodable(f"not a picture: the file is {kind}" + (f", named {suffix}" if suffix and data else ""))
    return NotAPicture(f"not a picture: the file is {kind}")


def _kind(data: bytes) -> str:
    if not data:
        return "empty"
    if data[4:8] == b"ftyp":
        return "a HEIC picture, which is not supported" if data[8:11] in (b"hei", b"hev") else "a video (MP4)"
    if data[:4] == b"RIFF":
        return "audio or video (RIFF)"
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, kind in _OTHERS:
        if start.startswith(magic):
            return kind
    return "text" if data[:512].isascii() and b"\0" not in data[:512] else "of an unknown format"


def _jpeg(data: bytes) -> Header:
    """The frame header (SOF); what lies between two segments is passed over, as libjpeg does."""
    at = 2
    while True:
        at = data.index(b"\xff", at)
        marker, length, _, height, width = struct.unpack_from(">BHBHH", data, at + 1)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return Header("jpeg", width, height)
        at += 1 if marker in (0x00, 0xFF) else 2 + length


def _png(data: bytes) -> Header:
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    if name != b"IHDR" or length != 13:
        raise ValueError("PNG without IHDR")
    return Header("png", width, height)


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("gif", width, height)


def _bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header("bmp", width, abs(height))  # negative: the rows go down


def _webp(data: bytes) -> Header:
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ValueError("WebP without a picture")
    return Header("webp", width, height)


_AVIF_BRANDS = (b"avif", b"avis", b"mif1", b"miaf")


def _avif(data: bytes) -> Header:
    """The largest `ispe` box: the whole of a picture made of tiles, and never less than what is decoded."""
    sizes = []
    at = data.find(b"ispe")
    while at >= 0:
        sizes.append(struct.unpack_from(">II", data, at + 8))
        at = data.find(b"ispe", at + 4, 1 << 16)
    if not sizes:
        raise ValueError("AVIF without a size")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Header("avif", width, height)


def _tiff(data: bytes) -> Header:
    """The first directory's ImageWidth (256) and ImageLength (257)."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    sides = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in (256, 257):
            (sides[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 8)
    if len(sides) != 2:
        raise ValueError("TIFF without a size")
    return Header("tiff", sides[256], sides[257])


def _jp2(data: bytes) -> Header:
    """The SIZ segment of the codestream, wherever the boxes put it."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    if at < 0:
        raise ValueError("JPEG 2000 without a codestream")
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    return Header("jp2", right - left, bottom - top)


_READERS: tuple[tuple[bytes, Callable[[bytes], Header]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _jp2),
    (b"\xff\x4f\xff\x51", _jp2),
)
