"""Thumbnails are decoded by the engine: its formats, its limits, and no other program is started."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.thumbs import Thumbnails, Version, placeholder
from tests.support.pictures import encoded, every_format, png_claiming, smooth

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 60\n0 0 60 60 rectfill\nshowpage\n%%EOF\n"


def shown(data: bytes, folder: Path, name: str = "picture.jpg", side: int = 60) -> Image.Image:
    (folder / name).write_bytes(data)
    return Image.open(io.BytesIO(thumbnail(folder / name, side)))


def thumbnail(file: Path, side: int) -> bytes:
    thumbnails = Thumbnails(file.parent / "thumbs.db")
    try:
        return thumbnails.get(1, file, Version(file.stat().st_mtime_ns, file.stat().st_size), side) or placeholder()
    finally:
        thumbnails.close()


@pytest.mark.parametrize("name", every_format())
def test_every_format_has_a_thumbnail(tmp_path: Path, name: str) -> None:
    assert shown(every_format()[name], tmp_path, name).size == (60, 44)


@pytest.mark.parametrize("form", ["ICNS", "ICO", "TGA", "PPM", "PCX", "SGI", "DDS", "postscript"])
def test_what_only_pillow_opens_has_none(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no Ghostscript: whoever looks for one finds this trap
    trap = tmp_path / "gs"
    trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n", encoding="utf-8")
    trap.chmod(0o755)
    data = POSTSCRIPT if form == "postscript" else encoded(form, Image.fromarray(smooth(64, 64)))
    assert shown(data, tmp_path).size == (240, 240) and thumbnail(tmp_path / "picture.jpg", 60) == placeholder()
    assert not (tmp_path / "started").exists()


def test_too_many_pixels_or_bytes_have_a_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(png_claiming(10_000, 5_001), tmp_path).size == (240, 240)
    monkeypatch.setattr("service.thumbs.MAX_FILE_SIZE", 100)
    assert shown(every_format()["rgb.png"], tmp_path).size == (240, 240)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_it_is_turned_as_its_exif_says(tmp_path: Path, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    upright = Image.fromarray(smooth())
    turned = shown(encoded(form, upright.transpose(Image.Transpose.ROTATE_90), exif=exif), tmp_path)
    plain = shown(encoded(form, upright), tmp_path)
    assert turned.size == plain.size == (60, 44)
    assert np.abs(np.asarray(turned, int) - np.asarray(plain, int)).mean() < 8
    broken = encoded(form, upright, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff") if form != "TIFF" else encoded(form, upright)
    assert shown(broken, tmp_path).size == (60, 44)


def test_pillows_own_limit_stays(tmp_path: Path) -> None:
    assert shown(every_format()["rgb.avif"], tmp_path).size == (60, 44)
    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3
