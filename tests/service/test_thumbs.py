"""Thumbnails: where they are kept, when they are made again, how much of them stays."""

import io
import os
import sqlite3
from contextlib import closing

import httpx
import pytest
from PIL import Image

from service import thumbs
from service.embedded import embedded
from service.thumbs import Thumbnails, Version
from tests.service.conftest import draw


@pytest.fixture
def rendered(monkeypatch) -> list[tuple[str, int]]:
    """(name, side) of every thumbnail that is really made."""
    made: list[tuple[str, int]] = []
    render = thumbs.render

    def counted(file, side):
        made.append((file.name, side))
        return render(file, side)

    monkeypatch.setattr(thumbs, "render", counted)
    return made


def test_thumbnails_outlive_the_process_and_follow_the_file(library, tmp_path, rendered):
    def colour(url: str) -> tuple[int, ...]:
        with Image.open(io.BytesIO(httpx.get(f"{url}/thumb/2").content)) as image:
            pixel = image.convert("RGB").getpixel((5, 5))
        assert isinstance(pixel, tuple)
        return pixel

    for _ in range(2):
        with embedded(library, db=tmp_path / "l.db", rescan=0) as running:
            assert colour(running.url) == (before := colour(running.url))
    assert rendered == [("a.jpg", 360)]
    draw(library / "a.jpg", (200, 100), "red")
    with embedded(library, db=tmp_path / "l.db", rescan=0) as running:
        after = colour(running.url)
    assert rendered == [("a.jpg", 360)] * 2
    assert before[0] < 50 and after[0] > 200
    with closing(sqlite3.connect(tmp_path / "l.thumbs.db")) as kept:
        assert kept.execute("SELECT count(*) FROM thumb").fetchone() == (1,)  # the old one has given way
    if os.name == "posix":
        assert (tmp_path / "l.thumbs.db").stat().st_mode & 0o077 == 0


def test_they_are_bounded_in_bytes(tmp_path, monkeypatch):
    picture = draw(tmp_path / "a.jpg")
    size = len(thumbs.render(picture, 64))
    monkeypatch.setattr(thumbs, "MAX_ON_DISK", 10 * size)
    with closing(Thumbnails(tmp_path / "t.db")) as kept:
        for media_id in range(100):
            assert kept.get(media_id, picture, Version(1, 1), 64)
        rows = [row[0] for row in kept._connection.execute("SELECT media_id FROM thumb ORDER BY media_id")]
        assert 8 <= len(rows) <= 10
        assert rows == list(range(100 - len(rows), 100))  # the oldest went
        for _ in range(100):  # one that is made anew takes its own place
            kept._keep(99, 64, Version(1, 1), b"x" * size)
        rows = [row[0] for row in kept._connection.execute("SELECT media_id FROM thumb")]
        assert len(rows) >= 8


@pytest.mark.parametrize("obstacle", ["damaged", "another program's table", "not writable"])
def test_without_a_usable_file_they_are_still_made(tmp_path, obstacle, rendered):
    path = tmp_path / "t.db"
    if obstacle == "damaged":
        path.write_bytes(b"not a database" * 1000)
    elif obstacle == "not writable":
        path.mkdir()
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE thumb (x)")
            other.execute("PRAGMA user_version = 99")
    picture = draw(tmp_path / "a.jpg")
    for _ in range(2):
        with closing(Thumbnails(path)) as kept:
            assert kept.get(1, picture, Version(1, 1), 64) == kept.get(1, picture, Version(1, 1), 64)
    assert len(rendered) == (2 if obstacle == "not writable" else 1)


def test_a_broken_picture_is_tried_again_each_time(tmp_path, rendered):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 half of it")
    with closing(Thumbnails(tmp_path / "t.db")) as kept:
        assert kept.get(1, tmp_path / "a.jpg", Version(1, 1), 64) is None
        draw(tmp_path / "a.jpg")
        assert kept.get(1, tmp_path / "a.jpg", Version(1, 1), 64)
