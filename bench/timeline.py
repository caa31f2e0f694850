"""Records what the threads of each stage do over time: they work, wait for input, or wait for room in the output."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from bench.fakes import PacedSession
from bench.throughput import LATENCY_S, PACE_S, PACED_BATCH, Setup, run
from engine.config import RunConfig
from engine.families import family_of
from engine.flow.channels import Meter
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
    began = time.perf_counter()
    with _events() as events:
        seconds, meters = run(setup, RunConfig())
    width = seconds / BINS
    stages: dict[str, Any] = {
        name: {"threads": meter.threads} | {kind: [0.0] * BINS for kind in KINDS} for name, meter in meters.items()
    }
    first = began + (max(time.perf_counter() - began - seconds, 0.0))
    for end, name, kind, amount in events:
        for index, part in _bins(end - amount - first, end - first, width):
            stages[name][kind][index] += part / (width * meters[name].threads)
    return {"bin_s": round(width, 4), "stages": {name: _rounded(stage) for name, stage in stages.items()}}


@contextmanager
def _events() -> Iterator[list[Event]]:
    """The time spans that are reported to any meter while the block runs."""
    events: list[Event] = []
    add = Meter.add

    def record(meter: Meter, **given: Any) -> None:  # noqa: ANN401 - as Meter.add
        now = time.perf_counter()
        events.extend((now, meter.name, kind, given[kind]) for kind in KINDS if given.get(kind))
        add(meter, **given)

    with mock.patch.object(Meter, "add", record):
        yield events


def _bins(start: float, end: float, width: float) -> Iterator[tuple[int, float]]:
    """The bins that a span falls into, with the seconds of it in each."""
    for index in range(max(0, int(start / width)), min(BINS - 1, int(end / width)) + 1):
        part = min(end, (index + 1) * width) - max(start, index * width)
        if part > 0:
            yield index, part


def _rounded(stage: dict[str, Any]) -> dict[str, Any]:
    return {key: [round(v, 3) for v in value] if isinstance(value, list) else value for key, value in stage.items()}
