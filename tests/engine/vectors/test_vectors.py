"""Similar pictures: against an exact search, through deletions and kills, and over a real file."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.vectors.hash import COPY, differing, picture_hash
from engine.vectors.index import VectorIndex, _groups
from engine.vectors.store import Features, Of, VectorError, VectorStore

D = 256
OF = Of("m", "sha", D)


def vectors(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """As features are: never negative, many zeros, some dozen things that vary together."""
    chance = np.random.default_rng(seed)
    things = np.random.default_rng(7).normal(size=(24, D))
    found = chance.normal(size=(count, 24)) @ things + chance.normal(size=(count, D)) * 2 - 2
    return np.maximum(found, 0).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VectorStore]:
    with closing(VectorStore(tmp_path / "v.db", OF)) as opened:
        yield opened


def exact(query: npt.NDArray[np.float32], all_vectors: npt.NDArray[np.float32], limit: int) -> list[int]:
    median = np.median(all_vectors[:2_000], axis=0)
    centred, wanted = all_vectors - median, query - median
    cosine = centred @ wanted / np.linalg.norm(centred, axis=1) / np.linalg.norm(wanted)
    return [int(one) for one in np.argsort(-cosine)[:limit]]


def test_it_finds_what_an_exact_search_finds(store: VectorStore) -> None:
    known = vectors(3_000)
    store.put(Features(i, 0, known[i]) for i in range(3_000))
    index = VectorIndex(store)
    recalls = []
    for query in vectors(20, seed=1):
        found = [one.media_id for one in index.like(query, 0, 50)]
        recalls.append(len({*found} & {*exact(query, known, 50)}) / 50)
    assert np.mean(recalls) >= 0.95
    [best, *_] = index.like(known[17], 5, 3)
    assert (best.media_id, best.bits) == (17, 2) and best.likeness > 0.999
    assert 17 not in [one.media_id for one in index.like_picture(17, 50)]


def test_what_was_deleted_never_comes_back(store: VectorStore) -> None:
    known = vectors(300)
    store.put(Features(i, i, known[i]) for i in range(200))
    index = VectorIndex(store)
    assert len(index) == 200
    store.remove([17])
    store.put(Features(i, i, known[i]) for i in range(200, 300))
    assert 17 not in [one.media_id for one in index.like(known[17], 17, 300)]
    assert len(index) == len(VectorIndex(store)) == 299
    assert index.like_picture(17, 5) == []
    store.put([Features(18, 18, known[17])])  # another file: what it looked like before is gone
    assert index.like(known[17], 17, 1)[0].media_id == 18
    assert index.like(known[5], 5, 10) == VectorIndex(store).like(known[5], 5, 10)


def test_deleted_pictures_take_no_others_place(store: VectorStore) -> None:
    known = vectors(2_000)
    store.put(Features(i, 0, known[i]) for i in range(2_000))
    index = VectorIndex(store)
    nearest = [one.media_id for one in index.like(known[17], 0, 1_500)]
    store.remove(nearest)
    assert len(index.like(known[17], 0, 50)) == 50


def test_neighbours_are_others_and_follow_what_changes(store: VectorStore) -> None:
    known = vectors(400)
    store.put(Features(i, i * 0x0123_4567_89AB, known[i]) for i in range(300))
    index = VectorIndex(store)
    first = index.neighbours(17, 20)
    assert len(first) == 20 and 17 not in first
    copy, deleted = first[0], first[1]
    store.put([Features(copy, 17 * 0x0123_4567_89AB ^ 1, known[copy])])  # it looks the same now
    store.remove([deleted])
    second = index.neighbours(17, 20)
    assert second[:18] == first[2:] and not {17, copy, deleted} & {*second}
    assert index.neighbours(deleted, 20) == []


def test_while_the_median_moves_all_pictures_are_compared_by_the_same_one(store: VectorStore) -> None:
    """The first ones are brighter than all that follow: by their median alone, nothing would differ any more."""
    known = vectors(1_200)
    bright = known[:50] + 40
    store.put(Features(i, 0, bright[i]) for i in range(50))
    index = VectorIndex(store)
    assert len(index) == 50
    store.put(Features(i, 0, known[i]) for i in range(50, 1_200))
    anew = VectorIndex(store)
    for query in (60, 500, 1_100):
        assert index.like_picture(query, 50) == anew.like_picture(query, 50)
        assert index.neighbours(query, 50) == anew.neighbours(query, 50)


def test_another_model_or_another_length_is_not_mixed_in(store: VectorStore, tmp_path: Path) -> None:
    store.put([Features(1, 1, vectors(1)[0])])
    for sha256, dimensions in (("other", D), ("sha", D + 1)):
        with pytest.raises(VectorError, match="cannot be compared with those of n"):
            VectorStore(store.path, Of("n", sha256, dimensions))
    for wrong in (np.zeros(D + 1, np.float32), np.full(D, np.nan, np.float32)):
        with pytest.raises(VectorError, match="medium 2"):
            store.put([Features(2, 2, wrong)])
    assert len(VectorIndex(store)) == 1
    (tmp_path / "text").write_text("no database at all, but long enough to look at" * 100)
    with pytest.raises(VectorError, match="cannot be used"):
        VectorStore(tmp_path / "text", OF)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE precious (x)")
    with pytest.raises(VectorError, match="another program"):
        VectorStore(tmp_path / "other.db", OF)
    with pytest.raises(VectorError, match="there is no file of vectors"):
        VectorStore(tmp_path / "none.db")
    other_model = Of("n", "x", D)
    with closing(VectorStore(store.path)) as reader, closing(VectorStore(store.path, other_model, anew=True)) as new:
        assert reader.of == OF and not reader.is_still() and new.is_still() and len(VectorIndex(new)) == 0


WRITER = """
import sys
from pathlib import Path
from engine.vectors.store import Features, VectorStore
from tests.engine.vectors.test_vectors import OF, vectors
store = VectorStore(Path(sys.argv[1]), OF)
known = vectors(100_000)
for first in range(0, 100_000, 50):
    store.put(Features(i, i, known[i]) for i in range(first, first + 50))
    print(first, flush=True)
