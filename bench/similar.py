"""`engine bench similar`: how long a search for similar pictures takes, how much it misses, and what it keeps.

The vectors are made up like a model's features: never negative, some things that vary together, and noise. What is
found is held against the exact cosines of the same vectors in float32. Both run in a process of their own.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from bench.new_process import in_new_process
from bench.stats import latencies
from engine.vectors.index import SAMPLE, Alike, VectorIndex
from engine.vectors.store import Features, Of, VectorStore

TARGET_RECALL, TARGET_MS, TARGET_BYTES = 0.95, 50.0, 1_000
"""Of the 50 most alike; of the slowest 5 % of searches among 100,000; of memory a picture."""
FIRST = 50
THINGS = 64
"""That vary together in the features."""
_AT_ONCE = 2_000
Vectors = npt.NDArray[np.float32]


def measure(pictures: int, dimensions: int, times: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The recall, the median and the 95th percentile of each search in ms, and bytes a picture."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.vectors.db"
        say(f"making {pictures:,} vectors")
        with closing(VectorStore(path, Of("made up", "0" * 64, dimensions))) as store:
            for first, some in vectors(pictures, dimensions):
                hashes = _hashes(first, len(some))
                rows = zip(range(first, first + len(some)), hashes, some, strict=True)
                store.put([Features(number, its, vector) for number, its, vector in rows])
        say("searching")
        arguments = {"path": str(path), "pictures": pictures, "times": times}
        found: dict[str, Any] = in_new_process("bench.similar:searches", **arguments)
        found["file_bytes"] = round(path.stat().st_size / pictures)
    targets = {"recall": TARGET_RECALL, "p95_ms": TARGET_MS, "memory_bytes": TARGET_BYTES}
    return {"pictures": pictures, "dimensions": dimensions, "times": times, "targets": targets, **found}


def vectors(pictures: int, dimensions: int, seed: int = 2) -> Iterator[tuple[int, Vectors]]:
    """(the first id, float32 [N, dimensions]), the same each time."""
    mix = np.random.default_rng(1).standard_normal((THINGS, dimensions), np.float32)
    chance = np.random.default_rng(seed)
    for first in range(1, pictures + 1, _AT_ONCE):
        count = min(_AT_ONCE, pictures + 1 - first)
        things = chance.standard_normal((count, THINGS), np.float32)
        noise = chance.standard_normal((count, dimensions), np.float32) * 4
        yield first, np.maximum(things @ mix + noise, 0)


def _hashes(first: int, count: int) -> Sequence[int]:
    """Each tenth picture is a copy of the one before."""
    own = np.random.default_rng(first).integers(0, 2**64, count, np.uint64)
    own[9::10] = own[8::10][: len(own[9::10])] ^ np.uint64(1)
    return [int(one) for one in own]


def searches(path: str, pictures: int, times: int) -> dict[str, Any]:
    """In a process that does nothing else: what the start takes, each kind of search, and the recall."""
    process = psutil.Process()
    with closing(VectorStore(Path(path))) as store:
        [(_, queries)] = vectors(times, store.dimensions, seed=3)  # pictures that the library does not have
        before, began = process.memory_info().rss, time.perf_counter()
        index = VectorIndex(store)
        count = len(index)
        ready, memory = time.perf_counter() - began, process.memory_info().rss - before
        ids = np.random.default_rng(4).integers(1, pictures, times, endpoint=True).tolist()
        found: list[set[int]] = []
        kinds: dict[str, Callable[[int], object]] = {
            "like a picture that is sent": lambda i: found.append(_ids(index.like(queries[i], 0, FIRST))),
            "like a picture of the library": lambda i: index.like_picture(ids[i], FIRST),
            "its neighbours, by bits alone": lambda i: index.neighbours(ids[i], FIRST),
        }
        rows = {name: latencies([partial(ask, i) for i in range(times)]) for name, ask in kinds.items()}
        began = time.perf_counter()
        groups = len(index.copies())
        copies = time.perf_counter() - began
    true = exact(queries, pictures)
    recalls = [len(one & those) / FIRST for one, those in zip(found, true, strict=True)]
    return {
        "ready_s": round(ready, 2),
        "memory_bytes": round(memory / count),
        "recall": {"mean": round(float(np.mean(recalls)), 4), "worst": round(min(recalls), 3)},
        "copies": {"groups": groups, "seconds": round(copies, 2)},
        "rows": rows,
    }


def _ids(found: Sequence[Alike]) -> set[int]:
    return {one.media_id for one in found}


def exact(queries: Vectors, pictures: int) -> list[set[int]]:
    """The ids of the nearest of each query: by the cosine of all vectors, less the median of the first, in float32."""
    median: Vectors = np.zeros(queries.shape[1], np.float32)
    wanted, cosines = queries, []
    for first, some in vectors(pictures, queries.shape[1]):
        if first == 1:
            median = np.median(some[:SAMPLE], axis=0).astype(np.float32)
            wanted = (queries - median) / np.linalg.norm(queries - median, axis=1, keepdims=True)
        centred = some - median
        cosines.append((centred / np.linalg.norm(centred, axis=1, keepdims=True)) @ wanted.T)
    whole = np.concatenate(cosines)
    return [set((np.argpartition(-column, FIRST - 1)[:FIRST] + 1).tolist()) for column in whole.T]
