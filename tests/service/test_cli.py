"""`engine serve` and `engine export` as a user meets them: sentences, exit codes, files."""

import csv
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

import httpx
import pytest

from service import cli
from service.catalogue import Catalogue
from service.database import Database
from service.store import Score, Store
from tests.service.conftest import record

_PROGRAM = "import sys; from service import cli; sys.exit(getattr(cli, sys.argv[1] + '_main')(sys.argv[2:]))"


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-W", "error", "-c", _PROGRAM, *map(str, arguments)]


def _environment(tmp_path: Path, **more: str) -> dict[str, str]:
    home = {name: str(tmp_path / "home") for name in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA", "USERPROFILE")}
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "ENGINE_API_TOKEN": "", **home, **more}


@pytest.fixture
def run(tmp_path):
    def runs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _command(*arguments),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=30,
            env=_environment(tmp_path),
        )

    return runs


@contextmanager
def serving(tmp_path: Path, *arguments: str | Path, **environment: str) -> Iterator[tuple[str, list[str]]]:
    """The address of an `engine serve` that runs, and what it said so far."""
    process = subprocess.Popen(
        _command("serve", "--port", "0", *arguments),
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=_environment(tmp_path, **environment),
    )
    assert process.stderr
    lines: queue.Queue[str] = queue.Queue()

    def read(out: TextIO) -> None:
        for line in out:
            lines.put(line)

    reader = threading.Thread(target=read, args=(process.stderr,))
    reader.start()
    try:
        said: list[str] = []
        while not any(line.startswith("the token is in") for line in said):
            said.append(lines.get(timeout=30))
        found = re.search(r"http://\S+", "".join(said))
        assert found
        yield found[0], said
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


def test_serve_keeps_its_token_and_never_shows_it(library, tmp_path):
    db = tmp_path / "kept.db"
    tokens = []
    for _ in range(2):
        with serving(tmp_path, "--library", library, "--db", db) as (url, said):
            token = db.with_suffix(".token").read_text(encoding="utf-8").strip()
            assert token not in "".join(said)
            headers = {"Authorization": f"Bearer {token}"}
            answer = httpx.post(f"{url}/media/segment", json={"segmentStart": 1, "limit": 1}, headers=headers)
            assert len(answer.json()["data"]) == 1
        tokens.append(token)
    assert tokens[0] == tokens[1]
    if os.name == "posix":
        assert db.with_suffix(".token").stat().st_mode & 0o077 == 0


