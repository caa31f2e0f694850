"""`engine bench sweep`: the session alone, for each precision with growing batches, until one does not fit.

Each point is measured in a process of its own.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.new_process import in_new_process
from bench.stats import figure
from engine.errors import EngineError
from engine.machine import peak_rss_mb
from engine.model.devices.nvml import open_gpu
from engine.model.folder import open_model
from engine.model.open import open_session
from engine.model.session import SessionConfig
from engine.types import WHITE

FEWEST = 3
"""Batches that are timed at a point at least, however long they take."""


def sweep(
    model: Path,
    precisions: Sequence[str],
    batches: Sequence[int],
    rounds: int,
    device: str,
    seconds: float,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure every point `rounds` times in turn; a precision whose batch does not fit is not tried with larger ones.

    Returns:
        `rows` by precision and batch: images/s, latency of a batch in ms, peak RSS and VRAM in MB, start in s; or
        `failed`, the sentence that says why.
    """
    taken: dict[tuple[str, int], list[dict[str, Any]]] = {}
    failed: dict[str, tuple[int, str]] = {}
    for number in range(rounds):
        for precision in precisions:
            for batch in sorted(batches):
                if precision in failed and batch >= failed[precision][0]:
                    break
                progress(f"round {number + 1} of {rounds}: {precision}, batch {batch}")
                try:
                    found = in_new_process(
                        "bench.sweep:point",
                        model=str(model),
                        precision=precision,
                        batch=batch,
                        device=device,
                        seconds=seconds,
                    )
                except EngineError as error:
                    failed[precision] = (batch, str(error))
                else:
                    taken.setdefault((precision, batch), []).append(found)
    rows = [_row(precision, batch, results) for (precision, batch), results in taken.items()]
    rows += [{"precision": p, "batch": batch, "failed": text} for p, (batch, text) in failed.items()]
    return {"rounds": rounds, "device": device, "rows": rows}


def point(model: str, precision: str, batch: int, device: str, seconds: float) -> dict[str, Any]:
    """One point: warm up, then batches for so many seconds, three at least."""
    gpu = open_gpu()
    before = gpu.memory().used if gpu else 0
    began = time.perf_counter()
    opened = open_model(Path(model))
    session = open_session(opened, opened.precision(precision), SessionConfig(device=device, batch_size=batch))
    shape = opened.preprocessing
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, WHITE[shape.dtype] + 1, (batch, shape.height, shape.width, 3), shape.dtype)
    session.run(pixels)
    started = time.perf_counter() - began
    took: list[float] = []
    first, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - first < seconds or len(took) < FEWEST:
        began = time.perf_counter()
        session.run(pixels)
        took.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    return {
        "device": session.device,
        "images_per_second": batch * len(took) / sum(took),
        "cpu_seconds_an_image": cpu / (batch * len(took)),
        "latency_ms": 1000 * statistics.median(took),
        "start_seconds": started,
        "peak_rss_mb": peak_rss_mb(),
        "peak_vram_mb": (gpu.memory().used - before) / 1e6 if gpu else None,
    }


def _row(precision: str, batch: int, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    figures = {
        key: figure([result[key] for result in results]).as_json() if results[0][key] is not None else None
        for key in results[0]
        if key != "device"
    }
    return {"precision": precision, "batch": batch, "device": results[0]["device"], **figures}
