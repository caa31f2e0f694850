"""One ONNX Runtime session at work: pixels in, scores out. On the CPU as it is; on CUDA through fixed buffers.

The CUDA side is not measured on a GPU; its binding is tested with real buffers on the CPU.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.model.devices.cuda import PROVIDER, cure
from engine.model.devices.nvml import Gpu
from engine.model.devices.vram import Plan
from engine.model.distribution import FATAL, Ort, Unavailable
from engine.model.folder import Model
from engine.types import Scores

Pixels = npt.NDArray[np.uint8]


class Runner(Protocol):
    """Scores float32 [n, tags] of pixels uint8 [n, height, width, 3]. May be called by several threads."""

    session: Ort

    def __call__(self, pixels: Pixels) -> Scores: ...


class CpuRunner:
    """ONNX Runtime reads the batch where it lies."""

    def __init__(self, session: Ort, run_options: Ort) -> None:
        self.session = session
        self._run_options = run_options
        self._input = session.get_inputs()[0].name

    def __call__(self, pixels: Pixels) -> Scores:
        [scores] = self.session.run(None, {self._input: pixels}, self._run_options)
        return np.asarray(scores, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Bound:
    """The buffers of one thread: pixels on the device, scores on the host."""

    binding: Any
    pixels: Any
    scores: Scores


class BoundRunner:
    """A fixed batch size and reused buffers, a pair for each thread: new shapes make cuDNN search again."""

    def __init__(self, ort: Ort, session: Ort, run_options: Ort, size: int, model: Model, device: str) -> None:
        """`device`: ONNX Runtime's word for where the pixels go, `cuda` (or `cpu` in a test)."""
        self.session = session
        self._ort, self._run_options, self._device = ort, run_options, device
        self._shape = (size, model.preprocessing.height, model.preprocessing.width, 3)
        self._tags = len(model.tags)
        self._own = threading.local()

    def __call__(self, pixels: Pixels) -> Scores:
        """At most `size` pictures; fewer are padded with black ones."""
        bound: _Bound | None = getattr(self._own, "bound", None)
        if bound is None:
            bound = self._own.bound = self._bind()
        count = len(pixels)
        if count < self._shape[0]:
            padded = np.zeros(self._shape, np.uint8)
            padded[:count] = pixels
            pixels = padded
        bound.pixels.update_inplace(pixels)
        self.session.run_with_iobinding(bound.binding, self._run_options)
        return bound.scores[:count].copy()

    def _bind(self) -> _Bound:
        pixels = self._ort.OrtValue.ortvalue_from_shape_and_type(self._shape, np.uint8, self._device, 0)
        scores = np.zeros((self._shape[0], self._tags), np.float32)
        binding = self.session.io_binding()
        binding.bind_ortvalue_input(self.session.get_inputs()[0].name, pixels)
        output = self.session.get_outputs()[0].name
        binding.bind_output(output, "cpu", 0, np.float32, scores.shape, scores.ctypes.data)
        return _Bound(binding, pixels, scores)


def cpu_options(ort: Ort, threads: int) -> Ort:
    """SessionOptions for the CPU. docs/decisions/sessions.md says what each was measured to do."""
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding wants the cores meanwhile
    options.enable_mem_pattern = False  # its block comes on top of the arena's: twice the activations
    return options


def cuda_options(plan: Plan, precision: str, gpu: Gpu | None) -> dict[str, str]:
    """The provider's options; ONNX Runtime takes them as text."""
    tensor_cores = gpu is not None and gpu.has_tensor_cores
    return {
        "device_id": "0",
        "gpu_mem_limit": str(plan.arena),
        "arena_extend_strategy": "kSameAsRequested",  # the default doubles
        "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE takes memory and time; DEFAULT is a slow fallback
        "cudnn_conv_use_max_workspace": str(int(plan.workspace)),
        "do_copy_in_default_stream": "1",  # 0 may race
        "prefer_nhwc": str(int(tensor_cores and precision == "fp16")),
        "use_tf32": "0",  # scores stay those of fp32 on every card
    }


def cuda_session(ort: Ort, file: Path, options: dict[str, str]) -> Ort:
    """A session that really is on CUDA. Raises `Unavailable` where ONNX Runtime took the CPU instead."""
    settings = ort.SessionOptions()
    settings.log_severity_level = FATAL
    settings.enable_mem_pattern = False
    session = ort.InferenceSession(str(file), settings, providers=[(PROVIDER, options)], enable_fallback=0)
    session.disable_fallback()
    used = session.get_providers()[0]
    if used != PROVIDER:
        raise Unavailable(f"ONNX Runtime took {used} instead of CUDA, see its log above", cure(ort))
    return session
