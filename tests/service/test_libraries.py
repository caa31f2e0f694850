"""A library's database: how it comes from an older version, and how it follows a folder that was moved."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engine.ledger.ledger import Ledger
from service.catalogue import Catalogue
from service.database import Database, default_path, media
from service.errors import ServiceError
from service.libraries import database_of, move
from service.search.said import tags_of
from service.store import Opinion, Score, Store

VERSION_1 = """
CREATE TABLE media (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, present BOOLEAN NOT NULL);
CREATE INDEX media_vanished ON media (id) WHERE NOT present;
CREATE TABLE tag (id INTEGER NOT NULL PRIMARY KEY, "key" TEXT NOT NULL UNIQUE, category TEXT NOT NULL);
CREATE TABLE media_tag (media_id INTEGER NOT NULL REFERENCES media (id), tag_id INTEGER NOT NULL REFERENCES tag (id),
  similarity FLOAT NOT NULL, PRIMARY KEY (media_id, tag_id)) WITHOUT ROWID;
CREATE INDEX media_tag_by_tag ON media_tag (tag_id, media_id, similarity);
INSERT INTO media VALUES (3, 'a.jpg', 1), (4, 'b.PNG', 1), (5, 'gone.jpg', 0);
INSERT INTO tag VALUES (1, 'hat', 'General'), (2, 'smile', 'General');
INSERT INTO media_tag VALUES (3, 1, 0.9), (3, 2, 0.8), (5, 1, 0.7);
PRAGMA user_version = 1;
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return tmp_path / "home"


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def tags(path: Path) -> list[tuple[str, str, float]]:
    with closing(Database(path)) as database, database.reading() as connection:
        names = {row.id: row.path for row in connection.execute(select(media.c.id, media.c.path))}
        said = tags_of(connection, list(names))
    return sorted((names[media_id], one.key, one.score or 0.0) for media_id, found in said.items() for one in found)


def test_a_database_of_version_1_keeps_its_tags_and_works_on(tmp_path, library):
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    before = [("a.jpg", "hat", 0.9), ("a.jpg", "smile", 0.8), ("gone.jpg", "hat", 0.7)]
    identities = set()
    for _ in range(2):
        with closing(Database(path)) as database:
            identities.add(database.identity)
            catalogue = Catalogue(database, library)
            assert catalogue.scan() == 4
            assert {row.path: row.id for row in catalogue.segment(0, 9)}["a.jpg"] == 3
    assert len(identities) == 1
    assert tags(path) == before
    with closing(Database(path)) as database:
        Store(database).put([Score(4, "hat", 0.5)])
        Store(database).replace([Opinion(3, "m", {"hat": 0.4})])
    assert tags(path) == [("a.jpg", "hat", 0.4), ("b.PNG", "hat", 0.5), ("gone.jpg", "hat", 0.7)]


def test_the_tables_are_the_same_however_a_database_came_to_be(tmp_path):
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(VERSION_1)
    columns = []
    for path in (old, new):
        Database(path).close()
        tables = sorted(name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'"))
        columns.append({t: [row[1:4] for row in rows(path, f"PRAGMA table_info({t})")] for t in tables})
        assert rows(path, "PRAGMA foreign_key_check") == []
    assert {t: sorted(c) for t, c in columns[0].items()} == {t: sorted(c) for t, c in columns[1].items()}


def kept(library: Path) -> str:
    """What is kept of a library: tags, ledger and token. Its identity."""
    path = database_of(library)
    with closing(Database(path)) as database:
        Catalogue(database, library).scan()
        Store(database).put([Score(1, "hat", 0.5)])
        identity = database.identity
    with Ledger(path.with_suffix(".ledger.db")) as ledger:
        ledger.set_meta({"service": "it"})
    path.with_suffix(".token").write_text("secret", encoding="utf-8")
    return identity


def test_all_that_is_kept_follows_the_folder(tmp_path, library, home):
    identity = kept(library)
    new = library.rename(tmp_path / "re named")
    path = move(library, new)
    assert path == default_path(new) == database_of(new)
    with closing(Database(path)) as database, Ledger(path.with_suffix(".ledger.db")) as ledger:
        assert database.identity == identity and ledger.meta("service") == "it"
        assert ledger._read("PRAGMA journal_mode", (), str) == ["wal"]
    assert tags(path) == [("<img src=x onerror=alert(1)>.jpg", "hat", 0.5)]
    assert path.with_suffix(".token").read_text(encoding="utf-8") == "secret"
    assert not [p for p in home.rglob("*") if p.name.startswith(default_path(library).stem) and p.suffix != ".lock"]
    with pytest.raises(ServiceError, match="no tags are kept"):
        move(library, new)


def test_a_folder_that_seems_to_be_a_moved_library_is_not_begun_anew_in_silence(tmp_path, library):
    kept(library)
    copy = library.rename(tmp_path / "moved")
    with pytest.raises(ServiceError, match="engine move"):
        database_of(copy)
    assert database_of(copy, tmp_path / "fresh.db") == tmp_path / "fresh.db"
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jpg").touch()  # one of four: another library
    assert database_of(other) == default_path(other)
    library.mkdir()  # it is there: the other one is a copy
    assert database_of(copy) == default_path(copy)


def test_nothing_is_moved_while_somebody_works_on_it_or_onto_something(tmp_path, library):
    kept(library)
    new = tmp_path / "new"
    new.mkdir()
    path = default_path(library)
    in_use = "end what works on that library"
    with closing(Database(path)) as database, database.reading(), pytest.raises(ServiceError, match=in_use):
        move(library, new)
    with Ledger(path.with_suffix(".ledger.db")), pytest.raises(ServiceError, match=in_use):
        move(library, new)
    assert path.exists() and not default_path(new).exists()
    default_path(new).write_bytes(b"")
    with pytest.raises(ServiceError, match="tags of its own"):
        move(library, new)
    with pytest.raises(ServiceError, match="does not exist"):
        move(library, tmp_path / "nowhere")


def test_a_move_that_was_broken_off_is_ended_by_the_same_call(tmp_path, library):
    kept(library)
    new = library.rename(tmp_path / "new")
    source, target = default_path(library), default_path(new)
    source.with_suffix(".token").rename(target.with_suffix(".token"))
    move(library, new)
    assert target.exists() and target.with_suffix(".ledger.db").exists() and not source.exists()
