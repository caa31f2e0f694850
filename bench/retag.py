"""`engine bench retag`: other thresholds for a whole catalogue by its kept scores, beside a media API on this machine.

The ledger is made up: its pictures are empty files, and each has as many kept scores as a model of DeepDanbooru gives
above 0.05. Then `engine retag` runs as a process of its own, so its start counts too, and posts what changes to a
service that answers at once, in another process, or with --library to the embedded one, which stores it.
"""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import python_command
from bench.new_process import environment, last_line
from bench.server import REPLACE, SEGMENT, TOKEN, serving
from bench.stats import figure
from bench.throughput import FLOOR, KEPT, OF_A_MODEL
from engine.errors import EngineError
from engine.families import family_of
from engine.fingerprint import TABLE
from engine.ledger.kept import Scorer
from engine.ledger.ledger import Ledger
from engine.types import Media, Preprocessing, Scores, Tagged

BEFORE = "0.5"
WANTED = (
    "--threshold 0.4 --chunk-records 5000",
    "--threshold character=0.7 --chunk-records 5000",
    "--threshold 0.4 --chunk-records 500",
    "--threshold 0.4 --library FOLDER",
)
"""Each changes nearly every picture. 5,000 records a request are the embedded service's, 500 the contract's."""
EMBEDDED = "--library FOLDER"
TAGGED = 40
"""Scores of a picture from 0.5 up, about as many as one has in the first user's catalogue."""
CATEGORIES = tuple("Character" if number % 4 == 0 else "General" for number in range(len(OF_A_MODEL)))
CANVAS = Preprocessing("deepdanbooru", 512, 512)
TARGET_S, TARGET_BYTES = 10.0, 1000
TARGET_OF = 100_000
"""Pictures that the target of seconds is for."""
_AT_ONCE = 500


def measure(pictures: int, times: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each retag, what it posted, and the bytes that the scores take in the state file."""
    with tempfile.TemporaryDirectory() as name, serving(Path(name), ["a.jpg"], pictures) as server:
        state, without = Path(name) / "ledger.db", Path(name) / "without.db"
        say(f"making ledgers of {pictures:,} pictures")
        fill(state, pictures, floor=FLOOR)
        fill(without, pictures, floor=0.0)
        size = (state.stat().st_size - without.stat().st_size) / pictures
        say("making a library of them")
        library = ["--library", str(make_library(Path(name), pictures)), "--db", str(Path(name) / "library.db")]
        named = ["--segment-url", server.url + SEGMENT, "--recognition-replace-url", server.url + REPLACE]

        def run(flags: str) -> dict[str, Any]:
            copy = Path(name) / "copy.db"
            shutil.copyfile(state, copy)
            own = flags.removesuffix(EMBEDDED).split()
            try:
                return _retag(copy, [*own, *(library if flags.endswith(EMBEDDED) else named)])
            finally:
                copy.unlink()

        run(f"--threshold 0.3 {EMBEDDED}")  # lists the library, which then has tags to be replaced
        runs: dict[str, list[dict[str, Any]]] = {flags: [] for flags in WANTED}
        for turn in range(times):
            for flags, found in runs.items():
                say(f"turn {turn + 1}: engine retag {flags}")
                found.append(run(flags))
    return {
        "pictures": pictures,
        "times": times,
        "scores": KEPT,
        "before": BEFORE,
        "rows": {flags: _row(found) for flags, found in runs.items()},
        "bytes_a_picture": round(size),
        "target_bytes": TARGET_BYTES,
        "target_s": TARGET_S if pictures <= TARGET_OF else None,
    }


def fill(path: Path, pictures: int, floor: float) -> None:
    """A ledger as a run leaves it whose every picture is posted; scores from `floor` up are kept, with 0 none."""
    select = family_of(CANVAS).selection(OF_A_MODEL, CATEGORIES, BEFORE)
    with Ledger(path) as ledger:
        ledger.set_meta({"model": "1" * 64, "tags": "2" * 64, "precision": "fp32", "threshold": BEFORE, TABLE: ""})
        ledger.set_meta({"preprocessing": "deepdanbooru 512x512"})
        ledger.name_model("bench")
        if floor:
            ledger.keep_scores(Scorer(0, "bench", "1" * 64, "2" * 64, OF_A_MODEL, CATEGORIES, floor))
        written = None
        for first, rows in scores(pictures):
            media = [Media(number, file_of(number), number) for number in range(first, first + len(rows))]
            ledger.admit(media)
            if written:
                written.result()  # one transaction is on its way while the next one is made
            written = ledger.store([Tagged(one, select(row), row) for one, row in zip(media, rows, strict=True)], {})


def make_library(folder: Path, pictures: int) -> Path:
    """A folder with a file for each medium of `fill`, in the order of their ids. A retag reads none."""
    library = folder / "library"
    (library / "folder").mkdir(parents=True)
    for number in range(1, pictures + 1):
        (library / file_of(number)).touch()
    return library


def file_of(number: int) -> str:
    """The storageUrl of a medium."""
    return f"folder/{number:08d}.jpg"


def scores(pictures: int) -> Iterator[tuple[int, Scores]]:
    """(the first id, float32 [N, tags]): of each picture 40 scores from 0.5 to 1, and 110 below, few of them high."""
    chance = np.random.default_rng(0)
    for first in range(1, pictures + 1, _AT_ONCE):
        count = min(_AT_ONCE, pictures + 1 - first)
        rows = np.zeros((count, len(OF_A_MODEL)), np.float32)
        tags = chance.random(rows.shape, np.float32).argpartition(KEPT, axis=1)[:, :KEPT]
        high = chance.uniform(0.5, 1.0, (count, TAGGED))
        low = FLOOR * (0.5 / FLOOR) ** chance.uniform(0.001, 0.999, (count, KEPT - TAGGED))
        np.put_along_axis(rows, tags, np.hstack([high, low]).astype(np.float32), axis=1)
        yield first, rows


def _retag(state: Path, flags: Sequence[str]) -> dict[str, Any]:
    command: Sequence[str] = python_command("-m", "engine", "retag", *flags, "--state", str(state), "--json")
    began = time.perf_counter()
    run = subprocess.run(  # noqa: S603 - this interpreter
        command, capture_output=True, text=True, encoding="utf-8", env=environment(ENGINE_API_TOKEN=TOKEN)
    )
    seconds = time.perf_counter() - began
    if run.returncode:
        raise EngineError(f"engine retag failed: {last_line(run.stderr)}")
    said = json.loads(run.stdout)
    return {**said, "seconds": seconds}


def _row(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs, and what each of them did."""
    timed = {name: figure([run[name] for run in runs]).as_json() for name in ("seconds", "seconds_scores")}
    return timed | {name: runs[0][name] for name in ("changed", "added", "taken_away", "records", "requests")}
