"""CUDA without a GPU: a stand-in for the onnxruntime module and for the driver, everything of ours is real."""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.errors import ModelError, SessionError
from engine.model import open as session
from engine.model.devices import fp16_check as probe
from engine.model.devices import vram
from engine.model.devices.cuda import DRIVER, PROVIDER, Driver, find_driver, require
from engine.model.devices.nvml import MB, Gpu, Memory, VramMeter, open_gpu
from engine.model.distribution import Unavailable
from engine.model.folder import Model, open_model
from engine.model.open import SessionConfig, open_session
from engine.model.runners import cuda_options
from engine.types import Preprocessing

GTX_1650 = Memory(4096 * MB, 2096 * MB, 2000 * MB)
H100 = Memory(85_000 * MB, 500 * MB, 84_500 * MB)
SHAPE = Preprocessing("deepdanbooru", 512, 512)
WEIGHTS = 644 * MB
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


# Stand-ins


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


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return open_model(tiny_model)


@pytest.fixture
def start(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml) -> Callable[..., Any]:
    """Open a session with a stand-in for the runtime and the driver."""

    def opened(ort: FakeRuntime, driver: FakeDriver | None = None, missing: str = "", precision="fp32", **config):
        monkeypatch.setattr(session, "import_runtime", lambda: ort)
        settings = SessionConfig(**{"device": "cuda", "cache": tmp_path, **config})
        chosen = replace(model.precision("fp32"), name=precision)
        folder = replace(model, precisions={"fp32": model.precision("fp32"), precision: chosen})
        return open_session(folder, chosen, settings, loader(driver or FakeDriver(), missing))

    return opened


# Whether CUDA can work


def test_cuda_that_works(capfd: pytest.CaptureFixture[str]) -> None:
    ort = FakeRuntime(said="Failed to load libnvrtc.so.13: no such file")
    load = loader(FakeDriver(13010), "not even tried, for it works")
    driver = find_driver(load)
    assert driver == Driver((13, 1), "0000:01:00.0")
    require(ort, driver, load)
    assert ort.preloaded == 1
    assert capfd.readouterr().out == ""  # stdout is for results


@pytest.mark.parametrize(
    ("ort", "load", "sentence"),
    [
        (FakeRuntime(), loader(None), r"there is no NVIDIA driver .*: install it"),
        (FakeRuntime(), loader(FakeDriver(error=100)), r"finds no usable GPU \(CUDA error 100\): see `nvidia-smi`"),
        (onnxruntime, loader(FakeDriver()), r"is built without CUDA: `pip uninstall -y onnxruntime`, then .*\[cuda\]`"),
        (
            FakeRuntime("13.0"),
            loader(FakeDriver(12040)),
            r"runs CUDA up to 12\.4, this ONNX Runtime needs 13: update the driver to 580 or later, or .*\[cuda12\]`",
        ),
        (
            FakeRuntime("13.0"),
            loader(FakeDriver(), "libcublasLt.so.13: cannot open shared object file: No such file or directory"),
            r"^CUDA's library libcublasLt\.so\.13 is missing: `pip install deepdanbooru-engine\[cuda\]`",
        ),
        (
            FakeRuntime("12.8", said="Failed to load C:\\x\\cublas64_12.dll: x\nFailed to load cudnn64_9.dll: x\n"),
            loader(FakeDriver(12080), "Could not find module (or one of its dependencies)"),
            r"CUDA's library cublas64_12\.dll, cudnn64_9\.dll is missing: `pip install deepdanbooru-engine\[cuda12\]`",
        ),
        (FakeRuntime(), loader(FakeDriver(), "invalid ELF header"), r"CUDA part does not load \(invalid ELF header\)"),
        (FakeRuntime(), loader(FakeDriver()), r"^ONNX Runtime does not take CUDA: `pip install "),
    ],
)
def test_what_is_missing_and_the_cure(ort: Any, load: Any, sentence: str) -> None:
    if isinstance(ort, FakeRuntime):
        ort.libraries_work = False
    with pytest.raises(Unavailable, match=sentence):
        require(ort, find_driver(load), load)


def test_an_explicit_cuda_never_becomes_the_cpu(start: Callable[..., Any]) -> None:
    ort = FakeRuntime()
    ort.libraries_work = False
    with pytest.raises(SessionError, match=r"libcufft\.so\.12 is missing"):
        start(ort, missing="libcufft.so.12: cannot open shared object file: No such file or directory")
    with pytest.raises(SessionError, match="does not take CUDA"):
        start(FakeRuntime(cuda_works=False))
    ort = FakeRuntime()
    ort.model_on_cuda = False  # although the small session was
    with pytest.raises(SessionError, match="took CPUExecutionProvider instead of CUDA"):
        start(ort)


