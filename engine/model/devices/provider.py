"""Devices that ONNX Runtime reaches by a provider of its own: TensorRT, DirectML, CoreML.

ONNX Runtime gives to the CPU what a provider does not take, without a word. So two things are looked at before a model
is used: whether the provider works at all, with one convolution of one number, and then which nodes of the model it did
not take. Casting and transposing the pixels on the CPU is no harm; if one of the products is computed there, the device
is refused. None of this was measured: the tests run it on stand-ins.
"""

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from engine.errors import SessionError, first_line
from engine.model.devices import precision_check
from engine.model.devices.cuda_check import CONV
from engine.model.devices.device import SessionRequest, Unavailable, check_signature, loading
from engine.model.folder import check_file
from engine.model.onnx_runtime import ERROR, FATAL, Ort
from engine.model.runners import IoBindingRunner, Pixels, Runner
from engine.model.sample import sample_pixels
from engine.model.session import Placement, SessionConfig
from engine.types import Scores

log = logging.getLogger(__name__)

DEFAULT_BATCH = 4
"""Pictures a batch: small enough for any GPU that can run the model at all. A lack of memory halves it."""
CPU = "CPUExecutionProvider"
PRODUCTS = frozenset({"Conv", "FusedConv", "QLinearConv", "Gemm", "FusedGemm", "MatMul", "QLinearMatMul"})
"""The nodes that are nearly all of the work."""
RECORD = "session.record_ep_graph_assignment_info"

Options = dict[str, str]


