"""A run keeps what finds similar pictures, through kills and other models, and costs nothing where it is not wanted."""

import json
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.families import family_of
from engine.model.folder import open_model
from engine.vectors.hash import picture_hash
from engine.vectors.index import VectorIndex
from engine.vectors.store import VectorStore
from tests.engine.runs.test_retag import Home, home, other_model
from tests.engine.runs.test_run import pictures
from tests.support.media_server import SEGMENT, MediaServer
from tests.support.runs import ENGINE, command, run

__all__ = ["home", "pictures"]  # the fixtures


def files(home: Home) -> list[Path]:
    return [path for path in home.data.rglob("*.vectors.db")]


def expected(home: Home, key: str) -> tuple[np.ndarray, int]:
    """Features and hash of a picture, without the engine's pipeline."""
    model = open_model(home.model)
    family = family_of(model.preprocessing)
    data = (home.library / key).read_bytes()
    rgb = family.decode(data, key, max_pixels=10**8)
    shape = model.preprocessing
    row = np.empty((shape.height, shape.width, 3), shape.dtype)
    family.fit(rgb, row)
    session = onnxruntime.InferenceSession(str(model.precision(None).file), providers=["CPUExecutionProvider"])
    [features] = session.run(["features"], {session.get_inputs()[0].name: row[None]})
    return features[0], picture_hash(rgb)


def test_each_picture_has_the_vector_that_the_model_gives_it(home: Home) -> None:
    home.tag("run")
    [file] = files(home)
    keys = sorted(path.relative_to(home.library).as_posix() for path in home.library.rglob("*.*"))
    with closing(VectorStore(file)) as store:
        assert store.of[:2] == (open_model(home.model).project, open_model(home.model).sha256)
        rows = store.get(range(1, 13))
        assert len(rows) == len(keys) == 12
        for media_id, key in enumerate(keys, 1):  # a scan numbers new files by path
            vector, its_hash = expected(home, key)
            row = rows[media_id]
            assert row.hash == its_hash
            assert row.kept is not None
            assert np.allclose(row.kept * row.scale, vector, atol=float(np.abs(vector).max()) / 127)
        index = VectorIndex(store)
        vector, its_hash = expected(home, keys[4])
        assert index.like(vector, its_hash, 1)[0].media_id == 5


def test_where_it_is_not_wanted_there_is_no_file(home: Home) -> None:
    home.tag("run", "--no-vectors")
    assert files(home) == []
    assert len(home.exported()) > 0


@pytest.mark.full
def test_another_model_begins_the_file_anew(home: Home, tmp_path: Path) -> None:
    home.tag("run")
    home.model = other_model(home.model, tmp_path / "another")
    home.tag("retag")
    with closing(VectorStore(files(home)[0])) as store:
        assert store.of.name == "another"
        assert len(VectorIndex(store)) == 12


@pytest.mark.full
def test_what_an_ended_run_left_in_the_outbox_comes_with_the_next(home: Home) -> None:
    """As if the run had been killed between its commit and the file of vectors."""
    home.tag("run")
    [file] = files(home)
    with closing(VectorStore(file)) as store:
        [row] = store.get([3]).values()
        store.remove([3])
    assert row.kept is not None
    entry = struct.pack("<Qd", row.hash, row.scale) + row.kept.tobytes()
    with closing(sqlite3.connect(file.with_name(file.name.replace(".vectors", "")))) as ledger:
        ledger.execute("INSERT INTO outbox (sink, media_id, entry) VALUES ('vectors', 3, ?)", (entry,))
        ledger.execute("UPDATE media SET outcome = 'outbox' WHERE id = 3")
        ledger.commit()
    home.tag("run")
    with closing(VectorStore(file)) as store:
        assert store.get([3])[3].hash == row.hash


def test_a_file_that_was_deleted_is_made_again_by_a_retag(home: Home) -> None:
    home.tag("run")
    for path in home.data.rglob("*.vectors.db*"):
        path.unlink()
    home.tag("retag")
    with closing(VectorStore(files(home)[0])) as store:
        assert len(VectorIndex(store)) == 12


def test_a_service_of_ones_own_is_asked_which_pictures_it_still_lists(
    tiny_model: Path, pictures: Path, tmp_path: Path
) -> None:
    keys = sorted(path.relative_to(pictures).as_posix() for path in pictures.glob("*/*.*"))[:12]
    with MediaServer(enumerate(keys, 10)) as server:
        ended = run(command(server, tiny_model, pictures, tmp_path / "s.db", "--device", "cpu"))
        assert ended.returncode == 0, ended.stderr
        wanted = [
            str(pictures / keys[0]),
            "--model",
            str(tiny_model),
            "--state",
            str(tmp_path / "s.db"),
            "--json",
            "--limit",
            "99",
        ]
        asked = [*ENGINE, "similar", *wanted, "--segment-url", server.url + SEGMENT]

        def found(*more: str) -> list[dict[str, Any]]:
            ended = run([*asked, *more])
            assert (ended.returncode, ended.stderr) == (0, "")
            return [json.loads(line) for line in ended.stdout.splitlines()]

        everything = found()
        assert len(everything) == len(keys) and everything[0]["id"] == 10
        second, third = everything[1]["id"], everything[2]["id"]
        del server.catalogue[second]
        server.catalogue[third] = "elsewhere.jpg"
        asked_before = len(server.requests)
        closest = found("--limit", "2")
        assert [(one["id"], one["storageUrl"]) for one in closest] == [(10, keys[0]), (third, "elsewhere.jpg")]
        assert len(server.requests) - asked_before == 3  # the first, the deleted one, the next
    ended = run(asked)
    assert [json.loads(line)["id"] for line in ended.stdout.splitlines()] == [one["id"] for one in everything]
    assert "pictures that were deleted may be among these" in ended.stderr
    ended = run([*ENGINE, "similar", *wanted])
    assert len(ended.stdout.splitlines()) == len(keys) and ended.stderr == ""
