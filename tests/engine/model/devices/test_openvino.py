"""OpenVINO: on this CPU with the real package, elsewhere on stand-ins that say what is missing."""

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.errors import ModelError, SessionError
from engine.model.devices import openvino, openvino_gpu, openvino_npu, precision_check
from engine.model.devices.cpu import Cpu
from engine.model.devices.device import Unavailable
from engine.model.devices.openvino import OpenVino, import_openvino
from engine.model.folder import Model, Precision, sha256_of
from engine.model.open import open_session
from engine.model.session import RecoveringSession, SessionConfig
from tests.support.openvino import fake_openvino

PIXELS = np.random.default_rng(0).integers(0, 65281, (5, 64, 64, 3), np.uint16)
SCORES = np.full((4, 50), 0.5, np.float32)
real = pytest.mark.skipif(find_spec("openvino") is None, reason="the package openvino is not installed")


@pytest.fixture
def start(model: Model, tmp_path: Path) -> Callable[..., RecoveringSession]:
    def opened(on: OpenVino = openvino.DEVICE, precision: str = "fp32", **config: Any) -> RecoveringSession:
        settings = SessionConfig(**{"device": on.name, "cache": tmp_path / "cache", **config})
        return open_session(model, model.precision(precision), settings, [on, Cpu()])

    return opened


def expected(fp32: Precision, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"])
    return np.concatenate(session.run(["scores", "features"], {"pixels": pixels}), axis=1)


@real
@pytest.mark.parametrize("features", [False, True])
def test_the_scores_are_onnx_runtime_s(features: bool, start: Callable[..., Any], fp32: Precision) -> None:
    taken = start(features=features)
    assert (taken.device, taken.precision, taken.batch_size) == ("openvino", "fp32", 4)
    found = taken.run(PIXELS)  # a whole batch and a padded one
    assert found.dtype == np.float32 and found.shape == (5, 50 + 256 * features)
    np.testing.assert_allclose(found, expected(fp32, PIXELS)[:, : found.shape[1]], atol=1e-4)
    again = taken.run(np.ascontiguousarray(PIXELS[::-1]))
    np.testing.assert_allclose(found, expected(fp32, PIXELS)[:, : found.shape[1]], atol=1e-4)  # not the buffer itself
    np.testing.assert_allclose(again[::-1], found, atol=1e-5)


@real
def test_each_thread_has_its_own_request(start: Callable[..., Any]) -> None:
    taken = start(batch_size=1)
    wanted, wrong = taken.run(PIXELS), []

    def work(number: int) -> None:
        for _ in range(20):
            if not np.allclose(taken.run(PIXELS[number : number + 1]), wanted[number : number + 1], atol=1e-5):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@real
def test_terminate_ends_what_runs_next(start: Callable[..., Any]) -> None:
    taken = start()
    taken.terminate()
    with pytest.raises(SessionError, match="a batch failed on openvino: ended by terminate"):
        taken.run(PIXELS)


def test_terminate_ends_what_is_running(start: Callable[..., Any]) -> None:
    """The request is a stand-in that runs until it is cancelled."""
    options, cancelled = SimpleNamespace(terminate=False), threading.Event()

    def wait_for(milliseconds: int) -> bool:
        options.terminate = True  # the user's Ctrl-C, meanwhile
        return cancelled.is_set()

    runner = object.__new__(openvino.InferRequestRunner)
    runner._options = options
    with pytest.raises(RuntimeError, match="ended by terminate"):
        runner._infer(SimpleNamespace(start_async=lambda: None, wait_for=wait_for, cancel=cancelled.set))
    assert cancelled.is_set()


@real
def test_a_model_of_another_shape(model: Model, start: Callable[..., Any], tmp_path: Path) -> None:
    other = replace(model, preprocessing=replace(model.preprocessing, height=32))
    with pytest.raises(ModelError, match=r"uint16 \[64, 64, 3\].+ its model\.json says"):
        open_session(other, other.precision(None), SessionConfig(device="openvino", cache=tmp_path))


@real
def test_a_broken_file(model: Model, tmp_path: Path) -> None:
    file = model.precision(None).file
    file.write_bytes(b"no model")
    broken = replace(model.precision(None), sha256=sha256_of(file))
    with pytest.raises(ModelError, match=r"^OpenVINO cannot use .+model\.fp32\.onnx: ") as caught:
        open_session(model, broken, SessionConfig(device="openvino", cache=tmp_path))
    assert "\n" not in str(caught.value)


# bf16


def bf16_device(times: Any, capabilities: tuple[str, ...] = ("FP32", "BF16")) -> OpenVino:
    module, _ = fake_openvino("CPU", capabilities=capabilities, took=("CPU", "f32"))
    return replace(openvino.DEVICE, load=lambda: module, time_runs=lambda runner, pixels: next(times))


def test_a_cpu_without_bf16(start: Callable[..., Any]) -> None:
    with pytest.raises(Unavailable, match=r"Some CPU does not compute bf16 \(it takes AVX512_BF16 or AMX\): use --pre"):
        start(bf16_device(iter(()), ("FP32",)), "bf16")


@real
def test_arithmetic_that_openvino_does_not_take_is_refused(start: Callable[..., Any]) -> None:
    """It is asked for bf16 and takes f32: no fp32 under the name of bf16."""
    with pytest.raises(Unavailable, match="OpenVINO took CPU in f32 instead of CPU in bf16"):
        start(bf16_device(iter([(2.0, SCORES), (1.0, SCORES)])), "bf16")


CAN_BF16 = find_spec("openvino") is not None and "BF16" in import_openvino().Core().get_property(
    "CPU", "OPTIMIZATION_CAPABILITIES"
)


@pytest.mark.skipif(not CAN_BF16, reason="no openvino here, or a CPU without bf16")
def test_bf16_runs_the_fp32_file_after_its_check(start: Callable[..., Any], fp32: Precision) -> None:
    times = iter([(2.0, SCORES), (1.0, SCORES + 0.001)])
    device = replace(openvino.DEVICE, time_runs=lambda runner, pixels: next(times))
    taken = start(device, "bf16")
    assert taken.precision == "bf16" and "bf16 is 2.0 times as fast as fp32 on this CPU: 0 of 200 tags" in taken.why
    apart = np.abs(taken.run(PIXELS) - expected(fp32, PIXELS)[:, :50])
    assert 0 < apart.mean() < 0.02
    start(device, "bf16")  # remembered: there is no third time in `times`
    assert start(device, "bf16", device="auto").device == "openvino"  # nothing else computes it


@real
@pytest.mark.parametrize(
    ("seconds", "scores", "reason"),
    [
        (1.9, SCORES, "bf16 is only 1.05 times as fast as fp32 on this CPU: use --precision fp32"),
        (1.0, SCORES - 0.1, "200 of 200 tags change clearly, scores by 0.1000 in the mean: use --precision fp32"),
        (1.0, SCORES + 0.1, "0 of 200 tags change clearly, scores by 0.1000 in the mean: use --precision fp32"),
        (1.0, SCORES * np.nan, "bf16 gives scores that are no numbers on this CPU: use --precision fp32"),
    ],
)
def test_bf16_that_fails_is_refused_and_nothing_else_taken(
    seconds: float, scores: np.ndarray, reason: str, start: Callable[..., Any]
) -> None:
    module = import_openvino()
    core = SimpleNamespace(
        available_devices=["CPU"],
        get_property=lambda device, name: "Some CPU" if name == "FULL_DEVICE_NAME" else ["FP32", "BF16"],
    )
    results = iter([(2.0, SCORES), (seconds, scores)])
    device = replace(
        openvino.DEVICE,
        load=lambda: SimpleNamespace(Core=lambda: core, __version__=module.__version__),
        time_runs=lambda runner, pixels: next(results),
    )
    device = _without_models(device)
    for _ in range(2):
        with pytest.raises(SessionError, match=reason):
            start(device, "bf16")


def _without_models(device: OpenVino) -> OpenVino:
    """The device, with runners that are never run."""

    class Unloaded(OpenVino):
        def _runner(self, *_: Any) -> Any:
            return SimpleNamespace(dtype=np.dtype(np.uint16))

    return Unloaded(**{name: getattr(device, name) for name in OpenVino.__dataclass_fields__})


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_other_devices_do_not_compute_bf16(device: str, model: Model, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=f"--device {device} does not compute bf16, only fp16, fp32, int8"):
        open_session(model, model.precision("bf16"), SessionConfig(device=device, cache=tmp_path))


def test_bf16_of_a_folder_without_fp32(model: Model) -> None:
    with pytest.raises(ModelError, match="holds no fp32, only fp16"):
        replace(model, precisions={"fp16": model.precision("fp32")}).precision("bf16")


# What is missing


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, start: Callable[..., Any]) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(Unavailable, match=r"the package openvino is not installed: `pip install deepdanbooru-engine\["):
        start()


