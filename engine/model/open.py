"""The model on a device: ONNX Runtime, and never another device than the one that was asked for."""

import ctypes
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.config import RunConfig
from engine.errors import EngineError, ModelError, SessionError
from engine.machine import cores
from engine.model import cache as modelcache
from engine.model.devices import fp16_check as probe
from engine.model.devices.cuda import Load, find_driver, require
from engine.model.devices.nvml import MB, Gpu, Memory, VramMeter, open_gpu
from engine.model.devices.vram import Plan, plan
from engine.model.distribution import Ort, Unavailable, first_line, import_runtime, is_out_of_memory
from engine.model.folder import Model, Precision, check_file
from engine.model.runners import BoundRunner, CpuRunner, Runner, cpu_options, cuda_options, cuda_session
from engine.model.session import Opening, OrtSession
from engine.types import Scores

log = logging.getLogger(__name__)

CPU_BATCH = 4
"""Default batch on the CPU: larger ones gain nothing there (measured: 1 to 8 alike) and cost 44 MB a picture."""
PROBE_BATCH = 4


class Session(Protocol):
    """What the pipeline needs of a model. `run` may be called by several threads."""

    batch_size: int
    device: str
    precision: str

    def run(self, pixels: npt.NDArray[np.uint8]) -> Scores:
        """Scores float32 [n, tags] of a batch uint8 [n, height, width, 3]."""
        ...

    def terminate(self) -> None:
        """End a running `run` as soon as possible; it then raises."""
        ...


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How a session is to be made; the meaning of each field is RunConfig's. `cache`: where optimised models lie."""

    device: str = "auto"
    batch_size: int | None = None
    intra_op_threads: int | None = None
    vram_limit: int | None = None
    workspace: bool | None = None
    submitters: int = 1
    cache: Path = field(default_factory=modelcache.cache_folder)


def open_session(model: Model, precision: Precision, config: SessionConfig, load: Load = ctypes.CDLL) -> OrtSession:
    """The model on the device that was asked for. Raises `SessionError` or `ModelError` with the cure.

    `auto` takes CUDA where it works and else the CPU; `why` of the session says which and for what reason.
    """
    ort = import_runtime()
    _judge(precision)
    if config.device == "cpu":
        return _on_cpu(ort, model, precision, config, "cpu, as asked")
    try:
        return _on_cuda(ort, model, precision, config, load)
    except Unavailable as error:
        if config.device == "cuda":
            raise
        why = f"cpu: {error.reason}" if error.absent else f"cpu, although there is an NVIDIA GPU: {error}"
        return _on_cpu(ort, model, precision, config, why)


def session_config(settings: RunConfig) -> SessionConfig:
    """The part of a run's settings that is the session's."""
    return SessionConfig(
        device=settings.device,
        batch_size=settings.batch_size,
        intra_op_threads=settings.intra_op_threads,
        vram_limit=settings.vram_limit,
        workspace=settings.workspace,
        submitters=settings.submitters,
    )


def _judge(precision: Precision) -> None:
    """fp32 is what conversion copies; another precision is taken only by name, and unless verified that is said."""
    if precision.name != "fp32" and precision.verdict != "pass":
        found = "failed its comparison" if precision.verdict == "fail" else "was never compared"
        log.warning("this model's %s %s with the original's scores: its tags may differ", precision.name, found)


def _on_cpu(ort: Ort, model: Model, precision: Precision, config: SessionConfig, why: str) -> OrtSession:
    run_options = ort.RunOptions()
    spare = model.precisions.get("fp32") if precision.name != "fp32" else None
    opening = Opening(
        runner=lambda size: _cpu_runner(ort, model, precision, config, run_options),
        run_options=run_options,
        batch_size=config.batch_size or CPU_BATCH,
        device="cpu",
        precision=precision.name,
        why=why,
        spare=partial(_cpu_runner, ort, model, spare, config, run_options) if spare else None,
    )
    return OrtSession(opening, (model.preprocessing.height, model.preprocessing.width))


def _cpu_runner(
    ort: Ort,
    model: Model,
    precision: Precision,
    config: SessionConfig,
    run_options: Ort,
) -> Runner:
    threads = config.intra_op_threads or cores()
    with _loading(precision.file):
        session = modelcache.load(ort, precision, lambda: cpu_options(ort, threads), config.cache)
    _check_shape(session, model, precision.file)
    return CpuRunner(session, run_options)


