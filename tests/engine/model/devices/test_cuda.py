"""Sessions on CUDA, on a stand-in for the GPU: the rest is real."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.errors import ModelError, SessionError
from engine.model.devices.cuda import cuda_options
from engine.model.devices.nvml import MB, Gpu
from engine.model.devices.vram import VramPlan
from engine.model.folder import Model
from tests.support.onnxruntime_gpu import FakeNvml, FakeRuntime

PIXELS = np.random.default_rng(0).integers(0, 65281, (3, 64, 64, 3), np.uint16)


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
    assert taken.run(np.zeros((4, 64, 64, 3), np.uint16)).shape == (4, 50)
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


def test_cudnn_is_missed_at_the_first_convolution(start: Callable[..., Any]) -> None:
    ort = FakeRuntime()
    ort.first_run_error = "Failed to load libcudnn.so.9\nand more"
    with pytest.raises(
        SessionError, match=r"^Failed to load libcudnn\.so\.9: `pip install deepdanbooru-engine\[cuda\]`"
    ):
        start(ort)


def test_options_by_device() -> None:
    nvml = FakeNvml()
    small, large = VramPlan(4, 10, False), VramPlan(64, 10, True)
    turing = cuda_options(small, "fp16", Gpu(nvml, None))
    assert (turing["prefer_nhwc"], turing["cudnn_conv_use_max_workspace"]) == ("0", "0")  # a 7.5 without tensor cores
    nvml.name = "NVIDIA GeForce RTX 2060"
    assert cuda_options(large, "fp16", Gpu(nvml, None))["prefer_nhwc"] == "1"
    fp32 = cuda_options(large, "fp32", Gpu(nvml, None))
    assert (fp32["prefer_nhwc"], fp32["use_tf32"], fp32["cudnn_conv_use_max_workspace"]) == ("0", "0", "1")


# fp16


def test_fp16_after_the_check(start: Callable[..., Any]) -> None:
    seconds = iter([2.0, 1.0])
    scores = np.full((4, 50), 0.5, np.float32)

    def timed(runner: Any, pixels: Any) -> Any:
        return next(seconds), scores

    assert start(FakeRuntime(), precision="fp16", timed=timed).precision == "fp16"
    start(FakeRuntime(), precision="fp16", timed=timed)  # remembered: there is no third time in `seconds`


def test_fp16_that_fails_is_refused_once_and_again(start: Callable[..., Any]) -> None:
    results = iter([(2.0, np.zeros((4, 50), np.float32)), (1.0, np.full((4, 50), np.nan, np.float32))])
    for _ in range(2):
        with pytest.raises(SessionError, match=r"no numbers on this GPU: use --precision fp32"):
            start(FakeRuntime(), precision="fp16", timed=lambda runner, pixels: next(results))


def test_the_check_runs_the_model_in_both_precisions(start: Callable[..., Any], nvml: FakeNvml, tmp_path: Path) -> None:
    """Here both are the same file: the scores agree, and fp16 is no faster."""
    ort = FakeRuntime()
    with pytest.raises(SessionError, match=r"fp16 is only \d\.\d\d times as fast .*: use --precision fp32"):
        for attempt in range(30):  # the clock may favour one of two equals once
            nvml.name = f"GPU {attempt}"
            start(ort, precision="fp16")
            ort.sessions.clear()
    assert len(ort.sessions) == 2
