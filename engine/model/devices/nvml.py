"""The NVIDIA GPU as its driver sees it: which one CUDA takes, how much of its memory is free, how much is in use.

NVML comes with the extras `cuda` and `cuda12`; without it nothing here is known, and nothing fails.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

MB = 10**6


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the device, in bytes, as everybody on it sees it."""

    total: int
    used: int
    free: int


class Gpu:
    """One device in NVML. Raises nothing that is not `pynvml.NVMLError`, and that only while it is opened."""

    def __init__(self, nvml: Any, pci_bus: str | None) -> None:  # noqa: ANN401 - a module without type hints
        """`pci_bus` as CUDA names its device 0 (CUDA_VISIBLE_DEVICES counted in); None: NVML's first."""
        self._nvml = nvml
        nvml.nvmlInit()
        self._handle = (
            nvml.nvmlDeviceGetHandleByPciBusId(pci_bus.encode()) if pci_bus else nvml.nvmlDeviceGetHandleByIndex(0)
        )
        name = nvml.nvmlDeviceGetName(self._handle)
        self.name: str = name.decode() if isinstance(name, bytes) else name
        self.capability: tuple[int, int] = tuple(nvml.nvmlDeviceGetCudaComputeCapability(self._handle))
        version = nvml.nvmlSystemGetDriverVersion()
        self.driver: str = version.decode() if isinstance(version, bytes) else version

    @property
    def has_tensor_cores(self) -> bool:
        """By chip. The GTX 16xx reports 7.5 like the RTX 20xx and has none."""
        return self.capability >= (7, 0) and "GTX 16" not in self.name

    def memory(self) -> Memory:
        found = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        return Memory(int(found.total), int(found.used), int(found.free))

    def own(self) -> int | None:
        """Bytes that this process has; None where NVML cannot tell (Windows' WDDM, another process namespace)."""
        with suppress(Exception):
            for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle):
                if process.pid == os.getpid() and process.usedGpuMemory is not None:
                    return int(process.usedGpuMemory)
        return None


def open_gpu(pci_bus: str | None = None) -> Gpu | None:
    """The GPU, or None without NVML or without a GPU."""
    try:
        import pynvml

        return Gpu(pynvml, pci_bus)
    except Exception:  # no package, no driver, no device: all the same to a meter
        return None


class VramMeter:
    """The most VRAM seen, in MB (10^6 bytes).

    This process's own where NVML knows it (`label` "process"), else the device's use above what it was when the meter
    was made ("device above baseline": other programs that come or go count too).
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._baseline = gpu.memory().used
        self._own = 0
        self._above = 0

    def sample(self) -> None:
        """Called after a batch: the arena never shrinks, so that is when it is largest. 20 µs or so."""
        with suppress(Exception):
            self._own = max(self._own, self._gpu.own() or 0)
            self._above = max(self._above, self._gpu.memory().used - self._baseline)

    @property
    def label(self) -> str:
        return "process" if self._own else "device above baseline"

    @property
    def peak_mb(self) -> float:
        return round((self._own or self._above) / MB, 1)
