"""Pictures that are moved within a library keep their ids and verdicts: real files, a real database."""

import math
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.catalogue import Catalogue
from service.database import Database
from service.store import Store
from service.verdicts import Verdicts

HOUR = 3600


class Shelf:
    """A folder of files with its catalogue. Every content that is written has a time of its own."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database
        folder.mkdir()
        (folder / "notes.txt").touch()  # so that it is never the empty folder of a share that is away
        self.catalogue = Catalogue(database, folder)
        self.verdicts = Verdicts(database, Store(database))
        self.time = 1_000_000_000

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.touch(name)

    def touch(self, name: str) -> None:
        self.time += HOUR
        os.utime(self.folder / name, (self.time, self.time))

    def time_of(self, name: str) -> float:
        return (self.folder / name).stat().st_mtime

    def move(self, name: str, to: str) -> None:
        (self.folder / to).parent.mkdir(exist_ok=True)
        (self.folder / name).replace(self.folder / to)

    def judge(self, name: str, tag: str) -> None:
        self.verdicts.edit([self.ids()[name]], who="me", yes=[tag])

    def scan(self) -> None:
        self.catalogue._look_due = -math.inf
        self.catalogue.scan()

    def read(self) -> int:
        return self.catalogue.read_contents(math.inf)

    def ids(self) -> dict[str, int]:
        return {row.path: row.id for row in self.catalogue.segment(0, 1000)}

    def judged(self) -> dict[str, set[str]]:
        """What was said of each present picture, by path."""
        sql = "SELECT path, key FROM media m JOIN verdict v ON v.media_id = m.id JOIN tag t ON t.id = v.tag_id "
        found: dict[str, set[str]] = {}
        with self.database.reading() as connection:
            for path, key in connection.exec_driver_sql(sql + "WHERE present"):
                found.setdefault(path, set()).add(key)
        return found


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with closing(Database(tmp_path / "l.db")) as database:
        yield Shelf(tmp_path / "library", database)


def test_a_renamed_file_keeps_its_id_and_version_and_nothing_is_read(shelf: Shelf) -> None:
    shelf.write("a.jpg", b"one")
    shelf.write("b.jpg", b"two")
    shelf.scan()
    before, versions = shelf.ids(), {row.id: row.version for row in shelf.catalogue.segment(0, 9)}
    shelf.judge("a.jpg", "hat")
    shelf.move("a.jpg", "folder/c.jpg")
    (shelf.folder / "folder/c.jpg").chmod(0)
    shelf.scan()
    assert shelf.ids() == {"folder/c.jpg": before["a.jpg"], "b.jpg": before["b.jpg"]}
    assert {row.id: row.version for row in shelf.catalogue.segment(0, 9)} == versions
    assert shelf.judged() == {"folder/c.jpg": {"hat"}}


def test_a_file_that_lost_its_time_on_the_way_is_known_by_its_content(shelf: Shelf) -> None:
    for name, content in (("a.jpg", b"one"), ("b.jpg", b"two"), ("c.jpg", b"six")):
        shelf.write(name, content)
    shelf.scan()
    before = shelf.ids()
    shelf.judge("a.jpg", "hat")
    assert shelf.read() == 1 and shelf.read() == 0  # the one that was judged, once
    for name in ("a.jpg", "b.jpg"):
        shelf.move(name, f"x/{name}")
        shelf.touch(f"x/{name}")
    shelf.scan()
    after = shelf.ids()
    assert after["x/a.jpg"] == before["a.jpg"] and shelf.judged() == {"x/a.jpg": {"hat"}}
    assert after["x/b.jpg"] > max(before.values())  # nobody said anything of it: it is tagged anew


def test_pages_that_are_numbered_anew_keep_each_its_own(shelf: Shelf) -> None:
    for number in range(1, 5):
        shelf.write(f"{number}.png", b"page %d" % number)
    shelf.scan()
    before = shelf.ids()
    for number in range(1, 5):
        shelf.judge(f"{number}.png", f"page_{number}")
    for number in range(4, 0, -1):
        shelf.move(f"{number}.png", f"{number + 1}.png")
    shelf.write("1.png", b"page 0")
    shelf.scan()
    assert {f"{n + 1}.png": before[f"{n}.png"] for n in range(1, 5)}.items() <= shelf.ids().items()
    assert shelf.judged() == {f"{n + 1}.png": {f"page_{n}"} for n in range(1, 5)}


def test_two_files_that_exchange_their_names(shelf: Shelf) -> None:
    shelf.write("a.jpg", b"one")
    shelf.write("b.jpg", b"two")
    shelf.scan()
    before = shelf.ids()
    shelf.move("a.jpg", "t")
    shelf.move("b.jpg", "a.jpg")
    shelf.move("t", "b.jpg")
    shelf.scan()
    assert shelf.ids() == {"a.jpg": before["b.jpg"], "b.jpg": before["a.jpg"]}


def test_a_file_moved_over_another_one_brings_its_verdicts(shelf: Shelf) -> None:
    shelf.write("a.jpg", b"one")
    shelf.write("b.jpg", b"two")
    shelf.scan()
    before = shelf.ids()
    shelf.judge("a.jpg", "hat")
    shelf.judge("b.jpg", "tie")
    shelf.read()
    kept = (shelf.folder / "b.jpg").read_bytes()
    shelf.move("a.jpg", "b.jpg")
    shelf.scan()
    assert (shelf.ids(), shelf.judged()) == ({"b.jpg": before["a.jpg"]}, {"b.jpg": {"hat"}})
    shelf.write("back.jpg", kept)  # and the other one is known again, wherever it comes back
    shelf.scan()
    assert shelf.ids()["back.jpg"] == before["b.jpg"]
    assert shelf.judged() == {"b.jpg": {"hat"}, "back.jpg": {"tie"}}


def test_of_copies_that_all_moved_each_goes_to_the_file_of_its_name(shelf: Shelf) -> None:
    for name in ("a.jpg", "b.jpg"):
        shelf.write(name, b"the same")
    shelf.scan()
    before = shelf.ids()
    for name in ("a.jpg", "b.jpg"):
        shelf.judge(name, f"in_{name[0]}")
    shelf.read()
    for name, folder in (("b.jpg", "1"), ("a.jpg", "2")):
        shelf.move(name, f"{folder}/{name}")
        shelf.touch(f"{folder}/{name}")
    shelf.scan()
    assert shelf.ids() == {"1/b.jpg": before["b.jpg"], "2/a.jpg": before["a.jpg"]}
    assert shelf.judged() == {"1/b.jpg": {"in_b"}, "2/a.jpg": {"in_a"}}


def test_copied_first_and_deleted_later(shelf: Shelf) -> None:
    shelf.write("a.jpg", b"one")
    shelf.scan()
    shelf.judge("a.jpg", "hat")
    shelf.read()
    before = shelf.ids()["a.jpg"]
    shelf.write("x/a.jpg", b"one")
    shelf.write("x/b.jpg", b"two")
    shelf.scan()
    copy = shelf.ids()["x/a.jpg"]
    assert copy != before and shelf.judged() == {"a.jpg": {"hat"}}
    (shelf.folder / "a.jpg").unlink()
    shelf.scan()
    assert shelf.ids()["x/a.jpg"] == before and shelf.judged() == {"x/a.jpg": {"hat"}}
    shutil.copy(shelf.folder / "x/a.jpg", shelf.folder / "a.jpg")
    shelf.scan()
    assert shelf.ids()["a.jpg"] == copy  # the copy has taken the old place


def test_a_copy_that_was_judged_too_stays_as_it_is(shelf: Shelf) -> None:
    shelf.write("a.jpg", b"one")
    shelf.write("b.jpg", b"one")
    shelf.scan()
    shelf.judge("a.jpg", "hat")
    shelf.judge("b.jpg", "tie")
    shelf.read()
    (shelf.folder / "a.jpg").unlink()
    shelf.scan()
    assert shelf.judged() == {"b.jpg": {"tie"}}


def test_two_that_cannot_be_told_apart_are_not_guessed(shelf: Shelf) -> None:
    """As many as an archive leaves: all of one size and one time."""
    for name in ("a.bmp", "b.bmp"):
        shelf.write(name, name.encode())
        os.utime(shelf.folder / name, (1_000_000_000, 1_000_000_000))
    shelf.scan()
    before = shelf.ids()
    shelf.judge("b.bmp", "hat")
    shelf.read()
    shelf.move("a.bmp", "x/b.bmp")  # the names are of no help
    shelf.move("b.bmp", "x/a.bmp")
    shelf.scan()
    after = shelf.ids()
    assert after["x/a.bmp"] == before["b.bmp"] and shelf.judged() == {"x/a.bmp": {"hat"}}
    assert after["x/b.bmp"] not in before.values()


def test_a_file_that_was_replaced_in_its_place_keeps_its_id_and_is_read_again(shelf: Shelf) -> None:
    shelf.write("a.jpg", b"one")
    shelf.scan()
    shelf.judge("a.jpg", "hat")
    shelf.read()
    shelf.write("a.jpg", b"one, larger")
    shelf.scan()
    assert shelf.judged() == {"a.jpg": {"hat"}}
    assert shelf.read() == 1
    shelf.move("a.jpg", "b.jpg")
    shelf.touch("b.jpg")
    shelf.scan()
    assert shelf.judged() == {"b.jpg": {"hat"}}


def test_another_process_that_looks_at_the_same_time(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.write("a.jpg", b"one")
    shelf.scan()
    before = shelf.ids()["a.jpg"]
    shelf.move("a.jpg", "b.jpg")
    with closing(Database(shelf.database.path)) as database:
        other = Catalogue(database, shelf.folder)
        ask = Catalogue._ask
        monkeypatch.setattr(Catalogue, "_ask", lambda self, *asked: (other._write(*_plan(other)), ask(self, *asked))[1])
        shelf.scan()
    assert shelf.ids() == {"b.jpg": before}


def _plan(other: Catalogue):
    from service.catalogue import _changes
    from service.moves import File

    status = (other.root / "b.jpg").stat()
    files = {"b.jpg": File(status.st_size, status.st_mtime_ns)}
    known = other._known()
    return known, _changes(known, files.keys(), files, lambda *_: None)


NAMES = [f"{folder}{name}.jpg" for folder in ("", "x/") for name in "abc"]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_whatever_is_done_to_files_what_people_said_goes_with_the_content(tmp_path_factory, seed: int) -> None:
    """Files come, go, come back, move, are replaced, touched and exchanged, several times between two scans."""
    chance = random.Random(seed)
    with closing(Database(tmp_path_factory.mktemp("s") / "l.db")) as database:
        shelf = Shelf(tmp_path_factory.mktemp("s") / "library", database)
        here: dict[str, bytes] = {}
        gone: list[bytes] = []
        said: dict[bytes, set[str]] = {}  # of each content
        seen: dict[bytes, float] = {}  # the time of each file, at the last scan
        last: dict[str, bytes] = {}  # what was at a path, or was there last
        for number in range(6):
            for _ in range(chance.randrange(1, 5)):
                _change(chance, shelf, here, gone)
            shelf.scan()
            for name, content in last.items():  # replaced in its place: what was said stays with the place
                now = here.get(name)
                # Of what nobody judged, nothing was read: with another time it is a new file.
                if now is None or now in said or seen.get(now) == shelf.time_of(name):
                    continue
                if content not in here.values() and content in said:
                    said[now] = said.pop(content)
            seen |= {content: shelf.time_of(name) for name, content in here.items()}
            last = {name: content for name, content in last.items() if content not in here.values()} | here
            expected = {name: said[content] for name, content in here.items() if content in said}
            assert shelf.ids().keys() == here.keys()
            assert shelf.judged() == expected
            if here:
                name = chance.choice(sorted(here))
                shelf.judge(name, f"tag_{number}")
                said.setdefault(here[name], set()).add(f"tag_{number}")
            shelf.read()


def _change(chance: random.Random, shelf: Shelf, here: dict[str, bytes], gone: list[bytes]) -> None:
    what = chance.choice(("add", "delete", "move", "exchange", "touch", "replace", "restore"))
    name = chance.choice(NAMES)
    if what in ("add", "replace") and (name in here) == (what == "replace"):
        here[name] = chance.randbytes(8)
        shelf.write(name, here[name])
    elif what == "restore" and gone and name not in here:
        here[name] = gone.pop(chance.randrange(len(gone)))
        shelf.write(name, here[name])
    elif not here:
        return
    else:
        one, other = chance.choice(sorted(here)), chance.choice(sorted(here))
        if what == "delete":
            gone.append(here.pop(one))
            (shelf.folder / one).unlink()
        elif what == "touch":
            shelf.touch(one)
        elif what == "move" and name not in here:
            shelf.move(one, name)
            here[name] = here.pop(one)
        elif what == "exchange" and one != other:
            shelf.move(one, "t")
            shelf.move(other, one)
            shelf.move("t", other)
            here[one], here[other] = here[other], here[one]