def test_serve_takes_the_token_from_the_environment_and_an_empty_library(tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = ("--library", tmp_path / "empty")
    with serving(tmp_path, *arguments, ENGINE_API_TOKEN="from-outside") as (url, said):
        assert "holds no pictures yet" in said[0]
        assert "from-outside" not in "".join(said)
        headers = {"Authorization": "Bearer from-outside"}
        answer = httpx.post(f"{url}/media/segment", json={"segmentStart": 1, "limit": 1}, headers=headers)
        assert answer.json() == {"data": []}
    assert list((tmp_path / "home").rglob("*.db"))


def test_serve_says_one_sentence(run, library, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = {
            f"port {port} is in use: choose another with --port": ["--library", library, "--port", str(port)],
            "does not exist": ["--library", tmp_path / "nowhere"],
            "is a file": ["--library", library / "a.jpg"],
            "--token-file": ["--library", library, "--db", library / "a.jpg" / "x.db"],
            "cannot be read": ["--library", library, "--token-file", tmp_path / "none"],
            "is no model folder": ["--library", library, "--model", tmp_path],
        }
        for sentence, arguments in cases.items():
            ended = run("serve", *arguments)
            assert ended.returncode == 1, ended.stderr
            assert sentence in ended.stderr
            assert ended.stderr.startswith("error: ")
            assert ended.stderr.count("\n") == 1
    assert run("serve", "--library", library, "--nonsense").returncode == 2
    assert run("export", "--library", library, "--format", "xml").returncode == 2


@pytest.fixture
def tagged(running, http, ids) -> Path:
    records = [record(ids["a.jpg"], "hat", "0.600"), record(ids["a.jpg"], 'long_hair,"x"', "0.987")]
    records.append(record(ids["nested folder/été/c.webp"], "été", "1.000"))
    assert http.post("/media/recognition/bulk", json=records).status_code == 200
    return Path(running.db)


EXPECTED = {
    "a.jpg": [('long_hair,"x"', 0.987), ("hat", 0.6)],
    "nested folder/été/c.webp": [("été", 1.0)],
}


def test_export_jsonl(run, library, tagged, tmp_path):
    for arguments in ([], ["--output", tmp_path / "out.jsonl"]):
        ended = run("export", "--library", library, "--db", tagged, *arguments)
        assert ended.returncode == 0, ended.stderr
        text = (tmp_path / "out.jsonl").read_text(encoding="utf-8") if arguments else ended.stdout
        entries = [json.loads(line) for line in text.splitlines()]
        assert {e["path"]: [(t["tag"], t["score"]) for t in e["tags"]] for e in entries} == EXPECTED


def test_export_csv(run, library, tagged):
    ended = run("export", "--library", library, "--db", tagged, "--format", "csv")
    rows = list(csv.DictReader(ended.stdout.splitlines()))
    assert [(r["path"], r["tag"], float(r["score"])) for r in rows] == [
        (path, tag, score) for path, tags in EXPECTED.items() for tag, score in tags
    ]


def test_export_txt_keeps_what_is_there(run, library, tagged):
    (library / "a.txt").write_text("by hand", encoding="utf-8")
    ended = run("export", "--library", library, "--db", tagged, "--format", "txt")
    assert ended.returncode == 0
    assert "kept 1" in ended.stderr
    assert (library / "a.txt").read_text(encoding="utf-8") == "by hand"
    assert (library / "nested folder/été/c.txt").read_text(encoding="utf-8") == "été\n"
    run("export", "--library", library, "--db", tagged, "--format", "txt", "--overwrite")
    assert (library / "a.txt").read_text(encoding="utf-8") == 'long_hair,"x", hat\n'


TRAINING = [
    ("rating:safe", "0.990", "System"),
    ("long_hair", "0.900", "General"),
    ("miku_(vocaloid)", "0.850", "Character"),
    ("^_^", "0.800", "General"),
    ("(o)_(o)", "0.700", "General"),
    ("simple_background", "0.650", "General"),
    ("a_hat", "0.600", "General"),
]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "long_hair, miku_(vocaloid), ^_^, (o)_(o), simple_background, a_hat"),
        (["--no-underscores"], "long hair, miku (vocaloid), ^_^, (o)_(o), simple background, a hat"),
        (["--threshold", "0.8"], "long_hair, miku_(vocaloid), ^_^"),
        (["--max-tags", "2"], "long_hair, miku_(vocaloid)"),
        (["--max-tags", "2", "--ratings"], "rating:safe, long_hair"),
        (["--category", "Character"], "miku_(vocaloid)"),
        (["--category", "Character", "--category", "System"], "miku_(vocaloid)"),
        (["--category", "System", "--ratings"], "rating:safe"),
        (["--blacklist", "BLACKLIST"], "miku_(vocaloid), (o)_(o), a_hat"),
        (["--category", "character", "--category", "SYSTEM"], "miku_(vocaloid)"),
        (["--replace", "REPLACE"], "lange Haare, miku_(vocaloid), ^_^, (o)_(o), simple_background"),
        (["--replace", "REPLACE", "--max-tags", "5", "--no-underscores"],
         "lange Haare, miku (vocaloid), ^_^, (o)_(o), simple background"),
        (["--order", "name", "--max-tags", "3"], "^_^, long_hair, miku_(vocaloid)"),
        (["--order", "category", "--threshold", "0.7", "--ratings"],
         "miku_(vocaloid), long_hair, ^_^, (o)_(o), rating:safe"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_export_for_training(run, library, tmp_path, arguments, expected):
    with closing(Database(tmp_path / "l.db")) as database:
        Catalogue(database, library).scan()
        store = Store(database, {key: category for key, _, category in TRAINING})
        store.put([Score(2, key, float(score)) for key, score, _ in TRAINING] + [Score(3, "rating:safe", 1.0)])
    blacklist = tmp_path / "blacklist.txt"
    blacklist.write_text("\ufefflong hair\r\n\r\n^_^\r\nsimple_background\r\n", encoding="utf-8")
    replacements = tmp_path / "replacements.csv"
    replacements.write_text("long hair,lange Haare\na_hat,lange Haare\n", encoding="utf-8")  # the higher score is kept
    files = {"BLACKLIST": str(blacklist), "REPLACE": str(replacements)}
    given = [files.get(argument, argument) for argument in arguments]
    ended = run("export", "--library", library, "--db", tmp_path / "l.db", "--format", "txt", *given)
    assert ended.returncode == 0, ended.stderr
    assert (library / "a.txt").read_text(encoding="utf-8") == expected + "\n"
    if "--ratings" not in arguments:  # what has no tag is no caption
        assert not (library / "b.txt").exists()
        assert "passed over 1 pictures that have none" in ended.stderr


def test_tags_are_chosen_for_every_format(run, library, tmp_path):
    with closing(Database(tmp_path / "l.db")) as database:
        Catalogue(database, library).scan()
        Store(database).put([Score(2, key, float(score)) for key, score, _ in TRAINING])
    given = ["--library", library, "--db", tmp_path / "l.db", "--threshold", "0.85"]
    entry = json.loads(run("export", *given).stdout)
    assert [one["tag"] for one in entry["tags"]] == ["rating:safe", "long_hair", "miku_(vocaloid)"]
    rows = run("export", *given, "--format", "csv", "--no-ratings", "--max-tags", "1").stdout.splitlines()
    assert rows == ["path,tag,score", "a.jpg,long_hair,0.9"]


def test_both_formats_write_the_same_score(run, library, tmp_path):
    with closing(Database(tmp_path / "l.db")) as database:
        Catalogue(database, library).scan()
        Store(database).put([Score(2, f"tag_{i}", score) for i, score in enumerate((0.98765432, 0.35, 1 / 3))])
    given = ["--library", library, "--db", tmp_path / "l.db"]
    scores = [one["score"] for one in json.loads(run("export", *given).stdout)["tags"]]
    rows = list(csv.DictReader(run("export", *given, "--format", "csv").stdout.splitlines()))
    assert scores == [float(row["score"]) for row in rows] == [0.9877, 0.35, 0.3333]


def test_export_refuses_in_one_sentence(run, library, tagged, tmp_path):
    (library / "table.csv").write_text("a,b\nonly\n", encoding="utf-8")
    for sentence, arguments in {
        "there are General": ["--category", "Charakter"],
        "cannot be read": ["--blacklist", tmp_path / "none.txt"],
        "line 2 of": ["--replace", library / "table.csv"],
        "--format txt": ["--no-underscores"],
        "beside its picture": ["--format", "txt", "--output", tmp_path / "x"],
    }.items():
        ended = run("export", "--library", library, "--db", tagged, *arguments)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
        assert ended.stderr.startswith("error: ") and sentence in ended.stderr
    assert run("export", "--library", library, "--db", tagged, "--threshold", "1.5").returncode == 2


def test_export_shows_how_far_it_is(library, tagged, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "LINE_EVERY", 1)
    words = ["--library", str(library), "--db", str(tagged), "--output", str(tmp_path / "tags.jsonl")]
    assert cli.export_main(words) == 0
    assert capsys.readouterr().err.startswith("exported 1 pictures so far\n")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert cli.export_main(words) == 0
    assert "exporting: " in capsys.readouterr().err


def test_export_without_tags_says_what_to_do(run, library):
    ended = run("export", "--library", library)
    assert ended.returncode == 1
    assert "engine run --library" in ended.stderr
