"""Thumbnails for the page: made when they are asked for and kept on disk, in a database that may be deleted."""

import logging
import sqlite3
import threading
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, ImageDraw, ImageOps

from engine.pictures.decode import decode
from engine.pictures.sniff import sniff

MAX_PIXELS = 50_000_000
"""A picture with more is not opened for the page: 50 megapixels are 200 MB once decoded."""
MAX_FILE_SIZE = 256_000_000
"""A file with more bytes is not read for the page; the engine's own default."""
MAX_ON_DISK = 2_000_000_000
"""Bytes of thumbnails that are kept: some 100,000 pictures. Beyond it the oldest ones go."""
MAX_IN_MEMORY = 32_000_000
"""The same where nothing can be written."""

_WITH_EXIF = ("jpeg", "png", "webp", "avif")  # as Pillow calls them too; TIFF and HEIF come upright
_VERSION = 1  # of what is kept: another one, after a change of how thumbnails look, starts again
_log = logging.getLogger(__name__)
_decoding = threading.Semaphore(2)  # bounds the memory, and leaves cores to an engine on this machine


class Version(NamedTuple):
    """Which content of a file a thumbnail shows: it changes when the file does."""

    changed_ns: int
    size: int


class Thumbnails:
    """Keeps one thumbnail for each picture and size; safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        """Opens `path`, or makes it. Where that cannot be, thumbnails are kept in memory alone."""
        self._lock = threading.Lock()
        try:
            self._limit = MAX_ON_DISK
            self._connection = _opened(path)
        except (OSError, sqlite3.Error) as error:
            _log.warning("thumbnails are not kept on disk: %s: %s", path, error)
            self._limit = MAX_IN_MEMORY
            self._connection = _prepared(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None))
        self._bytes: int = self._connection.execute("SELECT coalesce(sum(length(webp)), 0) FROM thumb").fetchone()[0]

    def get(self, media_id: int, file: Path, shown: Version, side: int) -> bytes | None:
        """The picture within side x side pixels as WebP, turned as its EXIF says; None if it cannot be decoded.

        `shown`: the file's version.
        """
        kept = self._kept(media_id, side, shown)
        if kept is None:
            try:
                kept = render(file, side)
            except Exception:  # on broken files decoders raise exceptions of many types
                return None
            self._keep(media_id, side, shown, kept)
        return kept

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _kept(self, media_id: int, side: int, shown: Version) -> bytes | None:
        query = "SELECT webp FROM thumb WHERE media_id = ? AND side = ? AND changed_ns = ? AND size = ?"
        with self._lock, suppress(sqlite3.Error):  # what cannot be read is made again
            row = self._connection.execute(query, (media_id, side, *shown)).fetchone()
            return row and bytes(row[0])
        return None

    def _keep(self, media_id: int, side: int, shown: Version, webp: bytes) -> None:
        with self._lock, suppress(sqlite3.Error):  # a full disk, another process that writes: then it is not kept
            self._connection.execute(
                "INSERT OR REPLACE INTO thumb (media_id, side, changed_ns, size, webp) VALUES (?, ?, ?, ?, ?)",
                (media_id, side, *shown, webp),
            )
            self._bytes += len(webp)
            if self._bytes > self._limit:
                self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        """Down to nine tenths of the limit, so that it is not done at each thumbnail."""
        self._connection.execute(
            "DELETE FROM thumb WHERE rowid IN (SELECT rowid FROM (SELECT rowid, sum(length(webp)) OVER "
            "(ORDER BY rowid DESC) AS newer FROM thumb) WHERE newer > ?)",
            (self._limit * 9 // 10,),
        )
        self._bytes = self._connection.execute("SELECT coalesce(sum(length(webp)), 0) FROM thumb").fetchone()[0]


def render(file: Path, side: int) -> bytes:
    """The picture within side x side pixels as WebP. Raises whatever the decoder raises.

    It is decoded as the engine does, so it shows what the model sees (without transparency), and opens nothing else.
    """
    if file.stat().st_size > MAX_FILE_SIZE:
        raise ValueError("too many bytes")
    with _decoding:
        data = file.read_bytes()
        small = Image.fromarray(decode(data, file.name, max_pixels=MAX_PIXELS))
        small.thumbnail((side, side))
        small.getexif()[ExifTags.Base.Orientation] = _orientation(data, sniff(data))
        return _webp(ImageOps.exif_transpose(small))


def _orientation(data: bytes, kind: str) -> int:
    """How a picture is to be turned (EXIF, 1 to 8); 1 where that is not said or the EXIF is broken."""
    if kind not in _WITH_EXIF:
        return 1
    try:
        with Image.open(BytesIO(data), formats=[kind]) as image:
            return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # on broken files Pillow raises exceptions of many types
        return 1


@cache
def placeholder() -> bytes:
    """A grey tile with a cross, for pictures that cannot be decoded: the page looks well though files are broken."""
    tile = Image.new("RGB", (240, 240), "#6b6b7c")
    draw = ImageDraw.Draw(tile)
    for line in ((96, 96, 144, 144), (96, 144, 144, 96)):
        draw.line(line, fill="#9a9aac", width=6)
    return _webp(tile)


def _webp(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "WEBP", quality=80)
    return out.getvalue()


def _opened(path: Path) -> sqlite3.Connection:
    """The database at `path`; one that is damaged is deleted and made anew, for it can be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for last in (False, True):
        path.touch(mode=0o600)  # on POSIX for its owner alone, as the library may be
        connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False, isolation_level=None)
        try:
            return _prepared(connection)
        except sqlite3.OperationalError:  # locked, not writable: not damaged
            connection.close()
            raise
        except sqlite3.DatabaseError:
            connection.close()
            if last:
                raise
            path.unlink()
    raise AssertionError("unreachable")


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA synchronous=NORMAL").close()  # a power cut costs the newest ones, which are made again
    if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
        connection.execute("DROP TABLE IF EXISTS thumb")
        connection.execute(
            "CREATE TABLE thumb (media_id INTEGER, side INTEGER, changed_ns INTEGER, size INTEGER, webp BLOB, "
            "UNIQUE (media_id, side))"
        )
        connection.execute(f"PRAGMA user_version={_VERSION}")
    return connection
