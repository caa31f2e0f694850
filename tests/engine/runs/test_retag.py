"""`engine retag`, files that were replaced, libraries that were moved: the library shows what holds, and no more."""

import json
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.ledger.schema import LedgerView
from engine.model.folder import sha256_of
from engine.types import Outcome
from tests.engine.runs.test_run import catalogue, pictures
from tests.support.media_server import REPLACE, MediaServer
from tests.support.runs import ENGINE, command, environment, run

__all__ = ["pictures"]  # the fixture

Tags = dict[str, dict[str, float]]


@dataclass
class Home:
    """A user's machine: a library, a model, and where the engine keeps its data."""

    library: Path
    model: Path
    data: Path

    @property
    def variables(self) -> dict[str, Any]:
        return dict.fromkeys(("XDG_DATA_HOME", "LOCALAPPDATA", "HOME", "USERPROFILE"), str(self.data))

    def engine(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run([*ENGINE, *map(str, arguments)], **self.variables)

    def tag(self, verb: str, *more: str | Path) -> subprocess.CompletedProcess[str]:
        ended = self.engine(verb, "--library", self.library, "--model", self.model, *more)
        assert ended.returncode == 0, ended.stderr
        return ended

    def images(self, verb: str, *more: str | Path) -> int:
        return int(json.loads(self.tag(verb, "--json", *more).stdout)["images"])

    def exported(self, *more: str | Path) -> Tags:
        ended = self.engine("export", "--library", self.library, *more)
        assert ended.returncode == 0, ended.stderr
        entries = map(json.loads, ended.stdout.splitlines())
        return {entry["path"]: {tag["tag"]: tag["score"] for tag in entry["tags"]} for entry in entries}

    def expected(self, threshold: float = 0.5) -> Tags:
        """What the model says, by way of `engine tag`; as in an export, without the pictures that have no tags."""
        printed = self.engine("tag", "--model", self.model, "--threshold", str(threshold), "--json", self.library)
        entries = map(json.loads, printed.stdout.splitlines())
        tags = {
            Path(entry["path"]).relative_to(self.library).as_posix(): {
                tag["tag"]: round(tag["score"], 3) for tag in entry["tags"]
            }
            for entry in entries
        }
        return {path: found for path, found in tags.items() if found}


@pytest.fixture
def home(pictures: Path, tiny_model: Path, tmp_path: Path) -> Home:
    library = tmp_path / "library"
    for path in sorted(pictures.rglob("*.*"))[:12]:
        (library / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, library / path.parent.name)
    return Home(library, tiny_model, tmp_path / "data")


def other_model(model: Path, folder: Path) -> Path:
    """The same network under another name, whose tags are called otherwise."""
    shutil.copytree(model, folder)
    rows = (folder / "tags.csv").read_text(encoding="utf-8").replace("tag_", "other_")
    (folder / "tags.csv").write_text(rows, encoding="utf-8", newline="\n")
    manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    manifest["project"], manifest["source"]["sha256"] = "another", "0" * 64
    manifest["tags_sha256"] = sha256_of(folder / "tags.csv")
    (folder / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def high(home: Home) -> float:
    """A threshold that takes some tags of some pictures away, and all tags of others."""
    best = sorted(max(tags.values()) for tags in home.expected().values())
    return (best[len(best) // 2 - 1] + best[len(best) // 2]) / 2


@pytest.mark.full
def test_a_higher_threshold_leaves_exactly_the_new_tags(home: Home) -> None:
    home.tag("run", "--keep-scores", "0")
    assert home.exported() == home.expected(0.5)
    threshold = high(home)
    said = home.tag("retag", "--threshold", str(threshold)).stderr
    assert "12 media will be tagged again; what they no longer get is taken away" in said
    assert home.exported() == home.expected(threshold)
    assert 0 < len(home.exported()) < 12  # some have no tag left


@pytest.mark.full
def test_another_model_takes_the_place_of_the_first(home: Home, tmp_path: Path) -> None:
    home.tag("run")
    first = home.model
    home.model = other_model(first, tmp_path / "another")
    home.tag("retag")
    other = home.exported()
    assert other == home.expected() and all(tag.startswith("other_") for tags in other.values() for tag in tags)
    home.model = first
    home.tag("retag")
    assert home.exported() == home.expected()


@pytest.mark.full
def test_tags_from_before_models_were_named_are_replaced_too(home: Home) -> None:
    """A library that an older engine filled by the bulk call, and a ledger that names no model."""
    home.tag("run")
    for database, sql in (
        (default_path_of(home), "UPDATE opinion SET model_id = (SELECT id FROM model WHERE name = '')"),
        (default_path_of(home).with_suffix(".ledger.db"), "DELETE FROM meta WHERE key = 'models'"),
    ):
        connection = sqlite3.connect(database)
        connection.execute(sql)
        connection.commit()
        connection.close()
    threshold = high(home)
    home.tag("retag", "--threshold", str(threshold))
    assert home.exported() == home.expected(threshold)


def default_path_of(home: Home) -> Path:
    [ledger] = home.data.rglob("libraries/*.ledger.db")
    return ledger.with_name(ledger.name.replace(".ledger", ""))


def test_killed_in_the_middle_of_a_retag_the_next_run_ends_it(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Against a service that is not ours, which tells when to kill; the store is what it would be without the kill."""
    media = catalogue(pictures)
    stores = []
    for kill in (False, True):
        state = tmp_path / f"{kill}.db"
        with MediaServer(media) as server:
            arguments = [*command(server, tiny_model, pictures, state), "--recognition-replace-url", server.replace_url]
            arguments += ["--keep-scores", "0"]
            assert run(arguments).returncode == 0
            before = len(server.store)
            retag = [*arguments, "--threshold", "0.9", "--batch-size", "2", "--chunk-records", "40"]
            retag[retag.index("run")] = "retag"
            if kill:
                posts = len(server.posts())
                victim = subprocess.Popen(retag, env=environment(), stderr=subprocess.DEVNULL)
                assert server.wait_until(lambda: len(server.posts()) > posts + 4, timeout=60)  # noqa: B023
                victim.kill()
                victim.wait()
                assert run(arguments).returncode == 0
            else:
                assert run(retag).returncode == 0
            assert server.violations == [] and {request.path for request in server.posts()} == {REPLACE}
            assert 0 < len(server.store) < before
            stores.append(dict(server.store))
    assert stores[0] == stores[1]


@pytest.mark.parametrize("bulk", [False, True])
def test_a_service_that_cannot_replace_keeps_its_tags_and_the_engine_says_so(
    bulk: bool, pictures: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with MediaServer(catalogue(pictures)[:4]) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--keep-scores", "0", bulk=bulk)
        assert run(arguments).returncode == 0
        before = dict(server.store)
        retag = [*arguments, "--threshold", "0.9"]
        retag[retag.index("run")] = "retag"
        said = run(retag).stderr
        assert server.store == before
        assert said.count("the service keeps tags that they no longer get") == 1 and "--recognition-replace-url" in said


def redraw(path: Path) -> None:
    picture = cv2.resize(
        np.random.default_rng(9).integers(0, 256, (3, 5, 3), np.uint8), (70, 50), interpolation=cv2.INTER_CUBIC
    )
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


@pytest.mark.full
def test_a_replaced_file_is_tagged_again_and_no_other(home: Home) -> None:
    home.tag("run")
    before = home.exported()
    file = next(home.library.rglob("*.jpg"))
    redraw(file)
    assert home.images("run") == 1
    after = home.exported()
    assert after == home.expected() and after != before
    assert home.images("run") == 0


@pytest.mark.full
def test_one_picture_is_tagged_again_by_its_file_its_key_or_its_id(home: Home) -> None:
    home.tag("run")
    file = next(home.library.rglob("*.jpg"))
    key = file.relative_to(home.library).as_posix()
    assert home.images("retag", file) == 1
    assert home.images("retag", key, "1") in (1, 2)  # the id may be the same picture's
    assert home.exported() == home.expected()
    ended = home.engine("retag", "--library", home.library, "--model", home.model, "no such.jpg")
    assert ended.returncode == 1 and "no such.jpg" in ended.stderr and "Traceback" not in ended.stderr
    # Single pictures are tagged as all the others are; another threshold is for all of them.
    ended = home.engine("retag", "--library", home.library, "--model", home.model, "--threshold", "0.9", key)
    assert ended.returncode == 1 and "threshold" in ended.stderr


@pytest.mark.full
def test_tagging_one_picture_again_does_nothing_else(home: Home) -> None:
    home.tag("run", "--limit", "3")
    assert home.images("retag", "2") == 1
    [state] = home.data.rglob("libraries/*.ledger.db")
    with LedgerView(state) as view:
        assert view.meta("listed") is None  # nobody has seen the whole catalogue yet
        assert view.counts()[Outcome.DONE] == 3
    assert home.images("run") == 9


@pytest.mark.full
def test_a_renamed_library_keeps_its_tags(home: Home, tmp_path: Path) -> None:
    home.tag("run")
    before = home.exported()
    old, home.library = home.library, home.library.rename(tmp_path / "renamed here")
    refused = home.engine("run", "--library", home.library, "--model", home.model)
    assert refused.returncode == 1
    assert f'engine move "{old}" "{home.library}"' in refused.stderr
    moved = home.engine("move", old, home.library)
    assert moved.returncode == 0, moved.stderr
    assert home.exported() == before
    assert home.images("run") == 0
    assert home.engine("status", "--library", home.library).returncode == 0


@pytest.mark.full
def test_a_database_that_is_named_goes_with_any_folder(home: Home, tmp_path: Path) -> None:
    db = tmp_path / "elsewhere" / "tags.db"
    home.tag("run", "--db", db)
    assert not list(home.data.rglob("libraries/*"))
    before = home.exported("--db", db)
    assert before == home.expected()
    home.library = home.library.rename(tmp_path / "renamed")
    assert home.images("run", "--db", db) == 0
    assert home.exported("--db", db) == before
    status = home.engine("status", "--library", home.library, "--db", db, "--json")
    assert json.loads(status.stdout)["ledger"]["done"] == 12
    alone = home.engine("run", "--db", db, "--model", home.model)
    assert alone.returncode == 1 and "--library" in alone.stderr


@pytest.mark.full
def test_a_ledger_of_an_older_engine_is_known_by_its_folder(home: Home) -> None:
    home.tag("run")
    connection = sqlite3.connect(default_path_of(home).with_suffix(".ledger.db"))
    connection.execute("UPDATE meta SET value = ? WHERE key = 'service'", (f"the library {home.library.resolve()}",))
    connection.commit()
    connection.close()
    assert home.images("run") == 0