@dataclass(frozen=True, slots=True)
class Provider:
    """An entry of the table of devices that is a provider of ONNX Runtime.

    Attributes:
        name, hardware, precisions, auto: as `Device` has them.
        provider: ONNX Runtime's name of it.
        systems: where it exists, as `sys.platform` has it; empty: anywhere.
        extra: the extra that brings the ONNX Runtime with it.
        options: the provider's own, for a session.
        others: providers that may take what it does not.
        prepare: raises `Unavailable` where something else is missing, and loads what the provider needs.
        batch: pictures a batch, where the user does not say.
        one_at_a_time: it must not be run by two threads.
        system: the one that this is; a test gives another.
        time_runs: times a runner for the check of fp16; a test gives another.
    """

    name: str
    hardware: str
    provider: str
    extra: str
    precisions: frozenset[str]
    options: Callable[[SessionRequest], Options]
    systems: tuple[str, ...] = ()
    auto: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()
    prepare: Callable[[Ort], None] = lambda ort: None
    batch: Callable[[SessionRequest], int] = lambda request: DEFAULT_BATCH
    one_at_a_time: bool = False
    system: str = sys.platform
    time_runs: Callable[[Runner, Pixels], tuple[float, Scores]] = precision_check.time_runs

    def check(self, ort: Ort) -> str:
        """Raises `Unavailable`."""
        if self.systems and self.system not in self.systems:
            names = {"win32": "Windows", "darwin": "macOS"}
            where = " and ".join(names.get(system, system) for system in self.systems)
            raise Unavailable(f"{self.name} exists on {where} only", "use another --device", absent=True)
        if self.provider not in ort.get_available_providers():
            package = getattr(ort, "package_name", "onnxruntime")
            raise Unavailable(
                f"this ONNX Runtime ({package} {ort.__version__}) is built without {self.provider}",
                f"`pip uninstall -y {package}`, then `pip install deepdanbooru-engine[{self.extra}]`",
                absent=True,
            )
        self.prepare(ort)
        self._try(ort)
        return f"{self.hardware} by {self.provider}"

    def place(self, request: SessionRequest) -> Placement:
        """Raises `SessionError` too where fp16 is wrong on this device, or no faster than fp32."""
        details = self.check(request.ort)
        check_file(request.precision)
        if request.precision.name == "fp16":
            self._check_fp16(request)
        return Placement(
            runner=partial(self._runner, request),
            batch_size=request.config.batch_size or self.batch(request),
            details=details,
        )

    def _try(self, ort: Ort) -> None:
        """Run one convolution. Raises `Unavailable` where it does not run, or runs elsewhere."""
        options = ort.SessionOptions()
        options.log_severity_level = FATAL
        ort.set_default_logger_severity(FATAL)
        try:
            session = ort.InferenceSession(CONV, options, providers=[self.provider, *self.others], enable_fallback=0)
            session.disable_fallback()
            used, failure = session.get_providers()[0], ""
            session.run(None, {"x": np.ones((1, 1, 1, 1), np.float32)})
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            used, failure = "", first_line(error)
        finally:
            ort.set_default_logger_severity(ERROR)
        if used != self.provider:
            raise Unavailable(
                failure or f"ONNX Runtime does not take {self.provider}",
                f"update its driver, or install again: `pip install deepdanbooru-engine[{self.extra}]`",
            )

    def _check_fp16(self, request: SessionRequest) -> None:
        fp16, fp32 = request.precision, request.model.precisions.get("fp32")
        shape = request.model.preprocessing

        def measure(one: SessionRequest) -> tuple[float, Scores]:
            config: SessionConfig = replace(request.config, features=False)
            own = replace(one, config=config, run_options=request.ort.RunOptions())
            runner = self._runner(own, precision_check.BATCH)
            pixels = sample_pixels(precision_check.BATCH, shape.height, shape.width, runner.dtype)
            return self.time_runs(runner, pixels)

        def check() -> precision_check.Verdict:
            base = measure(replace(request, precision=fp32)) if fp32 else None
            return precision_check.compare(base, measure(request), on=f"this device by {self.name}")

        key = (self.name, request.ort.__version__, fp16.sha256)
        verdict = precision_check.remembered(request.config.cache, key, check)
        if not verdict.good:
            raise SessionError(f"{verdict.reason}: use --precision fp32")
        log.info(verdict.reason)

    def _runner(self, request: SessionRequest, size: int) -> Runner:
        """Load the model for batches of `size`. Raises `Unavailable`, `ModelError`."""
        ort, file = request.ort, request.precision.file
        options = ort.SessionOptions()
        options.log_severity_level = FATAL
        options.enable_mem_pattern = False  # DirectML demands it, and the batch is one large block anyway
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_free_dimension_override_by_name("N", size)  # these providers compile for shapes that are known
        options.add_session_config_entry(RECORD, "1")
        with loading(file):
            providers = [(self.provider, self.options(request)), *self.others]
            session = ort.InferenceSession(str(file), options, providers=providers, enable_fallback=0)
            session.disable_fallback()
            self._check_placed(session)
        check_signature(session, request.model, file)
        runner = IoBindingRunner(
            ort, session, request.run_options, size, request.model, "cpu", features=request.features
        )
        return _OneAtATime(runner) if self.one_at_a_time else runner

    def _check_placed(self, session: Ort) -> None:
        """Raise `Unavailable` where ONNX Runtime gave products of the model to the CPU."""
        products = [
            part.ep_name
            for part in session.get_provider_graph_assignment_info()
            for node in part.get_nodes()
            if node.op_type in PRODUCTS
        ]
        lost = products.count(CPU)
        used = session.get_providers()[0]
        if lost or used != self.provider:
            raise Unavailable(
                f"ONNX Runtime gives {lost:,} of the model's {len(products):,} products to the CPU instead of "
                f"{self.provider}",
                "use another --device or --precision",
            )


class _OneAtATime:
    """A runner whose calls wait for each other."""

    def __init__(self, runner: Runner) -> None:
        self.dtype: np.dtype[Any] = runner.dtype
        self._runner, self._lock = runner, threading.Lock()

    def __call__(self, pixels: Pixels) -> Scores:
        with self._lock:
            return self._runner(pixels)
