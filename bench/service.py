"""`engine bench service`: how long the embedded service takes for searches, edits and reviews, and its memory and file.

The library is made up: its pictures have no files, and their tags are drawn as those of real libraries are, few tags on
most pictures and most tags on few. It is asked as the page asks, without HTTP, in a process of its own.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sqlalchemy import insert

from bench.new_process import in_new_process
from bench.stats import latencies
from service.database import Database, library, media, model, opinion, tag
from service.opinions import ENTRY
from service.review.review import Review
from service.search.find import Search
from service.search.names import Keys
from service.similar import Similar
from service.store import Store
from service.verdicts import Verdicts

TAGS = 9_176
"""Of the DeepDanbooru models."""
TAGS_OF_A_PICTURE = 30
PAGE = 60
FAR_PAGE = 1_000
EDITED, TARGET_EDIT_S = 5_000, 2.0
"""Pictures of an edit, and the seconds that it may take."""
TARGETS = ((100_000, 0.1), (1_000_000, 0.3))
"""Seconds of the slowest 5 % of searches, up to so many pictures."""
_AT_ONCE = 20_000
_MB = 1e6


def measure(pictures: int, times: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The 95th percentile and the median of each kind of search, in ms; sizes in MB; the start in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "library.db"
        say(f"making a library of {pictures:,} pictures")
        fill(path, pictures)
        say("searching")
        found: dict[str, Any] = in_new_process("bench.service:searches", path=str(path), times=times)
        found["file_mb"] = round(path.stat().st_size / _MB, 1)
    target = next((seconds for most, seconds in TARGETS if pictures <= most), None)
    return {
        "pictures": pictures,
        "tags": TAGS,
        "times": times,
        "target_ms": target and 1000 * target,
        "target_edit_s": TARGET_EDIT_S,
        **found,
    }


def fill(path: Path, pictures: int) -> None:
    """A library with tags and without files, the same each time."""
    chance = np.random.default_rng(0)
    share = 1 / np.arange(1, TAGS + 1) ** 0.9
    share /= share.sum()
    with closing(Database(path)) as database, database.writing() as connection:
        connection.execute(insert(model).values(id=1, name="drawn"))
        names = [{"id": i + 1, "key": f"tag_{i}", "category": "General"} for i in range(TAGS)]
        connection.execute(insert(tag), names)
        for first in range(0, pictures, _AT_ONCE):
            count = min(_AT_ONCE, pictures - first)
            tags = chance.choice(TAGS, size=(count, TAGS_OF_A_PICTURE + 10), p=share) + 1  # some are drawn twice
            scores = chance.integers(2**15, 2**16, size=tags.shape)
            rows, blobs = [], []
            for i in range(count):
                own = np.unique(tags[i])[:TAGS_OF_A_PICTURE]
                said = np.empty(len(own), ENTRY)
                said["tag"], said["score"] = own, scores[i, : len(own)]
                media_id = first + i + 1
                rows.append({"id": media_id, "path": f"folder/{media_id:08d}.jpg", "present": True, "revision": 1})
                blobs.append({"media_id": media_id, "model_id": 1, "tags": said.tobytes()})
            connection.execute(insert(media), rows)
            connection.execute(insert(opinion), blobs)
        connection.execute(library.update().values(revision=1))


def searches(path: str, times: int) -> dict[str, Any]:
    """In a process that does nothing else: what the start takes, and each kind of search."""
    process = psutil.Process()
    with closing(Database(Path(path))) as database:
        before, began = process.memory_info().rss, time.perf_counter()
        search = Search(database, Keys())
        pictures = search.summary()["pictures"]
        ready, memory = time.perf_counter() - began, process.memory_info().rss - before
        far = min(FAR_PAGE * PAGE, pictures // 2)
        kinds: dict[str, Callable[[], object]] = {
            "one frequent name": lambda: search.find("tag_0", offset=0, limit=PAGE),
            "three names": lambda: search.find("tag_0 tag_1 tag_2", offset=0, limit=PAGE),
            "a negation": lambda: search.find("-tag_0", offset=0, limit=PAGE),
            "200 tags, any of them": lambda: search.find(
                " or ".join(f"tag_{i}" for i in range(100, 300)), offset=0, limit=PAGE
            ),
            "page 1,000": lambda: search.find("tag_0", offset=far, limit=PAGE),
            "everything, newest first": lambda: search.find("order:new", offset=0, limit=PAGE),
            "facets of a search": lambda: search.facets("tag_3"),
        }
        rows = {name: latencies([ask] * times) for name, ask in kinds.items()}
        curation = _curation(database, search, min(EDITED, pictures))
    return {"curation": curation, "ready_s": round(ready, 2), "memory_mb": round(memory / _MB, 1), "rows": rows}


def _curation(database: Database, search: Search, edited: int) -> dict[str, float]:
    """Seconds, each once: an edit of many pictures and its undo, and a review of one tag after as many verdicts."""
    verdicts = Verdicts(database, Store(database))
    with closing(Similar(database.path)) as similar:
        review = Review(database, search, verdicts, similar)
        everything = range(1, edited + 1)
        entry = 0

        def edit() -> None:
            nonlocal entry
            entry = verdicts.edit(everything, who="bench", yes=["tag_1", "new"], no=["tag_2"]).id or 0

        asks: dict[str, Callable[[], object]] = {
            f"{edited:,} pictures: add two tags, remove one": edit,
            "a search that must show it": lambda: search.find("new", offset=0, limit=PAGE),
            "undo of it": lambda: verdicts.undo(entry, who="bench"),
            f"{edited:,} verdicts of a review": lambda: review.judge(
                "tag_3", {media_id: media_id % 3 > 0 for media_id in everything}, "uncertain", who="bench"
            ),
            "the review's next 20": lambda: review.queue("tag_3", "uncertain", offset=0, limit=20),
            "its threshold, precision and recall": lambda: review.told("tag_3"),
        }
        spent = {}
        for name, ask in asks.items():
            began = time.perf_counter()
            ask()
            spent[name] = round(time.perf_counter() - began, 3)
    return spent
