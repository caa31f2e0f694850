"""TensorRT, DirectML and CoreML on stand-ins: what is asked of the provider, and that the CPU never steps in unseen."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.errors import SessionError
from engine.model.devices import coreml, directml, tensorrt
from engine.model.devices.cpu import Cpu
from engine.model.devices.device import Device, SessionRequest
from engine.model.devices.provider import RECORD, Provider
from engine.model.folder import Model, Precision
from engine.model.open import open_session
from engine.model.runners import Runner
from engine.model.session import RecoveringSession, SessionConfig
from tests.support.providers import FakeProviderRuntime

PIXELS = np.random.default_rng(0).integers(0, 65281, (3, 64, 64, 3), np.uint16)
HERE = {
    "tensorrt": replace(tensorrt.DEVICE, prepare=lambda ort: None, batch=lambda request: 4),
    "directml": replace(directml.DEVICE, system="win32"),
    "coreml": replace(coreml.DEVICE, system="darwin"),
}
"""The devices as on a machine that has them."""


@pytest.fixture
def start(model: Model, tmp_path: Path) -> Callable[..., RecoveringSession]:
    def opened(ort: FakeProviderRuntime, device: Provider, precision: str = "fp32", **config: Any) -> RecoveringSession:
        settings = SessionConfig(**{"device": device.name, "cache": tmp_path / "cache", **config})
        chosen = replace(model.precision("fp32"), name=precision)
        folder = replace(model, precisions={"fp32": model.precision("fp32"), precision: chosen})
        return open_session(folder, chosen, settings, [device, Cpu()], ort)

    return opened


@pytest.mark.parametrize("name", HERE)
def test_a_session(name: str, start: Callable[..., RecoveringSession], fp32: Precision) -> None:
    device = HERE[name]
    ort = FakeProviderRuntime(device.provider)
    taken = start(ort, device, features=True)
    assert (taken.device, taken.batch_size) == (name, 4) and device.provider in taken.why
    session = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"])
    expected = np.concatenate(session.run(["scores", "features"], {"pixels": PIXELS}), axis=1)
    np.testing.assert_allclose(taken.run(PIXELS), expected, atol=1e-5)
    [(providers, settings)] = ort.sessions
    assert [one if isinstance(one, str) else one[0] for one in providers] == [device.provider, *device.others]
    assert "CPUExecutionProvider" not in providers
    assert settings.enable_mem_pattern is False and settings.get_session_config_entry(RECORD) == "1"


def test_the_options_of_tensorrt(start: Callable[..., RecoveringSession], tmp_path: Path) -> None:
    ort = FakeProviderRuntime("TensorrtExecutionProvider")
    start(ort, HERE["tensorrt"], precision="int8")
    [(_, options), other] = ort.sessions[0][0]
    assert other == "CUDAExecutionProvider"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("False", "True")
    assert options["trt_engine_cache_enable"] == "True"
    assert Path(options["trt_engine_cache_path"]) == tmp_path / "cache" / "tensorrt"
    assert (tmp_path / "cache" / "tensorrt").is_dir()


def test_the_options_of_coreml(start: Callable[..., RecoveringSession]) -> None:
    ort = FakeProviderRuntime("CoreMLExecutionProvider")
    start(ort, HERE["coreml"])
    options = ort.sessions[0][0][0][1]
    assert options["ModelFormat"] == "MLProgram" and options["ModelCacheDirectory"].endswith("coreml")


@pytest.mark.parametrize("name", HERE)
def test_a_build_without_the_provider(name: str, start: Callable[..., RecoveringSession]) -> None:
    with pytest.raises(
        SessionError, match=r"built without .+: `pip uninstall -y onnxruntime-other`, then `pip install"
    ):
        start(FakeProviderRuntime(""), HERE[name])


@pytest.mark.parametrize("name", HERE)
def test_a_provider_that_does_not_work(name: str, start: Callable[..., RecoveringSession]) -> None:
    with pytest.raises(SessionError, match=r"does not take \w+Provider: .*pip install"):
        start(FakeProviderRuntime(HERE[name].provider, works=False), HERE[name])


@pytest.mark.parametrize("name", HERE)
def test_products_on_the_cpu_are_refused(name: str, start: Callable[..., RecoveringSession]) -> None:
    with pytest.raises(SessionError, match=r"gives [1-9]\d* of the model's \d+ products to the CPU instead of"):
        start(FakeProviderRuntime(HERE[name].provider, lost=("Conv", "Gemm")), HERE[name])


def test_the_entrance_may_be_on_the_cpu(start: Callable[..., RecoveringSession]) -> None:
    ort = FakeProviderRuntime("CoreMLExecutionProvider", lost=("Cast", "Transpose"))
    assert start(ort, HERE["coreml"]).device == "coreml"


def test_another_system_has_no_such_thing(start: Callable[..., RecoveringSession]) -> None:
    with pytest.raises(SessionError, match="directml exists on Windows only"):
        start(FakeProviderRuntime("DmlExecutionProvider"), replace(directml.DEVICE, system="linux"))


def test_int8_is_nothing_for_coreml(start: Callable[..., RecoveringSession]) -> None:
    with pytest.raises(SessionError, match="--device coreml does not compute int8, only fp16, fp32"):
        start(FakeProviderRuntime("CoreMLExecutionProvider"), HERE["coreml"], precision="int8")


@pytest.mark.parametrize(("name", "taken"), [("tensorrt", "cpu"), ("directml", "directml"), ("coreml", "cpu")])
def test_what_auto_takes(name: str, taken: str, model: Model, tmp_path: Path) -> None:
    ort = FakeProviderRuntime(HERE[name].provider)
    chosen = model.precision("fp32")
    devices: list[Device] = [HERE[name]] if taken != "cpu" else [HERE[name], real_cpu()]
    assert open_session(model, chosen, SessionConfig(cache=tmp_path), devices, ort).device == taken


def real_cpu() -> Cpu:
    """The CPU, by the real ONNX Runtime."""

    class RealCpu(Cpu):
        def runner(self, request: SessionRequest) -> Runner:
            return super().runner(replace(request, ort=onnxruntime))

    return RealCpu()


def test_fp16_is_held_against_fp32_once(start: Callable[..., RecoveringSession]) -> None:
    scores = np.full((4, 50), 0.5, np.float32)
    seconds = iter([2.0, 1.0])
    device = replace(HERE["directml"], time_runs=lambda runner, pixels: (next(seconds), scores))
    for _ in range(2):
        assert start(FakeProviderRuntime(device.provider), device, precision="fp16").precision == "fp16"


def test_fp16_that_is_wrong_is_refused(start: Callable[..., RecoveringSession]) -> None:
    results = iter([(2.0, np.zeros((4, 50), np.float32)), (1.0, np.full((4, 50), np.nan, np.float32))])
    device = replace(HERE["directml"], time_runs=lambda runner, pixels: next(results))
    with pytest.raises(SessionError, match="no numbers on this device by directml: use --precision fp32"):
        start(FakeProviderRuntime(device.provider), device, precision="fp16")


def test_directml_runs_one_batch_at_a_time(start: Callable[..., RecoveringSession]) -> None:
    ort = FakeProviderRuntime("DmlExecutionProvider")
    taken = start(ort, HERE["directml"])
    threads = [threading.Thread(target=lambda: [taken.run(PIXELS) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ort.most_running == 1
