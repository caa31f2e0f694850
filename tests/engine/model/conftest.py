"""A model folder, and sessions of it on a stand-in for an NVIDIA GPU."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.model.devices.cpu import Cpu
from engine.model.devices.cuda import Cuda
from engine.model.devices.device import Device
from engine.model.devices.precision_check import time_runs
from engine.model.folder import Model, Precision, open_model
from engine.model.open import open_session
from engine.model.session import RecoveringSession, SessionConfig
from tests.support.onnxruntime_gpu import FakeDriver, FakeNvml, FakeRuntime, loader


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Model:
    """A copy, to be broken."""
    return open_model(Path(shutil.copytree(tiny_model, tmp_path / "model")))


@pytest.fixture
def fp32(model: Model) -> Precision:
    return model.precision("fp32")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


@pytest.fixture
def start(model: Model, tmp_path: Path, nvml: FakeNvml) -> Callable[..., RecoveringSession]:
    """Opens a session with a stand-in for the runtime and the driver; the GPU is `nvml`'s."""

    def opened(
        ort: FakeRuntime,
        driver: FakeDriver | None = None,
        missing: str = "",
        precision: str = "fp32",
        timed: Callable[..., Any] = time_runs,
        **config: Any,
    ) -> RecoveringSession:
        settings = SessionConfig(**{"device": "cuda", "cache": tmp_path, **config})
        chosen = replace(model.precision("fp32"), name=precision)
        folder = replace(model, precisions={"fp32": model.precision("fp32"), precision: chosen})
        devices: list[Device] = [Cuda(loader(driver or FakeDriver(), missing), timed), Cpu()]
        return open_session(folder, chosen, settings, devices, ort)

    return opened
