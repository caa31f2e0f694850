"""Figure d: what an image costs where no stage does any work: the joints, the ledger, the interpreter."""

import time
from pathlib import Path
from unittest import mock

import numpy as np

from bench.fakes import PacedSession
from bench.throughput import Pair, Setup, run
from engine.config import RunConfig
from engine.pictures.decode import Header
from engine.types import Preprocessing, Rgb

BATCH = 16
CANVAS = Preprocessing("deepdanbooru", 16, 16)


def empty_stages(folder: str, count: int, pairs: int) -> list[Pair]:
    """Microseconds an image, wall clock and CPU; `folder` holds one small file, read as often as there are media."""
    picture: Rgb = np.zeros((CANVAS.height, CANVAS.width, 3), np.uint8)
    setup = Setup(Path(folder), count, PacedSession(BATCH), preprocessing=CANVAS)
    found = []
    with mock.patch.multiple(
        "engine.stages.load",
        probe=lambda data, name: Header("jpeg", CANVAS.width, CANVAS.height),
        decode=lambda data, name, max_pixels: picture,
        fit_for=lambda preprocessing: lambda rgb, row: None,
    ):
        run(Setup(setup.folder, BATCH, setup.session, preprocessing=CANVAS), RunConfig())  # warm
        for _ in range(pairs):
            cpu = time.process_time()
            seconds, _ = run(setup, RunConfig())
            cpu = time.process_time() - cpu
            found.append({"us_an_image": 1e6 * seconds / count, "cpu_us_an_image": 1e6 * cpu / count})
    return found