def test_cudnn_is_missed_at_the_first_convolution(start: Callable[..., Any]) -> None:
    ort = FakeRuntime()
    ort.first_run_error = "Failed to load libcudnn.so.9\nand more"
    with pytest.raises(
        SessionError, match=r"^Failed to load libcudnn\.so\.9: `pip install deepdanbooru-engine\[cuda\]`"
    ):
        start(ort)


def test_auto_takes_the_cpu_and_says_why(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    taken = start(FakeRuntime(), FakeDriver(12040), device="auto")
    assert taken.device == "cpu"
    assert taken.why.startswith("cpu, although there is an NVIDIA GPU: the NVIDIA driver runs CUDA up to 12.4")
    monkeypatch.setattr(ctypes, "CDLL", None)
    taken = start(FakeRuntime(cuda_works=False), device="auto")
    assert (taken.device, taken.batch_size) == ("cpu", 4) and "does not take CUDA" in taken.why


def test_auto_without_a_driver_says_it_briefly(model: Model, tmp_path: Path) -> None:
    taken = open_session(model, model.precision(None), SessionConfig(cache=tmp_path), loader(None))
    assert taken.why == f"cpu: there is no NVIDIA driver ({DRIVER} cannot be loaded)"


# The session on CUDA


def test_a_session_on_cuda(start: Callable[..., Any], model: Model, nvml: FakeNvml) -> None:
    ort = FakeRuntime()
    taken = start(ort, batch_size=3)
    assert (taken.device, taken.why) == ("cuda", "cuda: NVIDIA GeForce GTX 1650, 2,000 MB free")
    assert nvml.bus == b"0000:01:00.0"  # CUDA's device 0, wherever NVML counts it
    [made] = ort.sessions
    assert not made.wants_fallback
    assert made.options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert int(made.options["gpu_mem_limit"]) == 1100 * MB
    expected = onnxruntime.InferenceSession(model.precision("fp32").file, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(taken.run(PIXELS), expected.run(None, {"pixels": PIXELS})[0], atol=1e-6)


def test_out_of_memory_on_the_device(start: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    ort = FakeRuntime(fits=4)
    taken = start(ort, batch_size=16)
    assert taken.batch_size == 4 and len(ort.sessions) == 3  # found while warming up
    ort.fits = 2
    assert taken.run(np.zeros((4, 64, 64, 3), np.uint8)).shape == (4, 50)
    assert caplog.messages[-1] == "out of memory with 4 pictures at once: going on with 2"


def test_a_model_that_does_not_fit(start: Callable[..., Any]) -> None:
    ort = FakeRuntime()
    ort.load_error = "Available memory of 100 is smaller than requested bytes of 200"
    with pytest.raises(SessionError, match="does not fit into memory"):
        start(ort)
    ort = FakeRuntime()
    ort.load_error = "bad allocation"
    assert "does not fit" in start(ort, device="auto").why


def test_a_model_that_cuda_cannot_use(start: Callable[..., Any]) -> None:
    ort = FakeRuntime()
    ort.load_error = "no kernel image is available for execution on the device"
    with pytest.raises(ModelError, match="no kernel image"):
        start(ort)


def test_options_by_device() -> None:
    nvml = FakeNvml()
    small, large = vram.Plan(4, 10, False), vram.Plan(64, 10, True)
    turing = cuda_options(small, "fp16", Gpu(nvml, None))
    assert (turing["prefer_nhwc"], turing["cudnn_conv_use_max_workspace"]) == ("0", "0")  # a 7.5 without tensor cores
    nvml.name = "NVIDIA GeForce RTX 2060"
    assert cuda_options(large, "fp16", Gpu(nvml, None))["prefer_nhwc"] == "1"
    fp32 = cuda_options(large, "fp32", Gpu(nvml, None))
    assert (fp32["prefer_nhwc"], fp32["use_tf32"], fp32["cudnn_conv_use_max_workspace"]) == ("0", "0", "1")


# The batch from the free memory


@pytest.mark.parametrize(
    ("memory", "element", "more", "batch"),
    [
        (GTX_1650, 4, {}, 4),
        (GTX_1650, 2, {"weights": WEIGHTS // 2}, 16),
        (None, 4, {}, 4),
        (H100, 4, {}, 64),
        (H100, 4, {"limit": 1500 * MB}, 4),
        (H100, 4, {"limit": 1500 * MB, "submitters": 2}, 2),
        (H100, 4, {"batch_size": 3}, 3),
        (replace(GTX_1650, free=1450 * MB), 4, {}, 1),
    ],
)
def test_the_batch_fits_the_free_memory(memory: Memory | None, element: int, more: dict[str, Any], batch: int) -> None:
    given = {"weights": WEIGHTS, "shape": SHAPE, "limit": None, "batch_size": None, "workspace": None, **more}
    made = vram.plan(memory, element=element, **given)
    assert made.batch_size == batch
    if memory is not H100:
        assert made.arena + vram.CONTEXT <= 1500 * MB
    assert made.workspace == (memory is H100 and "limit" not in more)


def test_no_room_for_one_picture() -> None:
    with pytest.raises(Unavailable, match=r"needs about 1,110 MB of VRAM and may take 800 MB: close what else"):
        vram.plan(replace(GTX_1650, free=1000 * MB), WEIGHTS, SHAPE, 4, None, None, None)


# fp16


def test_fp16_after_the_probe(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([2.0, 1.0])
    scores = np.full((4, 50), 0.5, np.float32)
    monkeypatch.setattr(probe, "time_runs", lambda run, pixels: (next(seconds), scores))
    assert start(FakeRuntime(), precision="fp16").precision == "fp16"
    start(FakeRuntime(), precision="fp16")  # remembered: the clock above has no third time


def test_fp16_that_fails_is_refused_once_and_again(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([(2.0, np.zeros((4, 50), np.float32)), (1.0, np.full((4, 50), np.nan, np.float32))])
    monkeypatch.setattr(probe, "time_runs", lambda run, pixels: next(results))
    for _ in range(2):
        with pytest.raises(SessionError, match=r"no numbers on this GPU: use --precision fp32"):
            start(FakeRuntime(), precision="fp16")


def test_the_probe_runs_the_model_in_both_precisions(start: Callable[..., Any], nvml: FakeNvml, tmp_path: Path) -> None:
    """Here both are the same file: the scores agree, and fp16 is no faster."""
    ort = FakeRuntime()
    with pytest.raises(SessionError, match=r"fp16 is only \d\.\d\d times as fast .*: use --precision fp32"):
        for attempt in range(30):  # the clock may favour one of two equals once
            nvml.name = f"GPU {attempt}"
            start(ort, precision="fp16")
            ort.sessions.clear()
    assert len(ort.sessions) == 2


@pytest.mark.parametrize(
    ("fp32", "fp16", "good", "reason"),
    [
        ((2.0, 0.5), (1.0, 0.505), True, "2.0 times as fast as fp32 on this GPU and agrees within 0.0050"),
        ((2.0, 0.5), (1.9, 0.5), False, "only 1.05 times as fast"),
        ((2.0, 0.5), (1.0, 0.55), False, "differ from fp32's by up to 0.050"),
        ((2.0, 0.5), (1.0, float("nan")), False, "no numbers"),
        ((2.0, float("nan")), (1.0, 0.5), False, "differ"),
        (None, (1.0, 0.5), True, "no fp32 to compare with"),
    ],
)
def test_verdicts(fp32: Any, fp16: Any, good: bool, reason: str) -> None:
    def made(pair: Any) -> Any:
        return pair and (pair[0], np.full((4, 9), pair[1], np.float32))

    verdict = probe.compare(made(fp32), made(fp16))
    assert verdict.good is good and reason in verdict.reason


def test_a_broken_verdict_is_found_again(tmp_path: Path) -> None:
    bad = probe.Verdict(False, "bad")
    assert probe.remembered(tmp_path, ("gpu", "580"), lambda: bad) == bad
    good = probe.Verdict(True, "good")
    assert probe.remembered(tmp_path, ("gpu", "580"), lambda: good) == bad
    assert probe.remembered(tmp_path, ("gpu", "590"), lambda: good) == good  # another driver
    for file in (tmp_path / "probes").iterdir():
        file.write_text("{", encoding="utf-8")
    assert probe.remembered(tmp_path, ("gpu", "580"), lambda: good) == good


def test_the_sample_is_the_same_every_time() -> None:
    first = probe.sample(2, 70, 50)
    assert first.shape == (2, 70, 50, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, probe.sample(2, 70, 50))
    assert first.std() > 50


# The meter


def test_vram_above_the_baseline(nvml: FakeNvml) -> None:
    gpu = open_gpu("0000:01:00.0")
    assert gpu
    meter = VramMeter(gpu)
    for used in (2500, 3000, 2600):
        nvml.memory = Memory(4096 * MB, used * MB, 0)
        meter.sample()
    assert (meter.peak_mb, meter.label) == (904.0, "device above baseline")


def test_vram_of_this_process(nvml: FakeNvml) -> None:
    import os

    gpu = open_gpu()
    assert gpu
    meter = VramMeter(gpu)
    nvml.processes = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=700 * MB), SimpleNamespace(pid=1, usedGpuMemory=1)]
    meter.sample()
    nvml.processes = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=None)]  # WDDM
    meter.sample()
    assert (meter.peak_mb, meter.label) == (700.0, "process")


def test_no_nvml_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_gpu() is None
