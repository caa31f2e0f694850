"""Files beside pictures, and keywords in pictures: each is written whole or not at all, never without being asked."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from engine.files import replacing
from engine.output import metadata, xmp
from engine.output.xmp import Unsafe


class Unwritten(Exception):
    """A file could not be written; `str(error)` names it and says why."""


class Sidecars:
    """Writes `.txt` and `.xmp` files beside pictures.

    Attributes:
        written: how many were written.
        kept: how many were left as they were, because they were there.
        shared: pictures whose .txt was already written for another picture, of the same name but for the suffix.
    """

    def __init__(self, *, overwrite: bool) -> None:
        """`overwrite`: replace those that are there; somebody may have corrected them."""
        self.written = self.kept = self.shared = 0
        self._overwrite = overwrite
        self._done: set[Path] = set()

    def text(self, picture: Path, text: str) -> None:
        """`a.txt` beside `a.jpg`, as training tools expect it. Raises `Unwritten`."""
        file = picture.with_suffix(".txt")
        if file in self._done:
            self.shared += 1
        elif self._is_kept(file):
            self.kept += 1
        else:
            self._write(file, text.encode("utf-8", "replace"))

    def keywords(self, picture: Path, keywords: Sequence[str]) -> None:
        """`a.jpg.xmp` beside `a.jpg`. What else is in one that is replaced stays. Raises `Unwritten`."""
        file = picture.with_name(picture.name + ".xmp")
        if self._is_kept(file):
            self.kept += 1
            return
        try:
            content = xmp.packet(keywords)
            if file.exists():
                content = xmp.with_keywords(file.read_bytes(), keywords, replace=True)
        except Unsafe as error:
            raise Unwritten(f"{file} is left as it is: {error}") from None
        except OSError as error:
            raise Unwritten(f"cannot read {file}: {error.strerror}") from None
        self._write(file, content)

    def _is_kept(self, file: Path) -> bool:
        return file.is_symlink() or (file.exists() and not self._overwrite)  # a link may lead anywhere

    def _write(self, file: Path, content: bytes) -> None:
        try:
            with replacing(file) as part:
                part.write_bytes(content)
        except OSError as error:
            raise Unwritten(f"cannot write {file}: {error.strerror}") from None
        self._done.add(file)
        self.written += 1


def write_keywords(picture: Path, keywords: Sequence[str], *, replace: bool, max_bytes: int) -> bool:
    """Put keywords into a picture's own file (XMP, `dc:subject`); its pixels and all other metadata keep their bytes.

    The file is written anew beside the old one, which is replaced at the end, with its times and permissions.

    Args:
        picture: the file; a link is followed.
        keywords: they are added to those that are there.
        replace: they take the place of those that are there.
        max_bytes: a larger file is left alone.

    Returns:
        False if the file holds them already and nothing was written.

    Raises:
        Unwritten: the file is left as it was; the message says why.
    """
    try:
        file = picture.resolve(strict=True)
        before = file.stat()
        if not os.access(file, os.W_OK):
            raise Unwritten(f"{picture} is left as it is: it may not be written to")
        if before.st_nlink > 1:
            raise Unwritten(
                f"{picture} is left as it is: it has another name too (a hard link), which would be cut off"
            )
        if before.st_size > max_bytes:
            raise Unwritten(f"{picture} is left as it is: it is larger than {max_bytes:,} bytes (--max-file-size)")
        old = file.read_bytes()
        new = metadata.with_packet(old, lambda packet: _edited(packet, keywords, replace=replace))
        if new == old:
            return False
        with replacing(file) as part:
            with part.open("xb") as stream:
                stream.write(new)
                stream.flush()
                os.fsync(stream.fileno())
            shutil.copymode(file, part)
            os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
            now = file.stat()
            if (now.st_mtime_ns, now.st_size) != (before.st_mtime_ns, before.st_size):
                raise Unwritten(f"{picture} is left as it is: something else wrote to it meanwhile")
    except Unsafe as error:
        raise Unwritten(f"{picture} is left as it is: {error}") from None
    except OSError as error:
        raise Unwritten(f"cannot write into {picture}: {error.strerror}") from None
    return True


def _edited(packet: bytes | None, keywords: Sequence[str], *, replace: bool) -> bytes:
    return xmp.packet(keywords) if packet is None else xmp.with_keywords(packet, keywords, replace=replace)
