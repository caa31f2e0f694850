"""The meter of VRAM, on a stand-in for NVML."""

import os
import sys
from types import SimpleNamespace

import pytest

from engine.model.devices.nvml import MB, Memory, VramMeter, open_gpu
from tests.support.onnxruntime_gpu import FakeNvml


def test_vram_above_the_baseline(nvml: FakeNvml) -> None:
    gpu = open_gpu("0000:01:00.0")
    assert gpu
    meter = VramMeter(gpu)
    for used in (2500, 3000, 2600):
        nvml.memory = Memory(4096 * MB, used * MB, 0)
        meter.sample()
    assert (meter.peak_mb, meter.label) == (904.0, "device above baseline")


def test_vram_of_this_process(nvml: FakeNvml) -> None:
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
