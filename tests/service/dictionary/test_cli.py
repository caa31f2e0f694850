"""`engine tags` as it is typed."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from service.dictionary import shipped
from service.dictionary.cli import main
from tests.service.dictionary.conftest import tables


@pytest.fixture(autouse=True)
def own_shipped(tmp_path, monkeypatch):
    """The tables of the tests as the shipped ones, and a cache folder of the test's own."""
    monkeypatch.setattr(shipped, "tables", tables)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))


@pytest.fixture
def engine_tags(capfd):
    def run(*arguments, code=0):
        assert main([str(argument) for argument in arguments]) == code
        captured = capfd.readouterr()
        return captured.out if code == 0 else captured.err

    return run


@pytest.fixture
def db(engine_tags, tmp_path):
    (tmp_path / "list.csv").write_text("long_hair,0,77,\nnew_tag,0,5,old_tag\n")
    engine_tags("import", tmp_path / "list.csv", "--db", tmp_path / "mine.db", "--who", "me")
    return tmp_path / "mine.db"


def test_resolve_prints_one_json_object(engine_tags):
    assert json.loads(engine_tags("resolve", "艦娘", "--json", "--lang", "ja")) == {
        "query": "艦娘",
        "found": [{"concept": "kantai_collection", "name": "艦隊これくしょん", "via": "舰娘", "how": "name"}],
        "near": [],
    }
    near = json.loads(engine_tags("resolve", "long_har", "--json"))
    assert near["found"] == []
    assert near["near"] == [{"concept": "long_hair", "name": "long hair", "via": "longhair", "how": "typo"}]
    assert json.loads(engine_tags("suggest", "zett", "--json"))["found"][0]["concept"] == "zettai_ryouiki"


def test_resolve_speaks_plainly(engine_tags):
    assert engine_tags("resolve", "黑丝", "--lang", "zh").splitlines() == [
        "black_thighhighs  黑色过膝袜  (name: 黑丝)",
        "black_pantyhose  黑色连裤袜  (name: 黑丝)",
    ]
    assert "did you mean long_hair" in engine_tags("resolve", "long_har")
    assert engine_tags("resolve", "qqqqqq") == "nothing has this name\n"


def test_a_new_file_begins_as_the_shipped_dictionary(engine_tags, db):
    assert "kantai_collection" in engine_tags("resolve", "舰C", "--db", db)
    assert "new_tag" in engine_tags("resolve", "old_tag", "--db", db)
    assert engine_tags("resolve", "old_tag") == "nothing has this name\n"


def test_an_export_makes_the_same_dictionary_elsewhere(engine_tags, db, tmp_path):
    engine_tags("export", "--db", db, "--output", tmp_path / "a.jsonl")
    engine_tags("import", tmp_path / "a.jsonl", "--db", tmp_path / "b.db")
    engine_tags("export", "--db", tmp_path / "b.db", "--output", tmp_path / "b.jsonl")
    exported = (tmp_path / "a.jsonl").read_bytes()
    assert exported == (tmp_path / "b.jsonl").read_bytes()
    assert engine_tags("export", "--db", db).encode() == exported
    assert len(engine_tags("export").splitlines()) > 100


def test_a_dry_run_leaves_nothing(engine_tags, tmp_path, db):
    (tmp_path / "zh.csv").write_text("long_hair,秀发\n", encoding="utf-8")
    told = engine_tags("import", tmp_path / "zh.csv", "--db", db, "--dry-run")
    assert told.startswith("would be: 0 new, 1 changed")
    assert engine_tags("resolve", "秀发", "--db", db) == "nothing has this name\n"
    report = json.loads(engine_tags("import", tmp_path / "zh.csv", "--db", tmp_path / "no.db", "--dry-run", "--json"))
    assert (report["new"], report["changed"], report["entry"]) == (0, 1, None)
    assert not (tmp_path / "no.db").exists()
    assert json.loads(engine_tags("import", tmp_path / "zh.csv", "--dry-run", "--json"))["changed"] == 1


def test_a_wrong_file_makes_no_dictionary(engine_tags, tmp_path):
    (tmp_path / "list.csv").write_text("a,0,5,\nb,0,x,\n")
    told = engine_tags("import", tmp_path / "list.csv", "--db", tmp_path / "new.db", code=1)
    assert told == "error: list.csv, line 2, column 3: the count 'x' is no whole number; nothing was imported\n"
    assert not (tmp_path / "new.db").exists()


