"""Whether a GPU computes fp16 as it should: cards exist that return NaN, and others where it is slower than fp32.

The GTX 16xx do both (pytorch#58123, lc0#849), and no property of the device tells it. So the first session in fp16 on
a card runs a sample in both precisions; the verdict is kept. Not measured on a GPU.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.types import Scores

TOLERANCE = 0.02
"""A score may differ by so much: some four times what fp16 rounding does to the full-size model."""
GAIN = 1.1
"""fp16 must be so many times faster, else fp32 is the better choice."""
RUNS = 3

Run = Callable[[npt.NDArray[np.uint8]], Scores]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the probe found; `reason` in words, whether good or bad."""

    good: bool
    reason: str


def sample(count: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Pictures uint8 [count, height, width, 3] with edges and smooth parts, the same every time."""
    noise = np.random.default_rng(0)
    blocks = noise.integers(0, 256, (count, height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return np.ascontiguousarray(blocks.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width])


def time_runs(run: Run, pixels: npt.NDArray[np.uint8]) -> tuple[float, Scores]:
    """The fastest of `RUNS` after one that warms up, in seconds, and the scores."""
    scores = run(pixels)
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        scores = run(pixels)
        seconds.append(time.perf_counter() - began)
    return min(seconds), scores


def compare(fp32: tuple[float, Scores] | None, fp16: tuple[float, Scores]) -> Verdict:
    """Hold fp16's seconds and scores against fp32's; without fp32 only NaN can be seen."""
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


def remembered(folder: Path, key: tuple[str, ...], probe: Callable[[], Verdict]) -> Verdict:
    """The verdict for device, driver, ONNX Runtime and model, from `folder` or else from the probe itself."""
    file = folder / "probes" / f"{hashlib.sha256(chr(10).join(key).encode()).hexdigest()[:24]}.json"
    with suppress(OSError, ValueError, TypeError):
        return Verdict(**json.loads(file.read_text(encoding="utf-8")))
    verdict = probe()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{uuid.uuid4().hex}")
        part.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
        part.replace(file)
    return verdict
