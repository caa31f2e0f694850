"""A release's zip -> a folder. Names, kinds, sizes and counts are checked before a byte is written."""

import io
import re
import stat
import struct
import zlib
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from convert.errors import ConvertError

MAX_FILES = 100  # a release has 7
MAX_BYTES = 2_000_000_000  # unpacked; a release has 0.65 GB
_MAX_READ = 1 << 20  # zipfile reads the list of files in one go, as long as the archive says it is
_MAX_OFFSET = 1 << 40  # bytes; beyond what seek takes there are other errors
_PIECE = 1 << 18
_EXPECTED = re.compile(
    r"project\.json|tags\.txt|tags-general\.txt|tags-character\.txt|categories\.json|tags_log\.json"
    r"|model-[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.(h5|keras)"
)
_ENCRYPTED = 0x1  # flag bit 0


class BadArchive(ConvertError):
    """The zip is damaged, hostile or no DeepDanbooru project; `str(error)` names it and says what is wrong."""


def unpack(archive: Path, folder: Path) -> None:
    """Writes the files of a project that `archive` holds, at its top or in one folder, into the empty `folder`.

    Other files are left out. Nothing is written outside `folder`, and no more than MAX_BYTES.

    Raises:
        BadArchive: what is wrong with the zip.
        OSError: `folder` cannot be written.
    """
    with _Bounded(io.FileIO(archive)) as file:
        try:
            with ZipFile(file) as content:
                left = MAX_BYTES
                for name, info in _chosen(archive, content.infolist()).items():
                    left -= _extract(content, info, folder / name, left)
        # What zipfile raises on damage: RuntimeError for methods it does not know, ValueError for names and offsets.
        except (BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
            raise BadArchive(f"{archive} is damaged or no zip file ({error}).") from error


class _Bounded(io.BufferedReader):
    """A file that gives no more than _MAX_READ bytes at once, so that a false length in the zip costs no memory.

    What points outside it is the archive's fault too, and not, as an OSError would say, the disk's.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if not -_MAX_OFFSET <= offset <= _MAX_OFFSET or (whence == io.SEEK_SET and offset < 0):
            raise BadZipFile("it points outside itself")
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(_MAX_READ + 1 if size is None or size < 0 else min(size, _MAX_READ + 1))
        if len(piece) > _MAX_READ:
            raise BadZipFile("its list of files is too long")
        return piece


def _chosen(archive: Path, infos: list[ZipInfo]) -> dict[str, ZipInfo]:
    """The project's files by their bare names; raises BadArchive unless every entry is harmless."""
    if len(infos) > MAX_FILES:
        raise BadArchive(f"{archive} holds {len(infos):,} files, more than the {MAX_FILES} that a release may have.")
    if sum(info.file_size for info in infos) > MAX_BYTES:
        raise BadArchive(f"{archive} would unpack to more than the {MAX_BYTES:,} bytes that a release may have.")
    chosen: dict[str, ZipInfo] = {}
    tops = set()
    for info in infos:
        path = _harmless(archive, info)
        if info.is_dir() or len(path.parts) > 2 or not _EXPECTED.fullmatch(path.name):
            continue
        if path.name in chosen:
            raise BadArchive(f"{archive} holds {path.name} twice.")
        chosen[path.name] = info
        tops.add(path.parent)
    if len(tops) != 1:
        raise BadArchive(f"{archive} holds no DeepDanbooru project: project.json and what belongs to it, in one place.")
    return chosen


def _harmless(archive: Path, info: ZipInfo) -> PurePosixPath:
    """The entry's path, if it stays where it is put on every system and is a plain file or folder."""
    name = info.filename
    path = PurePosixPath(name)
    if "\\" in name or ":" in name or path.is_absolute() or ".." in path.parts or not path.parts:
        raise BadArchive(f"{archive} holds {name!r}, which would leave the folder: it is not unpacked.")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive(f"{archive} holds {name!r}, which is a link or a device: it is not unpacked.")
    if info.flag_bits & _ENCRYPTED or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise BadArchive(f"{archive} holds {name!r} encrypted or in a compression other than deflate.")
    return path


def _extract(content: ZipFile, info: ZipInfo, target: Path, limit: int) -> int:
    """Writes one file; returns its size. The declared sizes are not believed."""
    size = 0
    with content.open(info) as source, target.open("xb") as file:
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > limit:
                raise BadZipFile("it unpacks to more than it says")
            file.write(piece)
    return size
