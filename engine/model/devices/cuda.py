"""CUDA: an NVIDIA GPU, by ONNX Runtime's CUDA provider.

None of it was measured on a GPU. The tests use a stand-in for the GPU; buffers and model are real, on the CPU.
"""

import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from engine.errors import SessionError
from engine.model.devices import precision_check
from engine.model.devices.cuda_check import PROVIDER, Load, check_cuda, cure, find_driver
from engine.model.devices.device import FILES, SessionRequest, Unavailable, check_signature, loading
from engine.model.devices.nvml import MB, Gpu, Memory, VramMeter, open_gpu
from engine.model.devices.vram import VramPlan, plan_vram
from engine.model.folder import Precision, check_file
from engine.model.onnx_runtime import FATAL, Ort
from engine.model.runners import IoBindingRunner, Pixels, Runner
from engine.model.sample import sample_pixels
from engine.model.session import Placement
from engine.types import Scores

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cuda:
    """The entry of CUDA in the table of devices.

    Attributes:
        load: loads a shared library; a test gives another.
        time_runs: times a runner for the check of fp16; a test gives another.
    """

    name: ClassVar[str] = "cuda"
    hardware: ClassVar[str] = "an NVIDIA GPU"
    precisions: ClassVar[frozenset[str]] = FILES
    auto: ClassVar[frozenset[str]] = FILES

    load: Load = ctypes.CDLL
    time_runs: Callable[[Runner, Pixels], tuple[float, Scores]] = precision_check.time_runs

    def check(self, ort: Ort) -> str:
        """Raises `Unavailable`."""
        driver = find_driver(self.load)
        check_cuda(ort, driver, self.load)
        gpu = open_gpu(driver.pci_bus)
        return gpu.name if gpu else self.hardware

    def place(self, request: SessionRequest) -> Placement:
        """Raises `SessionError` too where fp16 is wrong on this GPU, or no faster than fp32."""
        driver = find_driver(self.load)
        gpu = open_gpu(driver.pci_bus)
        # The use and the free memory are read before CUDA's context takes its part, because plan_vram counts it.
        meter = VramMeter(gpu) if gpu else None
        free = gpu.memory() if gpu else None
        check_cuda(request.ort, driver, self.load)
        check_file(request.precision)
        if request.precision.name == "fp16":
            self._check_fp16(request, gpu, free)
        plan = _plan(request, request.precision, free)
        found, memory = (gpu.name, f", {free.free / MB:,.0f} MB free") if gpu and free else (self.hardware, "")
        return Placement(
            runner=partial(_runner, request, request.precision, plan, gpu),
            batch_size=plan.batch_size,
            details=f"{found}{memory}",
            memory_meter=meter,
        )

    def _check_fp16(self, request: SessionRequest, gpu: Gpu | None, free: Memory | None) -> None:
        """Raise `SessionError` unless fp16 is right and faster on this very GPU."""
        fp16, shape = request.precision, request.model.preprocessing

        def check() -> precision_check.Verdict:
            fp32 = request.model.precisions.get("fp32")
            return precision_check.compare(measure(fp32) if fp32 else None, measure(fp16))

        def measure(precision: Precision) -> tuple[float, Scores]:
            plan = replace(_plan(request, precision, free), batch_size=precision_check.BATCH)
            config = replace(request.config, features=False)
            own = replace(request, run_options=request.ort.RunOptions(), config=config)
            runner = _runner(own, precision, plan, gpu, plan.batch_size)
            return self.time_runs(runner, sample_pixels(plan.batch_size, shape.height, shape.width, runner.dtype))

        key = (gpu.name if gpu else "", gpu.driver if gpu else "", request.ort.__version__, fp16.sha256)
        with loading(fp16.file):
            verdict = precision_check.remembered(request.config.cache, key, check)
        if not verdict.good:
            raise SessionError(f"{verdict.reason}: use --precision fp32")
        log.info(verdict.reason)


def _plan(request: SessionRequest, precision: Precision, free: Memory | None) -> VramPlan:
    return plan_vram(
        free,
        weights=precision.file.stat().st_size,
        shape=request.model.preprocessing,
        element=2 if precision.name == "fp16" else 4,
        config=request.config,
    )


def _runner(request: SessionRequest, precision: Precision, plan: VramPlan, gpu: Gpu | None, size: int) -> Runner:
    with loading(precision.file):
        session = _session(request.ort, precision.file, cuda_options(plan, precision.name, gpu))
    check_signature(session, request.model, precision.file)
    return IoBindingRunner(
        request.ort, session, request.run_options, size, request.model, "cuda", features=request.features
    )


def _session(ort: Ort, file: Path, provider_options: dict[str, str]) -> Ort:
    """A session that really is on CUDA. Raises `Unavailable` where ONNX Runtime took the CPU instead."""
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.enable_mem_pattern = False
    session = ort.InferenceSession(str(file), options, providers=[(PROVIDER, provider_options)], enable_fallback=0)
    session.disable_fallback()
    used = session.get_providers()[0]
    if used != PROVIDER:
        raise Unavailable(f"ONNX Runtime took {used} instead of CUDA, see its log above", cure(ort))
    return session


def cuda_options(plan: VramPlan, precision: str, gpu: Gpu | None) -> dict[str, str]:
    """The options of the CUDA provider; ONNX Runtime takes them as text."""
    tensor_cores = gpu is not None and gpu.has_tensor_cores
    return {
        "device_id": "0",
        "gpu_mem_limit": str(plan.arena),
        "arena_extend_strategy": "kSameAsRequested",  # the default takes the next power of two
        "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE takes memory and time; DEFAULT is a slow fallback
        "cudnn_conv_use_max_workspace": str(int(plan.workspace)),
        "do_copy_in_default_stream": "1",  # with 0, a copy and a computation may race
        "prefer_nhwc": str(int(tensor_cores and precision == "fp16")),
        "use_tf32": "0",  # so that fp32 gives the same scores on every card
    }


DEVICE = Cuda()
