"""Training sets, written by the command from a real library, and read as their trainers read them."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.vectors.store import Features, Of, VectorStore, vectors_of
from service.catalogue import Catalogue
from service.database import Database
from service.dictionary import Dictionary, beside
from service.libraries import ledger_of
from service.store import Opinion, Store
from service.verdicts import Verdicts
from tests.support.pictures import smooth
from tests.support.runs import ENGINE, environment, run

Records = list[tuple[str, str]]

GENERAL = [f"tag_{number}" for number in range(25)]


class Shelf:
    """A library of rendered pictures with opinions, verdicts and vectors."""

    def __init__(self, folder: Path) -> None:
        self.library, self.db, self.out = folder / "library", folder / "l.db", folder / "set"
        self.library.mkdir()

    def draw(self, name: str, seed: int, **how: Any) -> None:
        path = self.library / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(smooth(seed=seed)).save(path, **how)

    def fill(self, say: Callable[[dict[str, int], Store, Verdicts], object]) -> dict[str, int]:
        with closing(Database(self.db)) as database:
            catalogue = Catalogue(database, self.library)
            catalogue.scan()
            ids = {row.path: row.id for row in catalogue.segment(0, 10_000)}
            store = Store(database, {"miku": "Character", "rating:safe": "System", "rating:explicit": "System"})
            say(ids, store, Verdicts(database, store))
        return ids

    def hash(self, hashes: dict[int, int]) -> None:
        with closing(VectorStore(vectors_of(ledger_of(self.db)), Of("m", "0", 8))) as vectors:
            vectors.put(Features(number, one, np.ones(8, np.float32)) for number, one in hashes.items())

    def command(self, *more: str | Path) -> list[str]:
        where = ["--library", self.library, "--db", self.db, "--output", self.out]
        return [*ENGINE, "export", *map(str, [*where, *more])]

    def export(self, *more: str | Path) -> subprocess.CompletedProcess[str]:
        ended = run(self.command(*more))
        assert ended.returncode == 0, ended.stderr
        return ended

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.out / name).open(encoding="utf-8", newline="") as table:
            return list(csv.DictReader(table))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def records(file: Path, fewest: int) -> Records:
    """The rules of `deepdanbooru.data.load_image_records`, version 1.0.4."""
    images = file.parent / "images"
    sql = (
        "SELECT md5, file_ext, tag_string FROM posts WHERE file_ext IN ('png', 'jpg', 'jpeg') "
        "AND tag_count_general >= ? ORDER BY id"
    )
    with closing(sqlite3.connect(file)) as connection:
        return [(str(images / m[:2] / f"{m}.{ext}"), tags) for m, ext, tags in connection.execute(sql, (fewest,))]


def mixed(shelf: Shelf) -> dict[str, int]:
    """Pictures of which each is taken or skipped for a reason of its own."""
    shelf.draw("a.jpg", 0)
    shelf.draw("named wrongly.jpg", 1, format="PNG")
    shelf.draw("c.webp", 2)
    shelf.draw("folder/no tags.png", 3)
    shelf.draw("gone.png", 4)
    shelf.draw("few.png", 5)
    shutil.copy(shelf.library / "a.jpg", shelf.library / "z copy.jpg")
    (shelf.library / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))

    def say(ids: dict[str, int], store: Store, verdicts: Verdicts) -> None:
        many = dict.fromkeys(GENERAL, 0.7) | {"rating:safe": 0.8, "rating:explicit": 0.6, "miku": 0.9, "weak": 0.2}
        named = ("a.jpg", "named wrongly.jpg", "c.webp", "gone.png", "z copy.jpg")
        store.replace([Opinion(ids[name], "m", many) for name in named])
        store.replace([Opinion(ids["few.png"], "m", {"hat": 0.9})])
        verdicts.edit([ids["a.jpg"]], who="me", yes=["weak", "two words", "rating:explicit"], no=["tag_0"])
        verdicts.edit([ids["broken.jpg"]], who="me", yes=["hat"])

    ids = shelf.fill(say)
    (shelf.library / "gone.png").unlink()
    shelf.fill(lambda *_: None)
    return ids


def test_deepdanbooru_reads_it_and_what_is_skipped_is_told(shelf: Shelf) -> None:
    ids = mixed(shelf)
    ended = shelf.export("--format", "deepdanbooru", "--threshold", "0.5")
    train = shelf.out / "train"
    found = records(train / "posts.sqlite", 0)
    assert [Path(path).exists() for path, _ in found] == [True] * 3
    names = {Path(path).name: set(tags.split(" ")) for path, tags in found}
    a = md5((shelf.library / "a.jpg").read_bytes()).hexdigest()
    png = md5((shelf.library / "named wrongly.jpg").read_bytes()).hexdigest()
    # A person's yes stands whatever the score, and a no whatever else; one rating; a blank would end a tag.
    assert names[f"{a}.jpg"] == {*GENERAL[1:], "miku", "weak", "two_words", "rating:explicit"}
    assert names[f"{png}.png"] == {*GENERAL, "miku", "rating:safe"}
    assert len(records(train / "posts.sqlite", 20)) == 2 and "1 have fewer than 20 general tags" in ended.stderr
    with closing(sqlite3.connect(train / "posts.sqlite")) as posts:
        rows = posts.execute(
            "SELECT id, rating, score, is_deleted, tag_count_general FROM posts ORDER BY id"
        ).fetchall()
    assert (ids["a.jpg"], "e", 0, 0, 26) in rows and (ids["few.png"], None, 0, 0, 1) in rows
    assert {row["path"]: row["reason"].partition(":")[0] for row in shelf.rows("skipped.csv")} == {
        "broken.jpg": "broken",
        "c.webp": "deepdanbooru does not read webp",
        "folder/no tags.png": "no tags that were asked for",
        "gone.png": "not in the folder any more",
        "z copy.jpg": "the same file as another",
    }
    for sentence in ("skipped 1: deepdanbooru does not read webp", f"{train}: 3 pictures", "3 have no vector"):
        assert sentence in ended.stderr
    assert sorted(path.name for path in shelf.out.iterdir()) == ["pictures.csv", "set.json", "skipped.csv", "train"]


def test_verdicts_only(shelf: Shelf) -> None:
    mixed(shelf)
    ended = shelf.export("--format", "deepdanbooru", "--verdicts-only")
    [(_, tags)] = records(shelf.out / "train" / "posts.sqlite", 0)
    assert set(tags.split(" ")) == {"weak", "two_words", "rating:explicit"}
    assert "skipped 5: no verdict" in ended.stderr


def test_kohya_reads_txt_or_json(shelf: Shelf) -> None:
    mixed(shelf)
    shelf.export("--format", "kohya", "--threshold", "0.5", "--no-underscores", "--max-tags", "4")
    train = shelf.out / "train"
    pictures = sorted(path for path in train.iterdir() if path.suffix != ".txt")
    assert [path.suffix for path in pictures].count(".webp") == 1 and len(pictures) == 4
    told = json.loads((shelf.out / "train.json").read_text(encoding="utf-8"))
    # Its metadata are keyed by the names without suffix, unless they are whole paths.
    assert {path.stem: path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in pictures} == {
        key: entry["tags"] for key, entry in told.items()
    }
    a = md5((shelf.library / "a.jpg").read_bytes()).hexdigest()
    assert told[a]["tags"].split(", ") == ["two words", "weak", "miku", "tag 1"]


def test_only_tags_of_the_target_model_by_its_own_keys(shelf: Shelf, tiny_model: Path) -> None:
    shelf.draw("a.png", 0)
    shelf.fill(lambda ids, store, _: store.replace([Opinion(ids["a.png"], "m", {"tag_3": 0.9, "tag_999": 0.9})]))
    with Dictionary.open(beside(shelf.db)) as dictionary:
        dictionary.add("tag_4", "me")
        dictionary.rename("tag_4", "my_own_name", "me")
    shelf.fill(lambda ids, _, verdicts: verdicts.edit(ids.values(), who="me", yes=["my_own_name"]))
    ended = shelf.export("--format", "deepdanbooru", "--model", tiny_model)
    [(_, tags)] = records(shelf.out / "train" / "posts.sqlite", 0)
    assert set(tags.split(" ")) == {"tag_3", "tag_4"}
    assert "left out 1 tags that the model does not have: tag_999" in ended.stderr


def test_a_tag_that_means_several_of_the_target_model_is_left_out(shelf: Shelf, tiny_model: Path) -> None:
    shelf.draw("a.png", 0)
    opinion = {"tag_3": 0.9, "both_of_them": 0.9}
    shelf.fill(lambda ids, store, _: store.replace([Opinion(ids["a.png"], "m", opinion)]))
    with Dictionary.open(beside(shelf.db)) as dictionary:
        for key in ("tag_4", "tag_5", "both_of_them"):
            dictionary.add(key, "me")
        dictionary.merge("tag_4", "both_of_them", "me")
        dictionary.merge("tag_5", "both_of_them", "me")
    ended = shelf.export("--format", "deepdanbooru", "--model", tiny_model)
    [(_, tags)] = records(shelf.out / "train" / "posts.sqlite", 0)
    assert tags == "tag_3" and "both_of_them" in ended.stderr


def held_out(shelf: Shelf) -> set[str]:
    return {row["path"] for row in shelf.rows("pictures.csv") if row["side"] == "held-out"}


def many(shelf: Shelf, count: int = 60) -> dict[str, int]:
    for number in range(count):
        shelf.draw(f"{number:03}.png", number)
    ids = shelf.fill(lambda ids, store, _: store.replace([Opinion(one, "m", {"hat": 0.9}) for one in ids.values()]))
    # Every three differ in two bits from one to the next; the triples in many.
    chance = np.random.default_rng(0)
    shelf.hash({one: int(h) for one, h in zip(ids.values(), _triples(chance, count), strict=True)})
    return ids


def _triples(chance: np.random.Generator, count: int) -> list[int]:
    first = [int.from_bytes(chance.bytes(8), "big") for _ in range(count // 3)]
    return [one ^ bits for one in first for bits in (0, 0b11, 0b1111)]


def test_no_near_duplicates_on_both_sides_and_the_same_seed_gives_the_same(shelf: Shelf) -> None:
    ids = many(shelf)
    given = ("--format", "deepdanbooru", "--held-out", "0.3")
    ended = shelf.export(*given, "--seed", "7")
    once = held_out(shelf)
    groups = [{f"{number + i:03}.png" for i in range(3)} for number in range(0, 60, 3)]
    assert all(group <= once or not group & once for group in groups)
    assert 3 <= len(once) <= 39 and "no vector" not in ended.stderr
    sides = [records(shelf.out / side / "posts.sqlite", 0) for side in ("train", "held-out")]
    assert len(sides[0]) == 60 - len(once) and len(sides[1]) == len(once)
    assert all(Path(path).is_file() for side in sides for path, _ in side)
    before = {path.relative_to(shelf.out): path.read_bytes() for path in shelf.out.rglob("*") if path.is_file()}
    shelf.export(*given, "--seed", "7", "--overwrite")
    again = {path.relative_to(shelf.out): path.read_bytes() for path in shelf.out.rglob("*") if path.is_file()}
    assert again == before
    shelf.export(*given, "--seed", "8", "--overwrite")
    assert held_out(shelf) != once
    # A library that grows moves no picture to the other side.
    for number in range(60, 70):
        shelf.draw(f"{number:03}.png", number)
    shelf.fill(
        lambda now, store, _: store.replace([Opinion(now[p], "m", {"hat": 0.9}) for p in now.keys() - ids.keys()])
    )
    ended = shelf.export(*given, "--seed", "7", "--overwrite")
    assert held_out(shelf) & ids.keys() == once and "10 have no vector" in ended.stderr


def test_the_same_bytes_tie_groups_that_vectors_do_not(shelf: Shelf) -> None:
    """Of two equal files one has a vector, and a near-duplicate: all three are on one side, whatever the seed."""
    shelf.draw("a.png", 0)
    shutil.copy(shelf.library / "a.png", shelf.library / "b.png")
    shelf.draw("c.png", 1)
    ids = shelf.fill(lambda ids, store, _: store.replace([Opinion(one, "m", {"hat": 0.9}) for one in ids.values()]))
    shelf.hash({ids["b.png"]: 5, ids["c.png"]: 5})
    shelf.export("--format", "kohya")
    assert {(row["path"], row["group"]) for row in shelf.rows("pictures.csv")} == {("a.png", "1"), ("c.png", "1")}


def test_of_the_same_bytes_that_of_which_people_said_most_is_taken(shelf: Shelf) -> None:
    shelf.draw("a.png", 0)
    shutil.copy(shelf.library / "a.png", shelf.library / "b.png")

    def say(ids: dict[str, int], store: Store, verdicts: Verdicts) -> None:
        store.replace([Opinion(one, "m", {"hat": 0.9}) for one in ids.values()])
        verdicts.edit([ids["b.png"]], who="me", yes=["smile"], no=["hat"])

    shelf.fill(say)
    shelf.export("--format", "kohya")
    [row] = shelf.rows("pictures.csv")
    assert row["path"] == "b.png"
    assert (shelf.out / "train" / row["file"]).with_suffix(".txt").read_text(encoding="utf-8") == "smile\n"


def test_a_picture_that_no_model_has_seen_is_decoded_before_it_is_taken(shelf: Shelf) -> None:
    """Its header is whole and its pixels are not: a trainer would stop there."""
    shelf.draw("a.png", 0)
    data = (shelf.library / "a.png").read_bytes()
    (shelf.library / "cut.png").write_bytes(data[: len(data) // 2])
    shelf.fill(lambda ids, _, verdicts: verdicts.edit(ids.values(), who="me", yes=["hat"]))
    shelf.export("--format", "kohya")
    assert [row["path"] for row in shelf.rows("pictures.csv")] == ["a.png"]
    [row] = shelf.rows("skipped.csv")
    assert row["path"] == "cut.png" and row["reason"].startswith("broken: ")


def test_a_set_that_another_process_is_writing_is_left_alone(shelf: Shelf) -> None:
    shelf.draw("a.png", 0)
    shelf.fill(lambda ids, store, _: store.replace([Opinion(one, "m", {"hat": 0.9}) for one in ids.values()]))
    alive, dead = (shelf.out.with_name(f".set.{pid}.part") for pid in (os.getpid(), 2**22 + 1))
    alive.mkdir()
    dead.mkdir()
    shelf.export("--format", "kohya")
    assert alive.is_dir() and not dead.exists()


def test_links_in_place_of_copies(shelf: Shelf) -> None:
    mixed(shelf)
    shelf.export("--format", "deepdanbooru", "--link")
    [(path, _), *_] = records(shelf.out / "train" / "posts.sqlite", 0)
    assert Path(path).stat().st_nlink == 2
    before = {path: path.read_bytes() for path in shelf.library.rglob("*") if path.is_file()}
    shelf.export("--format", "deepdanbooru", "--overwrite")  # and the library does not suffer from what replaces it
    assert {path: path.read_bytes() for path in shelf.library.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.name == "nt", reason="a pipe that blocks is made otherwise there")
def test_killed_it_leaves_no_half_set_and_the_next_one_tidies_up(shelf: Shelf, tmp_path: Path) -> None:
    shelf.draw("a.png", 0)
    shelf.draw("b.png", 1)
    shelf.fill(lambda ids, store, _: store.replace([Opinion(one, "m", {"hat": 0.9}) for one in ids.values()]))
    hook = tmp_path / "hook"
    hook.mkdir()
    # The process stops for ever when the second side is to be written.
    (hook / "sitecustomize.py").write_text(
        "import sys, time\n"
        "def stop(event, arguments):\n"
        "    if event == 'os.mkdir' and str(arguments[0]).endswith('images'):\n"
        "        print('here', flush=True)\n"
        "        time.sleep(1000)\n"
        "sys.addaudithook(stop)\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        shelf.command("--format", "deepdanbooru"),
        env=environment(PYTHONPATH=str(hook)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")]
    assert len(left) == 1 and not shelf.out.exists()
    shelf.export("--format", "deepdanbooru")
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith((".part", ".old"))]
    assert len(records(shelf.out / "train" / "posts.sqlite", 0)) == 2


def test_it_refuses_in_one_sentence(shelf: Shelf, tmp_path: Path) -> None:
    mixed(shelf)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").touch()
    shelf.export("--format", "kohya")
    where = ["--library", str(shelf.library), "--db", str(shelf.db)]
    for sentence, arguments in {
        "is no training set": ["--format", "kohya", "--output", str(tmp_path / "full"), "--overwrite"],
        "give --overwrite": ["--format", "kohya", "--output", str(shelf.out)],
        "needs --output FOLDER": ["--format", "deepdanbooru"],
        "lies in the library": ["--format", "kohya", "--output", str(shelf.library / "set")],
        "--held-out is for --format": ["--held-out", "0.1"],
        "is no model folder": ["--format", "kohya", "--output", str(tmp_path / "x"), "--model", str(tmp_path)],
        "nothing to train with": ["--format", "kohya", "--output", str(tmp_path / "x"), "--category", "Character",
                                  "--verdicts-only"],
        "--no-underscores is for": ["--format", "deepdanbooru", "--output", str(tmp_path / "x"), "--no-underscores"],
    }.items():  # fmt: skip
        ended = run([*ENGINE, "export", *where, *arguments])
        assert ended.returncode == 1 and sentence in ended.stderr, ended.stderr
        assert ended.stderr.count("\n") == 1 and ended.stderr.startswith("error: ")
    assert (tmp_path / "full" / "precious.txt").is_file() and not (tmp_path / "x").exists()


@pytest.mark.full
def test_deepdanbooru_s_own_loader_reads_it(shelf: Shelf) -> None:
    """The public package's own code; its `__init__` would want TensorFlow, so the one file is loaded alone."""
    package = importlib.util.find_spec("deepdanbooru")
    assert package and package.submodule_search_locations
    file = Path(package.submodule_search_locations[0]) / "data" / "dataset.py"
    spec = importlib.util.spec_from_file_location("deepdanbooru_dataset", file)
    assert spec and spec.loader
    dataset = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dataset)
    mixed(shelf)
    shelf.export("--format", "deepdanbooru", "--threshold", "0.5")
    posts = shelf.out / "train" / "posts.sqlite"
    for fewest in (0, 20):
        found = dataset.load_image_records(str(posts), fewest)
        assert found == records(posts, fewest) and found
    for path, _ in found:
        with Image.open(path) as picture:
            picture.load()
