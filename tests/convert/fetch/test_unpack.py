"""Zips that are damaged or made to do harm."""

import io
import re
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from convert.fetch import unpack as unpack_module
from convert.fetch.unpack import BadArchive, unpack
from tests.convert.fetch.release_server import RELEASE, zipped
from tests.convert.projects import DEMO


def entry(name: str, mode: int = 0, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name  # the constructor would repair it
    info.external_attr = mode << 16
    info.compress_type = method
    return info


HARMFUL = {
    "parent": entry("../project.json"),
    "parent within": entry("a/../../project.json"),
    "absolute": entry("/etc/project.json"),
    "backslash": entry("..\\project.json"),
    "drive": entry("C:project.json"),
    "stream": entry("tags.txt:hidden"),
    "link": entry("tags-general.txt", stat.S_IFLNK | 0o777),
    "device": entry("tags-general.txt", stat.S_IFCHR | 0o777),
    "bzip2": entry("tags-general.txt", method=zipfile.ZIP_BZIP2),
    "lzma": entry("tags-general.txt", method=zipfile.ZIP_LZMA),
    "twice": entry("tags.txt"),
    "two places": entry("other/tags-general.txt"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_entries_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    file, folder = tmp_path / "x.zip", tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("project.json", "{}")
        archive.writestr("tags.txt", "a")
        archive.writestr(HARMFUL[name], "/etc/passwd")
    with pytest.raises(BadArchive, match=re.escape(str(file))):
        unpack(file, folder)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [file]


@pytest.mark.parametrize("top", ["", "deepdanbooru-v3/"])
def test_only_the_projects_files_are_unpacked(tmp_path: Path, top: str) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(top))
    (tmp_path / "folder").mkdir()
    unpack(tmp_path / "x.zip", tmp_path / "folder")
    for path in DEMO.iterdir():
        assert (tmp_path / "folder" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "folder").iterdir())) == len(list(DEMO.iterdir()))


def refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    with pytest.raises(BadArchive, match=reason):
        unpack(tmp_path / "x.zip", folder)


def test_bombs_by_declared_size_and_by_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack_module, "MAX_BYTES", 1_000_000)
    refused(tmp_path, RELEASE, "more than the 1,000,000 bytes")
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(101):
            archive.writestr(f"{i}", "")
    refused(tmp_path, many.getvalue(), "101 files")


def test_a_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tags.txt", bytes(30_000_000))
    size = struct.pack("<L", 30_000_000)
    lie = file.getvalue().replace(size, struct.pack("<L", 100))
    assert lie.count(size) == 0
    refused(tmp_path, lie, "damaged")
    assert sum(path.stat().st_size for path in (tmp_path / "folder").iterdir()) <= 100


def test_a_list_of_files_without_end_is_not_read(tmp_path: Path) -> None:
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(15_000):
            archive.writestr(zipfile.ZipInfo(f"{i:0>100}"), "")
    refused(tmp_path, many.getvalue(), "list of files is too long")


def test_damage_is_a_sentence_wherever_it_lies(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "x.zip"
    small = io.BytesIO()
    with zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("project.json", "{}" * 20)
    good = small.getvalue()
    for at in range(len(good)):
        for value in (0, 0xFF, good[at] ^ 0x80):
            file.write_bytes(good[:at] + bytes([value]) + good[at + 1 :])
            folder.mkdir(exist_ok=True)
            try:
                unpack(file, folder)
            except BadArchive as error:
                assert str(file) in str(error)
            for path in folder.iterdir():
                path.unlink()
    for end in range(len(good)):
        refused(tmp_path, good[:end], "damaged")
