"""Keywords in pictures and beside them: what is read back, and that all else keeps its bytes."""

import io
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from engine.output import metadata, xmp
from engine.output.beside import Sidecars, Unwritten, write_keywords
from engine.output.metadata import packet_of, with_packet
from engine.output.xmp import Unsafe, keywords_of, packet, with_keywords

KEYWORDS = ["long_hair", "^_^", ">_<", "a & b", "初音ミク"]
EXIF = Image.Exif()
EXIF[0x010E] = "a description"
FOREIGN = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="somebody &gt; 1"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <r:Description r:about="uuid:1" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>
 <r:Description r:about="uuid:1" xmlns:d="http://purl.org/dc/elements/1.1/"><!-- <dc:subject> -->
  <d:title><r:Alt><r:li xml:lang="x-default">A &amp; B</r:li></r:Alt></d:title>%s
 </r:Description>
</r:RDF></x:xmpmeta>
   <?xpacket end="w"?>"""
SUBJECT = b"<d:subject><r:Bag>\n<r:li>mine</r:li> <r:li>h\xc3\xa4t</r:li></r:Bag></d:subject >"


def image(mode: str = "RGB", side: int = 40) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (side, side + 3, 4), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def animation(kind: str) -> bytes:
    frames = [image("RGBA", 30).rotate(angle) for angle in (0, 90, 180)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


def text_png() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "1girl, masterpiece\nSteps: 20")
    info.add_itxt("Comment", "überall", zip=True)
    return saved(image("RGBA"), "PNG", pnginfo=info, exif=EXIF) + b"and what somebody put behind it"


FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(image(), "JPEG", quality=80),
    "jpeg-exif-icc": lambda: saved(image(), "JPEG", exif=EXIF, icc_profile=b"p" * 70_000, comment=b"hello"),
    "jpeg-progressive-trailer": lambda: saved(image("L"), "JPEG", progressive=True) + b"trailer\xff\xd8",
    "jpeg-cmyk": lambda: saved(image("CMYK"), "JPEG"),
    "jpeg-xmp": lambda: saved(image(), "JPEG", xmp=FOREIGN % SUBJECT),
    "png": lambda: saved(image(), "PNG"),
    "png-text": text_png,
    "png-palette": lambda: saved(image().quantize(16), "PNG", transparency=3),
    "apng": lambda: animation("PNG"),
    "png-xmp": lambda: saved(image(), "PNG", pnginfo=itxt(FOREIGN % b"", zip=True)),
    "webp-lossy": lambda: saved(image(), "WEBP", quality=70),
    "webp-lossy-alpha": lambda: saved(image("RGBA"), "WEBP", quality=70),
    "webp-lossless": lambda: saved(image(), "WEBP", lossless=True),
    "webp-lossless-alpha": lambda: saved(image("RGBA"), "WEBP", lossless=True, exact=True),
    "webp-exif": lambda: saved(image(), "WEBP", exif=EXIF, icc_profile=b"profile"),
    "webp-xmp": lambda: saved(image(), "WEBP", xmp=FOREIGN % SUBJECT),
    "webp-animated": lambda: animation("WEBP"),
}


def itxt(text: bytes, *, zip: bool) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", text.decode(), zip=zip)
    return info


def rest(data: bytes) -> list[bytes]:
    """Every part of a file but its packet, and what stands behind the parts."""
    if data.startswith(b"\xff\xd8"):
        parts = metadata.jpeg_parts(data)
        own = [p for p in parts if p.kind == b"XMP"]
    elif data.startswith(b"\x89PNG"):
        parts = metadata.png_parts(data)
        own = [p for p in parts if p.kind == b"iTXt" and b"XML:com.adobe.xmp\0" in data[p.begin : p.begin + 30]]
    else:
        parts = metadata.webp_parts(data)
        own = [p for p in parts if p.kind in (b"XMP ", b"VP8X")]
    return [data[p.begin : p.end] for p in parts if p not in own] + [data[parts[-1].end :]]


def pixels(data: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as opened:
        found = []
        for index in range(getattr(opened, "n_frames", 1)):
            opened.seek(index)
            found.append(opened.convert("RGBA").tobytes() + repr((opened.size, opened.info.get("duration"))).encode())
        return found


@pytest.mark.parametrize("name", FILES)
def test_pixels_and_other_metadata_keep_their_bytes(name: str) -> None:
    old = FILES[name]()
    before = packet_of(old)
    own = keywords_of(before) if before else []
    new = with_packet(old, lambda p: packet(KEYWORDS) if p is None else with_keywords(p, KEYWORDS, replace=False))
    assert rest(new) == rest(old)
    assert pixels(new) == pixels(old)
    found = packet_of(new)
    assert found is not None and keywords_of(found) == own + KEYWORDS
    with Image.open(io.BytesIO(new)) as opened:
        opened.load()
        told = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp")
        assert found == (told.encode() if isinstance(told, str) else told)  # where other programs look
        assert dict(opened.getexif()) == dict(Image.open(io.BytesIO(old)).getexif())
    if name.startswith("webp"):
        (length,) = struct.unpack_from("<I", new, 4)
        assert len(new) == 8 + length and length % 2 == 0
        assert new[12:16] == b"VP8X" and new[20] & 0x04 and bool(new[20] & 0x10) == ("alpha" in name or "anim" in name)
    again = with_packet(new, lambda p: with_keywords(p or b"", KEYWORDS, replace=False))
    assert again == new
    replaced = with_packet(new, lambda p: with_keywords(p or b"", ["only"], replace=True))
    assert keywords_of(packet_of(replaced) or b"") == ["only"] and rest(replaced) == rest(old)


@pytest.mark.parametrize("subject", [b"", SUBJECT])
def test_a_packet_of_somebody_else_keeps_all_but_its_keywords(subject: bytes) -> None:
    old = FOREIGN % subject
    own = ["mine", "hät"] if subject else []
    new = with_keywords(old, ["mine", *KEYWORDS], replace=False)
    assert keywords_of(new) == list(dict.fromkeys([*own, "mine", *KEYWORDS]))
    assert keywords_of(with_keywords(new, ["x"], replace=True)) == ["x"]
    begin = new.index(b"<dc:subject xmlns") if subject else new.index(b"<rdf:Description")
    end = new.index(b"</dc:subject>") + len(b"</dc:subject>") + (0 if subject else len(b"</rdf:Description>"))
    assert new[:begin] + subject + new[end:] == old
    if not subject:
        assert b'rdf:about="uuid:1"' in new  # all descriptions of a packet are of the same thing


@pytest.mark.parametrize(
    "broken",
    [
        b"no XML",
        b"<a/>",
        (FOREIGN % b"").decode().encode("utf-16"),
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + (FOREIGN % b""),
        FOREIGN % (SUBJECT + SUBJECT),
        FOREIGN % b"<d:subject/>",
        FOREIGN % b"<d:subject>just text</d:subject>" + b"<",
        (FOREIGN % b"").replace(b"<r:Description r:about", b'<r:Description xmlns:d="http://purl.org/dc/elements/1.1/" '
                                b'd:subject="x" r:about', 1),
    ],
)  # fmt: skip
def test_a_packet_that_is_not_understood_is_left_alone(broken: bytes) -> None:
    with pytest.raises(Unsafe):
        with_keywords(broken, KEYWORDS, replace=False)


def test_control_characters_cannot_break_a_packet() -> None:
    assert keywords_of(packet(["a\x00b", "</rdf:li>", "\ud800", '"&']))[1::2] == ["</rdf:li>", '"&']


def mpf() -> bytes:
    """A JPEG whose APP2 names a second picture by its place, from itself on; the packet between them would grow."""
    data = FILES["jpeg-xmp"]()
    return data[:2] + b"\xff\xe2" + struct.pack(">H", 10) + b"MPF\0abcd" + data[2:]


def two_packets() -> bytes:
    data = FILES["png-xmp"]()
    part = next(p for p in metadata.png_parts(data) if p.kind == b"iTXt")
    return data[: part.end] + data[part.begin : part.end] + data[part.end :]


def bomb() -> bytes:
    body = b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(100 << 20))
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    data = FILES["png"]()
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: saved(image(), "GIF"), "JPEG, PNG and WebP only, and this is GIF"),
        (lambda: b"text", "not a picture"),
        (lambda: FILES["jpeg"]()[:100], "truncated|unusual|junk"),
        (lambda: FILES["png"]()[:-3], "truncated"),
        (lambda: FILES["webp-exif"]()[:-30], "truncated"),
        (mpf, "further pictures"),
        (two_packets, "several XMP packets"),
        (bomb, "broken or huge"),
        (lambda: b"\xff\xd8\xff\xe0\0\4ab_junk" + FILES["jpeg"]()[2:], "junk"),
    ],
)
def test_what_is_not_safe_is_refused(make: Callable[[], bytes], says: str) -> None:
    with pytest.raises(Unsafe, match=says):
        with_packet(make(), lambda _: packet(KEYWORDS))


def test_a_packet_too_large_for_a_jpeg_is_refused() -> None:
    with pytest.raises(Unsafe, match="65,504 bytes at most"):
        with_packet(FILES["jpeg"](), lambda _: b" " * 65_505)
    assert packet_of(with_packet(FILES["jpeg"](), lambda _: b" " * 65_504)) == b" " * 65_504


def test_a_picture_keeps_its_times_and_its_name(tmp_path: Path) -> None:
    file = tmp_path / "ü b.jpg"
    file.write_bytes(FILES["jpeg-exif-icc"]())
    file.chmod(0o640)
    os.utime(file, ns=(1_500_000_000_123_456_700, 1_400_000_000_123_456_700))
    assert write_keywords(file, KEYWORDS, replace=False, max_bytes=10**6)
    after = file.stat()
    assert after.st_mtime_ns == 1_400_000_000_123_456_700 and after.st_mode & 0o777 == 0o640
    assert keywords_of(packet_of(file.read_bytes()) or b"") == KEYWORDS
    assert not write_keywords(file, KEYWORDS, replace=False, max_bytes=10**6)  # nothing to do
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file, link = tmp_path / "a" / "b.png", tmp_path / "link.png"
    file.write_bytes(FILES["png"]())
    link.symlink_to(file)
    assert write_keywords(link, KEYWORDS, replace=False, max_bytes=10**6)
    assert link.is_symlink() and keywords_of(packet_of(file.read_bytes()) or b"") == KEYWORDS
    os.link(file, tmp_path / "hard.png")
    with pytest.raises(Unwritten, match="a hard link"):
        write_keywords(file, ["x"], replace=True, max_bytes=10**6)


def test_what_cannot_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(FILES["png"]())
    for bytes_, says in ((10, "larger than 10 bytes"), (10**6, "unusual|no XML")):
        if bytes_ > 10:
            file.write_bytes(with_packet(FILES["png"](), lambda _: b"<broken"))
        before = file.read_bytes()
        with pytest.raises(Unwritten, match=says):
            write_keywords(file, KEYWORDS, replace=False, max_bytes=bytes_)
        assert file.read_bytes() == before
    with pytest.raises(Unwritten, match="cannot write into"):
        write_keywords(tmp_path / "none.png", KEYWORDS, replace=False, max_bytes=10**6)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_process_that_is_killed_half_way_leaves_the_original(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(FILES["jpeg"]())
    before = file.read_bytes()
    kill = (
        "import os, sys\nfrom pathlib import Path\nfrom engine.output import beside\n"
        "beside.os.fsync = lambda _: os.kill(os.getpid(), 9)\n"  # all is written, nothing is renamed
        "beside.write_keywords(Path(sys.argv[1]), ['x'], replace=False, max_bytes=10**6)\n"
    )
    ended = subprocess.run([sys.executable, "-c", kill, str(file)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert file.read_bytes() == before
    (part,) = (path for path in tmp_path.iterdir() if path != file)
    assert part.suffix == ".part"  # which no run takes for a picture
    assert write_keywords(file, ["x"], replace=False, max_bytes=10**6)


def test_sidecars_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    (tmp_path / "a.txt").write_text("by hand", encoding="utf-8")
    (tmp_path / "a.jpg.xmp").write_bytes(FOREIGN % SUBJECT)
    kept = Sidecars(overwrite=False)
    kept.text(picture, "hat\n")
    kept.keywords(picture, KEYWORDS)
    assert (kept.written, kept.kept) == (0, 2)
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "by hand"
    assert (tmp_path / "a.jpg.xmp").read_bytes() == FOREIGN % SUBJECT
    new = Sidecars(overwrite=True)
    new.text(picture, "hat\n")
    new.text(tmp_path / "a.png", "another\n")
    new.keywords(picture, KEYWORDS)
    assert (new.written, new.kept, new.shared) == (2, 0, 1)
    assert (tmp_path / "a.txt").read_bytes() == b"hat\n"
    assert b'xmp:Rating="4"' in (tmp_path / "a.jpg.xmp").read_bytes()  # somebody's stars are not ours
    assert keywords_of((tmp_path / "a.jpg.xmp").read_bytes()) == KEYWORDS


def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(Unwritten, match=r"cannot write .*a\.txt: "):
        Sidecars(overwrite=False).text(tmp_path / "none" / "a.jpg", "hat\n")
    (tmp_path / "b.jpg.xmp").write_bytes(b"<broken")
    with pytest.raises(Unwritten, match=r"b\.jpg\.xmp is left as it is: its XMP is no XML"):
        Sidecars(overwrite=True).keywords(tmp_path / "b.jpg", KEYWORDS)
    assert xmp.keywords_of(packet([])) == []