@pytest.mark.parametrize("device", [openvino_gpu.DEVICE, openvino_npu.DEVICE])
def test_without_the_hardware(device: OpenVino, start: Callable[..., Any]) -> None:
    module, _ = fake_openvino("CPU")
    there = replace(device, load=lambda: module)
    precision = {} if device.target == "GPU" else {"precision": "int8"}
    with pytest.raises(SessionError, match=rf"OpenVINO finds no Intel {device.target}: install Intel's") as caught:
        there.check(onnxruntime) if precision else start(there)
    assert isinstance(caught.value, Unavailable) and caught.value.absent


@real
def test_on_a_gpu(start: Callable[..., Any], fp32: Precision) -> None:
    module, core = fake_openvino("CPU", "GPU.0", "GPU.1", took=("GPU.0", "f32"))
    taken = start(replace(openvino_gpu.DEVICE, load=lambda: module))
    assert taken.device == "openvino-gpu" and taken.why == "openvino-gpu: Some GPU"
    assert core.options["INFERENCE_PRECISION_HINT"] == "f32" and core.options["CACHE_DIR"].endswith("openvino")
    np.testing.assert_allclose(taken.run(PIXELS), expected(fp32, PIXELS)[:, :50], atol=1e-4)


@real
def test_a_gpu_that_is_not_taken_is_refused(start: Callable[..., Any]) -> None:
    module, _ = fake_openvino("CPU", "GPU", took=("CPU", "f32"))
    with pytest.raises(Unavailable, match="OpenVINO took CPU in f32 instead of GPU in f32"):
        start(replace(openvino_gpu.DEVICE, load=lambda: module))


def test_an_npu_computes_no_fp32(start: Callable[..., Any]) -> None:
    with pytest.raises(SessionError, match="--device openvino-npu does not compute fp32, only fp16, int8"):
        start(openvino_npu.DEVICE)


@real
def test_what_doctor_says() -> None:
    assert "by OpenVINO" in openvino.DEVICE.check(onnxruntime)


def test_by_tags_counts_those_that_change_clearly() -> None:
    fp32 = np.array([[0.9, 0.51, 0.1, 0.499]], np.float32)
    assert precision_check.by_tags(fp32, fp32 + np.float32(0.002))[0] is False  # 0.499 crosses, by a hair
    assert precision_check.by_tags(fp32, fp32 - np.array([[0, 0.03, 0, 0]], np.float32))[0] is True
