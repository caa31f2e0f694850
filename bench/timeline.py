"""Records what the threads of each stage do over time: they work, wait for input, or wait for room in the output."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.fakes import PacedSession
from bench.throughput import LATENCY_S, PACE_S, PACED_BATCH, Setup, pipeline
from engine.config import RunConfig
from engine.families import family_of
from engine.model.folder import open_model
from engine.model.open import open_session
from engine.model.session import SessionConfig

KINDS = ("busy", "waiting_in", "waiting_out")
BINS = 60
Event = tuple[float, str, str, float]  # when it ended (perf_counter), stage, kind, seconds


def paced(folder: str, count: int) -> dict[str, Any]:
    """The time line of the check `paced` of `engine bench pipeline`."""
    return _record(Setup(Path(folder), count, PacedSession(PACED_BATCH, PACE_S), latency_s=LATENCY_S))


def full_size(model: str, precision: str, folder: str, count: int) -> dict[str, Any]:
    """The time line of the check `full_size` of `engine bench pipeline`."""
    opened = open_model(Path(model))
    session = open_session(opened, opened.precision(precision), SessionConfig())
    return _record(Setup(Path(folder), count, session, opened.tags, opened.categories, family_of(opened.preprocessing)))


def _record(setup: Setup) -> dict[str, Any]:
    """Run the pipeline and add up what its stages report.

    Returns:
        `bin_s`: seconds of a bin; `stages`: of each one its `threads` and, by kind, the share (0..1) of each bin.
    """
    events: list[Event] = []

    def note(name: str, *spans: float) -> None:
        now = time.perf_counter()
        events.extend((now, name, kind, span) for kind, span in zip(KINDS, spans, strict=True) if span)

    with pipeline(setup, RunConfig()) as made:
        meters = {meter.name: meter for meter in made.meters if meter.threads}
        for meter in meters.values():
            meter.listener = note
        began = time.perf_counter()
        made.run()
        seconds = time.perf_counter() - began
    width = seconds / BINS
    stages: dict[str, Any] = {
        name: {"threads": meter.threads} | {kind: [0.0] * BINS for kind in KINDS} for name, meter in meters.items()
    }
    for end, name, kind, amount in events:
        for index, part in _bins(end - amount - began, end - began, width):
            stages[name][kind][index] += part / (width * meters[name].threads)
    return {"bin_s": round(width, 4), "stages": {name: _rounded(stage) for name, stage in stages.items()}}


def _bins(start: float, end: float, width: float) -> Iterator[tuple[int, float]]:
    """The bins that a span falls into, with the seconds of it in each."""
    for index in range(max(0, int(start / width)), min(BINS - 1, int(end / width)) + 1):
        part = min(end, (index + 1) * width) - max(start, index * width)
        if part > 0:
            yield index, part


def _rounded(stage: dict[str, Any]) -> dict[str, Any]:
    return {key: [round(v, 3) for v in value] if isinstance(value, list) else value for key, value in stage.items()}
