"""The library folder and its ids."""

import hashlib
import json
import math
import os
import shutil
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from service.catalogue import Catalogue
from service.database import Database, default_path
from service.embedded import embedded
from service.errors import ServiceError
from service.store import Score, Store
from tests.service.conftest import NAMES, draw


@pytest.fixture
def database(tmp_path):
    with closing(Database(tmp_path / "c.db")) as opened:
        yield opened


@pytest.fixture
def catalogue(database, library) -> Catalogue:
    opened = Catalogue(database, library)
    opened.scan()
    return opened


def listed(catalogue: Catalogue) -> dict[str, int]:
    return {row.path: row.id for row in catalogue.segment(0, 1000)}


def test_ids_stay_while_files_come_and_go(catalogue, library):
    before = listed(catalogue)
    assert list(before) == sorted(NAMES)
    kept = (library / "a.jpg").read_bytes()
    (library / "a.jpg").unlink()
    draw(library / "0 first by name.gif")
    assert catalogue.scan() == len(NAMES)
    after = listed(catalogue)
    assert "a.jpg" not in after
    assert after["0 first by name.gif"] > max(before.values())
    (library / "a.jpg").write_bytes(kept)
    catalogue.scan()
    assert listed(catalogue) == before | {"0 first by name.gif": after["0 first by name.gif"]}


def test_a_file_still_being_written_waits_for_the_next_scan(catalogue, library):
    draw(library / "new.jpg")
    catalogue.scan(settle_seconds=60)
    assert "new.jpg" not in listed(catalogue)
    old = (library / "a.jpg").stat().st_mtime - 120
    os.utime(library / "new.jpg", (old, old))
    catalogue.scan(settle_seconds=60)
    assert "new.jpg" in listed(catalogue)


def test_links_do_not_lead_out_of_the_library(catalogue, library, tmp_path):
    secret = draw(tmp_path / "outside" / "secret.jpg")
    try:
        (library / "file.jpg").symlink_to(secret)
        (library / "folder").symlink_to(secret.parent, target_is_directory=True)
        (library / "loop").symlink_to(library, target_is_directory=True)
        (library / "inside.jpg").symlink_to(library / "a.jpg")
    except OSError:
        pytest.skip("this system lets no ordinary user make links")
    catalogue.scan()
    assert set(listed(catalogue)) == {*NAMES, "inside.jpg"}


def test_a_picture_replaced_by_a_link_is_not_served(catalogue, library, tmp_path):
    secret = draw(tmp_path / "outside" / "secret.jpg")
    media_id = listed(catalogue)["a.jpg"]
    assert catalogue.locate(media_id) == (library / "a.jpg").resolve()
    (library / "a.jpg").unlink()
    (library / "a.jpg").symlink_to(secret)
    assert catalogue.locate(media_id) is None


def test_names_that_cannot_travel_and_hidden_ones_are_passed_over(catalogue, library):
    draw(library / ".thumbnails" / "x.jpg")
    draw(library / "._a.jpg")
    if os.sep == "/":
        draw(library / "back\\slash.jpg")
        draw(library / os.fsdecode(b"latin-\xe9.jpg"))
    catalogue.scan()
    assert set(listed(catalogue)) == set(NAMES)


def test_an_unmounted_library_loses_nothing(catalogue, library):
    before = listed(catalogue)
    library.rename(library.with_name("away"))
    with pytest.raises(ServiceError, match="cannot be read"):
        catalogue.scan()
    assert listed(catalogue) == before


def test_the_empty_folder_that_a_share_is_mounted_on_loses_nothing(catalogue, library):
    before = listed(catalogue)
    library.rename(library.with_name("away"))
    library.mkdir()
    with pytest.raises(ServiceError, match="is empty, but 4 pictures were in it"):
        catalogue.scan()
    assert listed(catalogue) == before
    (library / "deleted on purpose").touch()
    assert catalogue.scan() == 0
    assert listed(catalogue) == {}


class CountedEntry:
    """A real entry of a folder that counts how often it is asked for its state, by name."""

    def __init__(self, entry: os.DirEntry[str], asked: list[str]) -> None:
        self._entry, self._asked = entry, asked

    def __getattr__(self, name: str) -> object:
        return getattr(self._entry, name)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        self._asked.append(self._entry.name)
        return self._entry.stat(follow_symlinks=follow_symlinks)


@pytest.mark.skipif(os.name == "nt", reason="there the listing brings what stat returns")
def test_between_two_looks_at_all_a_rescan_asks_only_new_files_for_their_time(catalogue, library, monkeypatch):
    asked: list[str] = []
    scandir = os.scandir

    @contextmanager
    def counted(folder):
        with scandir(folder) as entries:
            yield (CountedEntry(entry, asked) for entry in entries)

    monkeypatch.setattr(os, "scandir", counted)
    draw(library / "nested folder" / "new.jpg")
    old = (library / "a.jpg").stat().st_mtime - 120
    os.utime(library / "nested folder" / "new.jpg", (old, old))
    catalogue._look_due = math.inf
    assert catalogue.scan(settle_seconds=60) == len(NAMES) + 1
    assert asked == ["new.jpg"]


