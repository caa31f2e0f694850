"""OpenVINO: Intel's runtime, here on the CPU; `openvino_gpu` and `openvino_npu` are the same on other hardware.

The package `openvino` is used as it is, beside ONNX Runtime, and not as a provider in a second build of that
(docs/decisions/openvino.md). The CPU was measured; GPU and NPU were not.
"""

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from engine.errors import SessionError, first_line
from engine.machine import cores
from engine.model.devices import precision_check
from engine.model.devices.device import SessionRequest, Unavailable, check_shapes, loading
from engine.model.folder import BF16, check_file
from engine.model.onnx_runtime import Ort
from engine.model.runners import FEATURES, Pixels, Runner
from engine.model.sample import sample_pixels
from engine.model.session import Placement
from engine.types import Scores

log = logging.getLogger(__name__)

DEFAULT_BATCH = 4
"""Pictures a batch, as on the CPU by ONNX Runtime."""
PATIENCE_MS = 100
"""How often a running batch looks whether it is to be ended."""
INSTALL = "`pip install deepdanbooru-engine[openvino]`"
CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8"}
"""OpenVINO's names for what a device computes with."""

OpenVinoModule = Any
"""The module openvino, or an object of one of its classes."""


def import_openvino() -> OpenVinoModule:
    """The module openvino. Raises `Unavailable`.

    On its import it looks for its converter, which writes a client's number into the user's home and reports to its
    maker. Nothing here needs the converter, so for that moment it is not to be found.
    """
    hidden = "openvino.tools.ovc" not in sys.modules
    if hidden:
        sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]  # so says the import system "not there"
    try:
        return import_module("openvino")
    except ImportError as error:
        if error.name == "openvino":
            raise Unavailable("the package openvino is not installed", INSTALL, absent=True) from None
        raise Unavailable(
            f"the package openvino is installed but does not start ({first_line(error)})", f"again {INSTALL}"
        ) from None
    finally:
        if hidden:
            sys.modules.pop("openvino.tools.ovc", None)


@dataclass(frozen=True, slots=True)
class OpenVino:
    """An entry of OpenVINO in the table of devices.

    Attributes:
        name, hardware, precisions, auto: as `Device` has them.
        target: OpenVINO's name of the hardware.
        hints: the arithmetic that is asked for, by precision.
        cure: what a user can do who has such hardware, and OpenVINO does not find it.
        load: gives the module; a test gives another.
        time_runs: times a runner for the check of bf16; a test gives another.
    """

    name: str
    hardware: str
    target: str
    hints: Mapping[str, str]
    cure: str
    auto: frozenset[str] = frozenset()
    load: Callable[[], OpenVinoModule] = import_openvino
    time_runs: Callable[[Runner, Pixels], tuple[float, Scores]] = precision_check.time_runs

    @property
    def precisions(self) -> frozenset[str]:
        return frozenset(self.hints)

    def check(self, ort: Ort) -> str:
        """Raises `Unavailable`."""
        openvino = self.load()
        core = openvino.Core()
        name = self._found(core)
        can = [precision for precision in self.hints if CAPABILITIES[precision] in self._capabilities(core)]
        return f"{name} by OpenVINO {openvino.__version__.partition('-')[0]}, computes {', '.join(can)}"

    def place(self, request: SessionRequest) -> Placement:
        """Raises `SessionError` too where bf16 changes the tags on this device, or is no faster than fp32."""
        openvino = self.load()
        core = openvino.Core()
        details = self._found(core)
        precision = request.precision
        if precision.name in (BF16, "int8") and CAPABILITIES[precision.name] not in self._capabilities(core):
            needs = " (it takes AVX512_BF16 or AMX)" if precision.name == BF16 else ""
            raise Unavailable(f"{details} does not compute {precision.name}{needs}", "use --precision fp32")
        check_file(precision)
        if precision.name == BF16:
            verdict = self._bf16(openvino, core, request, details)
            if not verdict.good:
                raise SessionError(f"{verdict.reason}: use --precision fp32")
            details = f"{details}, {verdict.reason}"
        return Placement(
            runner=partial(self._runner, openvino, core, request),
            batch_size=request.config.batch_size or DEFAULT_BATCH,
            details=details,
        )

    def _found(self, core: OpenVinoModule) -> str:
        """The hardware's own name. Raises `Unavailable` where OpenVINO finds none."""
        there = [device for device in core.available_devices if device.partition(".")[0] == self.target]
        if not there:
            raise Unavailable(f"OpenVINO finds no {self.hardware.partition(' ')[2]}", self.cure, absent=True)
        return str(core.get_property(self.target, "FULL_DEVICE_NAME")).strip()

    def _capabilities(self, core: OpenVinoModule) -> list[str]:
        return list(core.get_property(self.target, "OPTIMIZATION_CAPABILITIES"))

    def _bf16(
        self, openvino: OpenVinoModule, core: OpenVinoModule, request: SessionRequest, name: str
    ) -> precision_check.Verdict:
        """The verdict on bf16 for this model on this device, found once."""
        shape = request.model.preprocessing

        def measure(precision: str) -> tuple[float, Scores]:
            own = replace(
                request,
                precision=replace(request.precision, name=precision),
                config=replace(request.config, features=False),
                run_options=request.ort.RunOptions(),
            )
            runner = self._runner(openvino, core, own, precision_check.BATCH)
            pixels = sample_pixels(precision_check.BATCH, shape.height, shape.width, runner.dtype)
            return self.time_runs(runner, pixels)

        def check() -> precision_check.Verdict:
            log.info("bf16 is held against fp32 on this machine, once")
            return precision_check.compare(
                measure("fp32"), measure(BF16), BF16, f"this {self.target}", precision_check.by_tags
            )

        key = (self.name, name, openvino.__version__, request.precision.sha256, BF16)
        return precision_check.remembered(request.config.cache, key, check)

    def _runner(self, openvino: OpenVinoModule, core: OpenVinoModule, request: SessionRequest, size: int) -> Runner:
        """Load the model for batches of `size`. Raises `Unavailable`, `ModelError`."""
        model, file = request.model, request.precision.file
        shape = model.preprocessing
        with loading(file, "OpenVINO"), _in_words():
            network = core.read_model(file)
            pixels = network.input(0)
            check_shapes(
                str(np.dtype(pixels.get_element_type().to_dtype())),
                [_length(side) for side in list(pixels.get_partial_shape())[1:]],
                _length(network.output(0).get_partial_shape()[1]),
                model,
                file,
            )
            network.reshape({pixels: openvino.PartialShape([size, shape.height, shape.width, 3])})
            compiled = core.compile_model(network, self.target, self.options(request))
            self._check_placed(compiled, request.precision.name)
        return InferRequestRunner(openvino, compiled, request, size)

    def options(self, request: SessionRequest) -> dict[str, Any]:
        """What the model is compiled with."""
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": self.hints[request.precision.name]}
        if self.target == "CPU":
            return options | {
                "NUM_STREAMS": 1,  # one batch at a time: a second one would only take memory
                "INFERENCE_NUM_THREADS": request.config.intra_op_threads or cores(),
                "ENABLE_CPU_PINNING": False,  # decoding needs the cores meanwhile
            }
        # Compiling kernels for a GPU or an NPU takes up to minutes.
        return options | {"CACHE_DIR": str(request.config.cache / "openvino")}

    def _check_placed(self, compiled: OpenVinoModule, precision: str) -> None:
        """Raise `Unavailable` where OpenVINO took another device or another arithmetic."""
        devices = [device.partition(".")[0] for device in compiled.get_property("EXECUTION_DEVICES")]
        arithmetic = _name_of(compiled.get_property("INFERENCE_PRECISION_HINT"))
        if set(devices) != {self.target} or arithmetic != self.hints[precision]:
            raise Unavailable(
                f"OpenVINO took {', '.join(devices)} in {arithmetic} instead of {self.target} in "
                f"{self.hints[precision]}",
                "use another --device or --precision",
            )


