"""Figure d: what an image costs where no stage does any work: the joints, the ledger, the interpreter."""

import time
from dataclasses import replace
from pathlib import Path

from bench.fakes import BlankFamily, PacedSession
from bench.throughput import Pair, Setup, run
from engine.config import RunConfig
from engine.families import traits_of
from engine.types import Preprocessing

BATCH = 16
CANVAS = Preprocessing("deepdanbooru", 16, 16)


def empty_stages(folder: str, count: int, pairs: int) -> list[Pair]:
    """Microseconds an image, wall clock and CPU; `folder` holds one small file, read as often as there are media."""
    setup = Setup(Path(folder), count, PacedSession(BATCH), family=BlankFamily(traits_of(CANVAS), CANVAS))
    run(replace(setup, count=BATCH), RunConfig())  # warm
    found = []
    for _ in range(pairs):
        cpu = time.process_time()
        seconds, _ = run(setup, RunConfig())
        cpu = time.process_time() - cpu
        found.append({"us_an_image": 1e6 * seconds / count, "cpu_us_an_image": 1e6 * cpu / count})
    return found
