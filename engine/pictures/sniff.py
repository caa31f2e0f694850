"""What a file is, told from its first bytes. How large its picture is, only its decoder knows: see `decode.probe`."""

from pathlib import PurePosixPath

from engine.errors import NotAPicture, Undecodable

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
    ".heic": "image/heic",
    ".heif": "image/heif",
}
"""The suffixes of pictures that can be decoded, in lower case, and what HTTP calls their content."""

PICTURE_SUFFIXES = frozenset(CONTENT_TYPES) | {".jxl"}
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


def sniff(data: bytes, key: str = "") -> str:
    """The format of a picture: `jpeg`, `png`, `gif`, `bmp`, `webp`, `avif`, `heif`, `tiff` or `jp2`.

    The content decides the format; the key only decides whether a file that is no picture has failed or is skipped.

    Args:
        data: the file, or at least its first 64 bytes.
        key: its storage key, for the extension.

    Raises:
        NotAPicture: the content is no picture and the key does not claim that it is one.
        Undecodable: the key claims a picture that is none, or the file is empty.
    """
    found = _format(data)
    if found is None:
        raise _no_picture(data, key)
    return found


def _format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    if data[:4] == b"RIFF":
        return "webp" if data[8:12] == b"WEBP" else None
    return next((name for magic, name in _FORMATS if data.startswith(magic)), None)


def _by_brand(data: bytes) -> str | None:
    """The major brand tells, or where that is general, the compatible ones, which follow it from byte 16."""
    brands = [data[8:12]]
    if brands[0] in _GENERAL_BRANDS:
        end = min(int.from_bytes(data[:4], "big"), 256, len(data))
        brands += [data[at : at + 4] for at in range(16, end - 3, 4)]
    if any(brand in _HEIF_BRANDS for brand in brands) and not any(brand in _AVIF_BRANDS for brand in brands):
        return "heif"
    return "avif" if brands[0] in _AVIF_BRANDS + _GENERAL_BRANDS else None


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
        return "a video (MP4)"
    if data[:4] == b"RIFF":
        return "audio or video (RIFF)"
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, kind in _OTHERS:
        if start.startswith(magic):
            return kind
    return "text" if data[:512].isascii() and b"\0" not in data[:512] else "of an unknown format"


_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_GENERAL_BRANDS = (b"mif1", b"msf1", b"miaf")

_FORMATS = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
)
