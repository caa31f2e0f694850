"""`engine bench fit`: the engine's fitting compared with the original's resize and warp, on one thread each.

    python -m bench.fit_speed PAIRS        (in an interpreter with the extra `keras`)

Decoding is not timed. The sides take turns picture by picture, so that both meet the same state of the machine. The
engine's fitting is also timed on one thread for each core: if it held Python's lock (GIL), more threads would not help.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench.new_process import environment, need_keras
from bench.pictures import jpeg
from bench.process import watch
from bench.stats import figure, verdict
from engine.machine import cores
from engine.pictures.decode import decode
from engine.pictures.fit import fit
from engine.types import Rgb

SIDE = 512
TARGET = 1 / 3
SIZES: Mapping[str, Sequence[tuple[int, int]]] = {
    "2.4 MP JPEGs, shrunk": ((1900, 1264), (1264, 1900), (1550, 1550)),
    "0.3 MP JPEGs, shrunk": ((640, 480), (480, 640)),
    "thumbnails of 300x400, enlarged": ((300, 400), (400, 300)),
}
"""Width and height. Half of the first user's files are thumbnails."""
PICTURES = 12


def measure(keras_python: str, pairs: int) -> dict[str, Any]:
    """For each kind of picture: milliseconds a picture of both sides, and their ratio, with spreads."""
    need_keras(keras_python)
    with tempfile.TemporaryDirectory() as folder:
        command = [keras_python, "-m", "bench.fit_speed", str(pairs)]
        kinds = json.loads(watch(command, environment(), Path(folder) / "fit.log").stdout.splitlines()[-1])
    rows = []
    for kind, times in kinds.items():
        ratio = figure([ours / theirs for ours, theirs in zip(times["engine"], times["original"], strict=True)])
        row = {"pictures": kind, "ratio": ratio.as_json(), "target": TARGET}
        row |= {side: figure([1000 * t for t in times[side]]).as_json() for side in ("engine", "original")}
        row["threads"] = cores()
        row["by_threads"] = figure(times["by_threads"]).as_json()
        rows.append(row | {"verdict": verdict(ratio, TARGET, at_least=False)})
    return {"side": SIDE, "rows": rows}


def main() -> None:
    """Prints, for each kind of picture, seconds a picture of each side, one figure a pair."""
    import tensorflow as tf

    from convert.parity.original import fit_as_the_original

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    row = np.empty((SIDE, SIDE, 3), np.uint16)
    result = {}
    for kind, sizes in SIZES.items():
        decoded = [decode(jpeg(*sizes[i % len(sizes)], seed=i)) for i in range(PICTURES)]
        sides: dict[str, Callable[[Any], object]] = {
            "engine": lambda rgb: fit(rgb, SIDE, SIDE, row),
            "original": lambda rgb: fit_as_the_original(rgb, SIDE, SIDE),
        }
        for work in sides.values():
            work(decoded[0])
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(int(sys.argv[1])):
            spent = dict.fromkeys(sides, 0.0)
            for rgb in decoded:
                for side, work in sides.items():
                    began = time.perf_counter()
                    work(rgb)
                    spent[side] += time.perf_counter() - began
            for side, seconds in spent.items():
                times[side].append(seconds / len(decoded))
            times.setdefault("by_threads", []).append(speed_of_threads(decoded))
        result[kind] = times
    print(json.dumps(result))


def speed_of_threads(decoded: Sequence[Rgb]) -> float:
    """How many times as fast as one thread alone it is to fit pictures on one thread for each core."""

    def work(_: int) -> None:
        row = np.empty((SIDE, SIDE, 3), np.uint16)
        for rgb in decoded:
            fit(rgb, SIDE, SIDE, row)

    def rate(threads: int) -> float:
        with ThreadPoolExecutor(threads) as pool:
            began = time.perf_counter()
            list(pool.map(work, range(4 * threads)))
            return 4 * threads / (time.perf_counter() - began)

    return rate(cores()) / rate(1)


if __name__ == "__main__":
    main()