def test_new_files_become_visible_while_it_runs(library, tmp_path):
    old = draw(tmp_path / "late.jpg")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    with embedded(library, db=tmp_path / "c.db", rescan=0.05) as running:
        old.rename(library / "late.jpg")
        with closing(Database(running.db)) as database:
            opened = Catalogue(database, library)
            while "late.jpg" not in listed(opened):  # ends by the test's timeout if it never comes
                pass


def test_the_store_is_told_the_categories(database, catalogue):
    media_id = listed(catalogue)["a.jpg"]
    Store(database).put([Score(media_id, "saber", 0.9), Score(media_id, "rating:safe", 0.8)])
    Store(database, {"saber": "Character", "a,b": "Odd"}).put([Score(media_id, "a,b", 0.7)])
    with database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT key, category FROM tag").all()
    assert {tuple(row) for row in rows} == {("saber", "Character"), ("rating:safe", "System"), ("a,b", "Odd")}


def test_the_model_folder_tells_the_categories(library, tmp_path, tiny_model):
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    rows = (model / "tags.csv").read_text(encoding="utf-8").replace("7,tag_7,General", "7,tag_7,Character")
    (model / "tags.csv").write_text(rows, encoding="utf-8", newline="")
    manifest = json.loads((model / "model.json").read_text(encoding="utf-8"))
    manifest["tags_sha256"] = hashlib.sha256(rows.encode()).hexdigest()
    (model / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    with embedded(library, db=tmp_path / "c.db", model=model) as running, closing(Database(running.db)) as database:
        media_id = listed(Catalogue(database, library))["a.jpg"]
        records = [{"mediaId": media_id, "tagKey": f"tag_{i}", "similarity": "0.900"} for i in (6, 7)]
        headers = {"Authorization": f"Bearer {running.token}"}
        assert httpx.post(running.recognition_bulk_url, json=records, headers=headers).status_code == 200
        with database.reading() as connection:
            found = connection.exec_driver_sql("SELECT key, category FROM tag").all()
        assert {tuple(row) for row in found} == {("tag_6", "General"), ("tag_7", "Character")}
    no_model = embedded(library, db=tmp_path / "c.db", model=library)
    with pytest.raises(ServiceError, match="is no model folder"), no_model:
        pass


def test_another_programs_or_a_newer_database_is_left_alone(tmp_path):
    for name, statement in (("other", "CREATE TABLE precious (x)"), ("newer", "PRAGMA user_version = 99")):
        path = tmp_path / f"{name}.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
        with pytest.raises(ServiceError, match="--db"):
            Database(path)
    (tmp_path / "corrupt.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(ServiceError, match="--db"):
        Database(tmp_path / "corrupt.db")


def test_each_library_has_its_database_outside_of_it(tmp_path: Path):
    one, other = default_path(tmp_path / "one"), default_path(tmp_path / "other")
    assert one != other
    assert one == default_path(tmp_path / "one" / ".." / "one")
    assert not one.is_relative_to(tmp_path)


def versions(catalogue: Catalogue) -> dict[str, str]:
    return {row.path: row.version for row in catalogue.segment(0, 1000)}


def look_now(catalogue: Catalogue) -> None:
    """Known files are asked at the next scan, whenever that was done last."""
    catalogue._look_due = -math.inf


def test_a_replaced_file_gets_another_version_and_keeps_its_id(catalogue, library):
    before, ids = versions(catalogue), listed(catalogue)
    assert len(set(before.values())) >= 1
    draw(library / "a.jpg", (90, 70))
    os.utime(library / "b.PNG", (1_000_000_000, 1_000_000_000))
    look_now(catalogue)
    catalogue.scan()
    after = versions(catalogue)
    assert {path for path in after if after[path] != before[path]} == {"a.jpg", "b.PNG"}
    assert listed(catalogue) == ids
    look_now(catalogue)
    catalogue.scan()
    assert versions(catalogue) == after


def test_a_file_that_is_being_written_keeps_its_version_until_it_settles(catalogue, library):
    before = versions(catalogue)
    draw(library / "a.jpg", (90, 70))
    look_now(catalogue)
    catalogue.scan(settle_seconds=3600)
    assert versions(catalogue) == before


def test_asking_known_files_takes_a_small_share_of_the_time(database, library):
    """Each is a round trip on a network share."""
    catalogue = Catalogue(database, library, iter((100.0, 102.0, 110.0, 141.9, 142.0, 142.5)).__next__)
    catalogue.scan()  # asks them, from 100 s to 102 s
    before = versions(catalogue)
    draw(library / "a.jpg", (90, 70))
    for _ in range(2):
        catalogue.scan()  # at 110 s and 141.9 s it does not
        assert versions(catalogue) == before
    catalogue.scan()
    assert versions(catalogue) != before


def test_a_picture_can_be_asked_for_again(catalogue):
    before, media_id = versions(catalogue), listed(catalogue)["a.jpg"]
    assert catalogue.tag_again(media_id) and not catalogue.tag_again(777)
    after = versions(catalogue)
    assert {path for path in after if after[path] != before[path]} == {"a.jpg"}
