"""Checks that a GPU computes fp16 right and faster than fp32.

Cards of the GTX 16xx series return NaN (pytorch#58123) or are slower in fp16 than in fp32 (lc0#849), and no property of
the device tells which. So the first fp16 session on a card runs a few pictures in both precisions, and the verdict is
kept on disk. None of this was measured on a GPU.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from engine.files import replacing
from engine.model.runners import Pixels, Runner
from engine.types import Scores

TOLERANCE = 0.02
"""The largest allowed difference of a score: some four times what fp16 rounding does to the full-size model."""
GAIN = 1.1
"""How many times as fast as fp32 it must be. Below that fp32 is the better choice."""
BATCH = 4
"""Pictures in the batch that is timed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether fp16 may be used on this GPU; `reason` says in words what was found, also where it is good."""

    good: bool
    reason: str


def time_runs(runner: Runner, pixels: Pixels, runs: int = 3) -> tuple[float, Scores]:
    """Seconds of the fastest of `runs` after one that warms up, and the scores."""
    scores = runner(pixels)
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        scores = runner(pixels)
        seconds.append(time.perf_counter() - began)
    return min(seconds), scores


def compare(fp32: tuple[float, Scores] | None, fp16: tuple[float, Scores]) -> Verdict:
    """The verdict from seconds and scores in both precisions. Without fp32 only scores that are not finite count."""
    if not np.isfinite(fp16[1]).all():
        return Verdict(False, "fp16 gives scores that are no numbers on this GPU")
    if fp32 is None:
        return Verdict(True, "fp16 gives finite scores; the model folder holds no fp32 to compare with")
    apart = float(np.abs(fp16[1] - fp32[1]).max())
    gain = fp32[0] / fp16[0]
    if not apart <= TOLERANCE:
        return Verdict(False, f"fp16 scores differ from fp32's by up to {apart:.3f} on this GPU")
    if gain < GAIN:
        return Verdict(False, f"fp16 is only {gain:.2f} times as fast as fp32 on this GPU")
    return Verdict(True, f"fp16 is {gain:.1f} times as fast as fp32 on this GPU and agrees within {apart:.4f}")


def remembered(folder: Path, key: tuple[str, ...], check: Callable[[], Verdict]) -> Verdict:
    """The verdict that is kept in the cache folder under `key`, else that of `check`, which is then kept.

    The key holds whatever may change the verdict: device, driver, versions, model.
    """
    file = folder / "probes" / f"{hashlib.sha256(chr(10).join(key).encode()).hexdigest()[:24]}.json"
    with suppress(OSError, ValueError, TypeError):
        return Verdict(**json.loads(file.read_text(encoding="utf-8")))
    verdict = check()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            part.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
    return verdict