"""


def test_killed_while_it_writes_it_gives_the_same_answers(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        for line in writer.stdout:
            if int(line) >= 1_000:
                writer.kill()
                break
    assert writer.returncode == (-signal.SIGKILL if os.name == "posix" else 1)
    with closing(VectorStore(path, OF)) as store:
        _, rows = store.changed(0)
        ids = [row.media_id for row in rows]
        assert len(ids) >= 1_050 and ids == list(range(len(ids))) and len(ids) % 50 == 0
        known = vectors(100_000)[: len(ids)]
        [query] = vectors(1, seed=3)
        with closing(VectorStore(tmp_path / "again.db", OF)) as again:
            again.put(Features(i, i, known[i]) for i in ids)
            assert VectorIndex(store).like(query, 0, 50) == VectorIndex(again).like(query, 0, 50)


def picture(seed: int = 0) -> Any:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC)


def test_copies_have_nearly_the_same_hash() -> None:
    original = picture()
    own = picture_hash(original)
    _, jpeg = cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 40])
    smaller: Any = cv2.resize(original, (200, 150), interpolation=cv2.INTER_AREA)
    again: Any = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert differing(own, picture_hash(smaller)) <= 2
    assert differing(own, picture_hash(again)) <= COPY
    others = [differing(own, picture_hash(picture(seed))) for seed in range(1, 60)]
    assert min(others) > COPY and 24 < np.mean(others) < 40
    assert picture_hash(np.zeros((1, 1, 3), np.uint8)) == picture_hash(np.zeros((9, 700, 3), np.uint8))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.data(), st.integers(0, 8))
def test_groups_of_copies_are_those_of_a_plain_look(hashes: list[int], data: st.DataObject, most: int) -> None:
    flips = data.draw(st.lists(st.tuples(st.integers(0, 29), st.lists(st.integers(0, 63), max_size=9)), max_size=20))
    for at, bits in flips:
        if hashes:
            near = hashes[at % len(hashes)]
            for bit in bits:
                near ^= 1 << bit
            hashes = [*hashes, near]
    ids = np.arange(len(hashes), dtype=np.int64) + 5
    plain: list[set[int]] = []
    for i, one in enumerate(hashes):
        touching = [group for group in plain if any(differing(one, hashes[j]) <= most for j in group)]
        plain = [group for group in plain if group not in touching] + [{i}.union(*touching)]
    expected = sorted(sorted(j + 5 for j in group) for group in plain if len(group) > 1)
    assert sorted(_groups(ids, np.array(hashes, np.uint64), most)) == expected


def test_groups_of_copies_leave_out_what_was_deleted(store: VectorStore) -> None:
    known = vectors(4)
    store.put(Features(i, h, known[i]) for i, h in enumerate((0b1111, 0b1110, 2**64 - 1, 2**63 - 1)))
    index = VectorIndex(store)
    assert index.copies() == [[0, 1], [2, 3]]
    store.remove([1])
    assert index.copies() == [[2, 3]]
