"""Runs a command and measures its time and memory from outside, so that all contestants are measured alike."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.new_process import last_line
from engine.errors import EngineError
from engine.model.devices.nvml import Gpu, open_gpu

SAMPLE_S = 0.1
LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Watched:
    """What was measured of a command that succeeded.

    Attributes:
        started: Unix time.
        seconds: from start to end.
        peak_rss_mb: in MB (10^6 bytes); it is read ten times a second.
        peak_vram_mb: of the whole device, above what was in use before; None without a GPU.
        rss: (seconds, MB) over time.
        stdout: what it printed.
    """

    started: float
    seconds: float
    peak_rss_mb: float
    peak_vram_mb: float | None
    rss: list[tuple[float, float]]
    stdout: str


def watch(command: Sequence[str], env: Mapping[str, str], log: Path) -> Watched:
    """Run to the end; `log` takes its stderr. Raises `EngineError` with its last line if it fails."""
    gpu = open_gpu()
    before = gpu.memory().used if gpu else 0
    out = log.with_suffix(".out")
    with out.open("wb") as stdout, log.open("wb") as stderr:
        began, started = time.perf_counter(), time.time()
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=dict(env))  # noqa: S603 - our own words
        try:
            rss, vram = _sample(process, gpu, began)
        finally:
            process.kill()
            process.wait()
        seconds = time.perf_counter() - began
    if process.returncode:
        text = log.read_text(encoding="utf-8", errors="replace")
        raise EngineError(f"{Path(command[0]).name} {' '.join(command[1:4])} … failed: {last_line(text)}")
    return Watched(
        started=started,
        seconds=seconds,
        peak_rss_mb=max((mb for _, mb in rss), default=0.0),
        peak_vram_mb=round((vram - before) / 1e6, 1) if gpu else None,
        rss=rss,
        stdout=out.read_text(encoding="utf-8", errors="replace"),
    )


def _sample(process: subprocess.Popen[bytes], gpu: Gpu | None, began: float) -> tuple[list[tuple[float, float]], int]:
    """Memory over time until the process ends, and the device's peak in bytes."""
    seen, rss, vram = psutil.Process(process.pid), [], 0
    while True:
        now = time.perf_counter() - began
        with suppress(psutil.Error):  # it may just have ended
            rss.append((round(now, 2), round(_tree_mb(seen), 1)))
        vram = max(vram, gpu.memory().used) if gpu else 0
        try:
            process.wait(SAMPLE_S)
            return rss, vram
        except subprocess.TimeoutExpired:
            if now > LIMIT_S:
                raise EngineError(f"a contestant ran for more than {LIMIT_S:.0f} s") from None


def _tree_mb(process: psutil.Process) -> float:
    """The process's memory; on Windows with its children: a virtual environment's python.exe starts the real one."""
    children = process.children(recursive=True) if os.name == "nt" else []
    return sum(float(p.memory_info().rss) for p in (process, *children)) / 1e6