def test_every_edit_can_be_typed_and_undone(engine_tags, db):
    start = engine_tags("export", "--db", db)
    edits = [
        [
            "add",
            "panties",
            "--name",
            "zh:小裤裤",
            "--display",
            "ja:パンツ",
            "--former-key",
            "pantsu",
            "--category",
            "general",
        ],
        ["add", "panties", "--group", "clothing/underwear", "--implies", "thighhighs"],
        ["rename", "panties", "pants"],
        ["rename", "pants", "内裤", "--lang", "zh-Hans"],
        ["merge", "black_pantyhose", "black_thighhighs"],
        ["split", "black_thighhighs", "black_legwear", "--name", "黑丝"],
        ["relate", "twintails", "long_hair"],
        ["relate", "twintails", "long_hair", "--remove"],
        ["group", "twintails", "hair/mine", "--new"],
        ["group", "twintails", "hair/mine", "--remove"],
        ["weigh", "twintails", "rank", "2"],
        ["weigh", "twintails", "rank"],
        ["hide", "twintails"],
        ["hide", "twintails", "--show"],
        ["hide", "twintails", "--name", "双马尾"],
    ]
    for edit in edits:
        before = engine_tags("export", "--db", db)
        engine_tags(*edit, "--db", db, "--who", "me")
        assert engine_tags("export", "--db", db) != before, edit
    entries = json.loads(engine_tags("journal", "--db", db, "--json", "--limit", "100"))["journal"]
    assert entries[0]["who"] == "me"
    for _ in entries[:-2]:  # but the shipped tables and the list
        engine_tags("undo", "--db", db)
    assert engine_tags("export", "--db", db) == start
    assert "me: take 双马尾 from twintails (undone by" in engine_tags("journal", "--db", db, "--limit", "100")


def test_a_concept_is_shown(engine_tags, db):
    told = engine_tags("show", "black_legwear", "--db", db)
    assert told.startswith("black_pantyhose (general)\n")
    assert "implies pantyhose" in told
    assert json.loads(engine_tags("show", "black_legwear", "--json"))["groups"] == ["clothing/legwear"]
    assert "hair/colour | hair colour | 髪の色 | 发色" in engine_tags("group", "--list")


def test_doctor_says_which_keys_have_no_concept(engine_tags, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "tags.csv").write_text(
        "index,tag,category\n0,long_hair,general\n1,black_legwear,general\n2,nothing,general\n"
    )
    assert json.loads(engine_tags("doctor", "--model", model, "--json")) == {
        "keys": 3,
        "known": 2,
        "missing": ["nothing"],
        "renamed": {"black_legwear": "black_pantyhose"},
        "ambiguous": {},
    }
    assert "black_legwear -> black_pantyhose" in engine_tags("doctor", "--model", model)
    assert "holds no tags.csv" in engine_tags("doctor", "--model", tmp_path, code=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["import", "list.csv"], "the shipped dictionary cannot be changed"),
        (["import"], "give files to import"),
        (["import", "list.csv", "--form", "odd", "--db", "x.db"], "there is no form odd"),
        (["import", "no.csv", "--db", "x.db"], "cannot be read"),
        (["resolve", "a", "--db", "no.db"], "there is no dictionary no.db"),
        (["resolve", "x" * 100_000], "100,000 characters"),
        (["resolve", "a", "--lang", "not a language"], "is no language"),
        (["add", "x"], "the shipped dictionary cannot be changed"),
        (["undo", "5"], "the shipped dictionary cannot be changed"),
        (["show", "nope"], "there is no concept 'nope'"),
        (["show", "\udcff"], "there is no concept"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(engine_tags, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text("a,0,1,\n")
    told = engine_tags(*arguments, code=1)
    assert sentence in told
    assert len(told.splitlines()) == 1


def test_the_command_is_one_of_engine(tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "engine", "tags", "resolve", "qqqqqq", "--json"],
        capture_output=True,
        check=True,
        env=environment,
    )
    assert json.loads(done.stdout) == {"query": "qqqqqq", "found": [], "near": []}


def test_another_database_is_no_dictionary(engine_tags, tmp_path):
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE media (id)")
        connection.execute("PRAGMA user_version = 77")
    assert "is no dictionary but another program's database" in engine_tags("journal", "--db", other, code=1)


def test_the_dictionary_is_not_undone_as_a_whole(engine_tags, db):
    engine_tags("add", "brand_new", "--db", db)
    assert "without it there would be none" in engine_tags("undo", "1", "--db", db, code=1)
    assert "the journal has no entry" in engine_tags("undo", "9" * 23, "--db", db, code=1)
    for _ in range(2):  # what was added, and what the fixture imported
        engine_tags("undo", "--db", db)
    assert "came with the engine" in engine_tags("undo", "--db", db, code=1)
