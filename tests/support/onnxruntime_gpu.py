"""Stand-ins for an NVIDIA GPU: its driver, NVML and onnxruntime-gpu. The models run on the real ONNX Runtime's CPU."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime

from engine.model.devices.cuda_check import DRIVER, PROVIDER
from engine.model.devices.nvml import MB, Memory

GTX_1650 = Memory(4096 * MB, 2096 * MB, 2000 * MB)
H100 = Memory(85_000 * MB, 500 * MB, 84_500 * MB)


class FakeDriver:
    """The three calls of the CUDA driver API that the engine makes."""

    def __init__(self, version: int = 13000, error: int = 0) -> None:
        self.version, self.error = version, error

    def cuInit(self, flags: int) -> int:
        return self.error

    def cuDriverGetVersion(self, into: Any) -> int:
        into._obj.value = self.version
        return 0

    def cuDeviceGetPCIBusId(self, into: Any, size: int, device: int) -> int:
        into.value = b"0000:01:00.0"
        return 0


def loader(driver: FakeDriver | None = None, missing: str = "") -> Callable[[str], Any]:
    """`ctypes.CDLL` on a machine with that driver; `missing`: what Linux says the provider's library lacks."""

    def load(name: str) -> Any:
        if name == DRIVER:
            if driver is None:
                raise OSError("no such file")
            return driver
        if "providers_cuda" in name and missing:
            raise OSError(missing)
        return object()

    return load


class FakeSession:
    """ONNX Runtime's session on "CUDA": the real one on the CPU underneath."""

    def __init__(self, ort: "FakeRuntime", file: Any, settings: Any, providers: Any, enable_fallback: int) -> None:
        self._real = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self._ort = ort
        self._asked = providers
        self.wants_fallback = bool(enable_fallback)
        self.size = 0
        if isinstance(file, bytes):  # the session of one node that tells whether CUDA works
            self._asked = providers if ort.libraries_work else ["CPUExecutionProvider"]
            return
        ort.sessions.append(self)
        if ort.load_error and providers != ["CPUExecutionProvider"]:
            raise RuntimeError(ort.load_error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @property
    def options(self) -> dict[str, str]:
        return dict(self._asked[0][1])

    def get_providers(self) -> list[str]:
        on_cuda = self._asked != ["CPUExecutionProvider"] and self._ort.cuda_works
        if self in self._ort.sessions:
            on_cuda = on_cuda and self._ort.model_on_cuda
        return [PROVIDER, "CPUExecutionProvider"] if on_cuda else ["CPUExecutionProvider"]

    def disable_fallback(self) -> None:
        self.wants_fallback = False

    def run(self, *arguments: Any) -> Any:
        if self._ort.first_run_error:
            raise RuntimeError(self._ort.first_run_error)
        return self._real.run(*arguments)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        if self._ort.fits and self._ort.last_shape[0] > self._ort.fits:
            raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")
        self._real.run_with_iobinding(binding, options)


class FakeRuntime:
    """An onnxruntime-gpu; what it cannot do is passed on to the real onnxruntime."""

    package_name = "onnxruntime-gpu"
    __file__ = str(Path("site-packages") / "onnxruntime" / "__init__.py")

    def __init__(self, cuda_version: str = "13.0", cuda_works: bool = True, fits: int = 0, said: str = "") -> None:
        self.cuda_version, self.cuda_works, self.fits, self.said = cuda_version, cuda_works, fits, said
        self.load_error = ""
        self.libraries_work = self.model_on_cuda = True
        self.first_run_error = ""
        self.sessions: list[FakeSession] = []
        self.preloaded = 0
        self.last_shape: tuple[int, ...] = ()
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._buffer)

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return [PROVIDER, "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        assert not self.sessions, "the libraries must be there before the first session"
        self.preloaded += 1
        print(self.said)

    def InferenceSession(self, file: Any, settings: Any, providers: Any, enable_fallback: int = 1) -> FakeSession:
        return FakeSession(self, file, settings, providers, enable_fallback)

    def _buffer(self, shape: tuple[int, ...], element: Any, device: str, number: int) -> Any:
        assert device == "cuda"
        self.last_shape = shape
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, element, "cpu", number)


class FakeNvml:
    """NVML with one device. `used` is what the device says, `processes` whom it knows."""

    def __init__(self, memory: Memory = GTX_1650, name: str = "NVIDIA GeForce GTX 1650") -> None:
        self.memory, self.name = memory, name
        self.processes: list[Any] = []
        self.bus = b""

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByPciBusId(self, bus: bytes) -> int:
        self.bus = bus
        return 0

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.name

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return 7, 5

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Memory:
        return self.memory

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        return self.processes