@dataclass(frozen=True, slots=True)
class _Buffers:
    """What one thread has: its request, and the pixels that the request reads."""

    request: Any
    pixels: Pixels


class InferRequestRunner:
    """Runs a compiled model of fixed batch size. Each thread that calls has a request of its own."""

    def __init__(self, openvino: OpenVinoModule, compiled: OpenVinoModule, request: SessionRequest, size: int) -> None:
        pixels = compiled.input(0)
        self.dtype: np.dtype[Any] = np.dtype(pixels.get_element_type().to_dtype())
        self._openvino, self._compiled, self._options = openvino, compiled, request.run_options
        shape = request.model.preprocessing
        self._shape = (size, shape.height, shape.width, 3)
        self._outputs = [compiled.output(0), *([compiled.output(FEATURES)] if request.features else [])]
        self._of_thread = threading.local()

    def __call__(self, pixels: Pixels) -> Scores:
        """At most `size` pictures; fewer are padded with black ones, whose scores are left out."""
        buffers: _Buffers | None = getattr(self._of_thread, "buffers", None)
        if buffers is None:
            buffers = self._of_thread.buffers = self._bind()
        count = len(pixels)
        buffers.pixels[:count] = pixels
        buffers.pixels[count:] = 0
        self._infer(buffers.request)
        arrays = [np.array(buffers.request.get_tensor(output).data[:count], np.float32) for output in self._outputs]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)

    def _infer(self, request: Any) -> None:  # noqa: ANN401 - the package's own class
        """Raises `RuntimeError` where `terminate` of the run options ends it."""
        if not self._options.terminate:
            request.start_async()
            while not request.wait_for(PATIENCE_MS):
                if self._options.terminate:
                    request.cancel()
        if self._options.terminate:
            raise RuntimeError("ended by terminate")

    def _bind(self) -> _Buffers:
        request = self._compiled.create_infer_request()
        pixels = np.zeros(self._shape, self.dtype)
        request.set_input_tensor(0, self._openvino.Tensor(pixels, shared_memory=True))
        return _Buffers(request, pixels)


@contextmanager
def _in_words() -> Iterator[None]:
    """Leave out of OpenVINO's errors in which of its source files they came up."""
    try:
        yield
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = [line for line in lines if not re.match(r"Exception from |Check '.*' failed at ", line)]
        raise RuntimeError((said or lines or ["it says nothing"])[0]) from error


def _length(dimension: Any) -> int | str:  # noqa: ANN401 - the package's own class
    return int(dimension.get_length()) if dimension.is_static else str(dimension)


def _name_of(kind: Any) -> str:  # noqa: ANN401 - the package's own class
    """OpenVINO takes `f32` and gives a type that calls itself `f32` only when asked so."""
    return str(kind.get_type_name()) if hasattr(kind, "get_type_name") else str(kind)


DEVICE = OpenVino(
    name="openvino",
    hardware="a CPU by OpenVINO",
    target="CPU",
    hints={"fp32": "f32", "bf16": "bf16", "fp16": "f32", "int8": "f32"},
    cure=f"again {INSTALL}",
    auto=frozenset({BF16}),
)