def _on_cuda(ort: Ort, model: Model, precision: Precision, config: SessionConfig, load: Load) -> OrtSession:
    driver = find_driver(load)
    gpu = open_gpu(driver.pci_bus)
    vram = VramMeter(gpu) if gpu else None
    free = gpu.memory() if gpu else None  # both before CUDA's context takes its part: the plan counts that too
    require(ort, driver, load)
    check_file(precision)
    if precision.name == "fp16":
        _probe(ort, model, precision, config, gpu, free)
    chosen = _plan(model, precision, config, free)
    run_options = ort.RunOptions()
    spare = model.precisions.get("fp32")
    name, memory = (gpu.name, f", {free.free / MB:,.0f} MB free") if gpu and free else ("an NVIDIA GPU", "")
    opening = Opening(
        runner=partial(_cuda_runner, ort, model, precision, chosen, gpu, run_options),
        run_options=run_options,
        batch_size=chosen.batch_size,
        device="cuda",
        precision=precision.name,
        why=f"cuda: {name}{memory}",
        spare=partial(_cpu_runner, ort, model, spare, config, run_options) if spare else None,
        vram=vram,
    )
    return OrtSession(opening, (model.preprocessing.height, model.preprocessing.width))


def _plan(model: Model, precision: Precision, config: SessionConfig, free: Memory | None) -> Plan:
    return plan(
        free,
        weights=precision.file.stat().st_size,
        shape=model.preprocessing,
        element=2 if precision.name == "fp16" else 4,
        limit=config.vram_limit,
        batch_size=config.batch_size,
        workspace=config.workspace,
        submitters=config.submitters,
    )


def _cuda_runner(
    ort: Ort,
    model: Model,
    precision: Precision,
    chosen: Plan,
    gpu: Gpu | None,
    run_options: Ort,
    size: int,
) -> Runner:
    with _loading(precision.file):
        session = cuda_session(ort, precision.file, cuda_options(chosen, precision.name, gpu))
    _check_shape(session, model, precision.file)
    return BoundRunner(ort, session, run_options, size, model, "cuda")


def _probe(
    ort: Ort, model: Model, fp16: Precision, config: SessionConfig, gpu: Gpu | None, free: Memory | None
) -> None:
    """Raise `SessionError` unless fp16 is right and faster on this very GPU."""

    def judge() -> probe.Verdict:
        fp32 = model.precisions.get("fp32")
        return probe.compare(measure(fp32) if fp32 else None, measure(fp16))

    def measure(precision: Precision) -> tuple[float, Scores]:
        chosen = replace(_plan(model, precision, config, free), batch_size=PROBE_BATCH)
        runner = _cuda_runner(ort, model, precision, chosen, gpu, ort.RunOptions(), PROBE_BATCH)
        return probe.time_runs(runner, probe.sample(PROBE_BATCH, shape.height, shape.width))

    shape = model.preprocessing
    key = (gpu.name if gpu else "", gpu.driver if gpu else "", ort.__version__, fp16.sha256)
    with _loading(fp16.file):
        verdict = probe.remembered(config.cache, key, judge)
    if not verdict.good:
        raise SessionError(f"{verdict.reason}: use --precision fp32")
    log.info(verdict.reason)


@contextmanager
def _loading(file: Path) -> Iterator[None]:
    """Turn what ONNX Runtime raises while it loads or tries a model into a sentence."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        if is_out_of_memory(error):
            raise Unavailable(
                f"the model {file} does not fit into memory ({first_line(error)})",
                "close what else uses it, or use --device cpu",
            ) from error
        raise ModelError(f"ONNX Runtime cannot use {file}: {first_line(error)}") from error


def _check_shape(session: Ort, model: Model, file: Path) -> None:
    expected = [model.preprocessing.height, model.preprocessing.width, 3]
    found = session.get_inputs()[0].shape[1:]
    width = session.get_outputs()[0].shape[-1]
    if found != expected or width != len(model.tags):
        raise ModelError(
            f"{file} takes {found} and gives {width} scores, its model.json says {expected} and {len(model.tags)}: "
            "convert the model again"
        )
