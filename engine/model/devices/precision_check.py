"""Checks that a device computes fp16 or bf16 right and faster than fp32.

Cards of the GTX 16xx series return NaN (pytorch#58123) or are slower in fp16 than in fp32 (lc0#849), and no property of
the device tells which. So the first fp16 session on a card runs a few pictures in both precisions, and the verdict is
kept on disk. None of this was measured on a GPU. A CPU that has bf16 is held against its own fp32 in the same way.
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
TAGS, THRESHOLD = 0.02, 0.5
"""The share of the tags that bf16 may change, as in `engine verify`; the score from which a tag counts for it."""
MEAN = 0.0025
"""How far bf16's scores may be from fp32's in the mean. The demo's trained model has 0.0012, a full-size one with
random weights 0.0009; another one, whose weights amplify every difference, 0.0052 and other tags."""
GAIN = 1.1
"""How many times as fast as fp32 it must be. Below that fp32 is the better choice."""
BATCH = 4
"""Pictures in the batch that is timed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the precision may be used on this device; `reason` says what was found, also where it is good."""

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


def compare(
    fp32: tuple[float, Scores] | None,
    other: tuple[float, Scores],
    name: str = "fp16",
    on: str = "this GPU",
    differ: Callable[[Scores, Scores], tuple[bool, str]] | None = None,
) -> Verdict:
    """The verdict from seconds and scores in both precisions. Without fp32 only scores that are not finite count.

    `name`: of the other precision; `on`: what a user calls the device; `differ`: whether scores are too far from
    fp32's, and what was found in words, `by_largest` if None.
    """
    if not np.isfinite(other[1]).all():
        return Verdict(False, f"{name} gives scores that are no numbers on {on}")
    if fp32 is None:
        return Verdict(True, f"{name} gives finite scores; the model folder holds no fp32 to compare with")
    too_far, found = (differ or by_largest)(fp32[1], other[1])
    gain = fp32[0] / other[0]
    if too_far:
        return Verdict(False, f"{name} scores differ from fp32's too much on {on}: {found}")
    if gain < GAIN:
        return Verdict(False, f"{name} is only {gain:.2f} times as fast as fp32 on {on}")
    return Verdict(True, f"{name} is {gain:.1f} times as fast as fp32 on {on}: {found}")


def by_largest(fp32: Scores, other: Scores) -> tuple[bool, str]:
    """Too far if any score differs by more than `TOLERANCE`."""
    apart = float(np.abs(other - fp32).max())
    return not apart <= TOLERANCE, f"by up to {apart:.4f}"


def by_tags(fp32: Scores, other: Scores) -> tuple[bool, str]:
    """Too far if more than `TAGS` of the tags change clearly, or if scores differ by more than `MEAN` in the mean.

    bf16 rounds to 8 bits of mantissa, so single scores move further than fp16's; what counts is which tags come out.
    """
    apart = np.abs(other - fp32)
    mean, tags = float(apart.mean()), int((fp32 >= THRESHOLD).sum())
    changed = int((((fp32 >= THRESHOLD) != (other >= THRESHOLD)) & (apart > TOLERANCE)).sum())
    share = changed / max(tags, 1)
    found = f"{changed:,} of {tags:,} tags change clearly, scores by {mean:.4f} in the mean"
    return not (share <= TAGS and mean <= MEAN), found


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
