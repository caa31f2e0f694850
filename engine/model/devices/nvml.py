"""The NVIDIA GPU's name and memory, from NVML, the driver's library for monitoring.

NVML's Python module `pynvml` comes with the extras `cuda` and `cuda12`. Without it `open_gpu` finds no GPU, and the
engine works without these figures.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

MB = 10**6


@dataclass(frozen=True, slots=True)
class Memory:
    """The device's memory in bytes; `used` counts all programs on it."""

    total: int
    used: int
    free: int


class Gpu:
    """One device in NVML.

    Attributes:
        name: such as `NVIDIA GeForce GTX 1650`.
        capability: the compute capability, (major, minor).
        driver: the version of the driver.
    """

    def __init__(self, nvml: Any, pci_bus: str | None) -> None:  # noqa: ANN401 - a module without type hints
        """`pci_bus`: where CUDA's device 0 sits, which CUDA_VISIBLE_DEVICES may change; None takes NVML's first device.

        Raises `pynvml.NVMLError`, as `memory` does.
        """
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
        """Whether the chip has tensor cores. The GTX 16xx has none, though it reports 7.5 as the RTX 20xx does."""
        return self.capability >= (7, 0) and "GTX 16" not in self.name

    def memory(self) -> Memory:
        """The memory as it is now."""
        found = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        return Memory(int(found.total), int(found.used), int(found.free))

    def used_by_this_process(self) -> int | None:
        """Bytes; None where NVML cannot tell: under Windows (WDDM), in a container with process ids of its own."""
        with suppress(Exception):
            for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle):
                if process.pid == os.getpid() and process.usedGpuMemory is not None:
                    return int(process.usedGpuMemory)
        return None


def open_gpu(pci_bus: str | None = None) -> Gpu | None:
    """The GPU at this PCI bus id, or NVML's first; None without NVML or without a GPU."""
    try:
        import pynvml

        return Gpu(pynvml, pci_bus)
    except Exception:  # without package, driver or device there is nothing to measure, and that is no error
        return None


class VramMeter:
    """The most VRAM that the session was seen to use.

    Where NVML knows this process's own use, that is counted. Elsewhere it is what the whole device uses more than when
    the meter was made, so that other programs that start or end count too.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._baseline = gpu.memory().used
        self._own_peak = 0
        self._peak_above_baseline = 0

    def sample(self) -> None:
        """Look at the memory now. After a batch is soon enough: the arena never shrinks. Takes some 20 µs."""
        with suppress(Exception):
            self._own_peak = max(self._own_peak, self._gpu.used_by_this_process() or 0)
            self._peak_above_baseline = max(self._peak_above_baseline, self._gpu.memory().used - self._baseline)

    @property
    def label(self) -> str:
        """Which of the two `peak_mb` is."""
        return "process" if self._own_peak else "device above baseline"

    @property
    def peak_mb(self) -> float:
        """In MB (10^6 bytes)."""
        return round((self._own_peak or self._peak_above_baseline) / MB, 1)
