"""The cores that this process may use, and the memory that it has used."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import psutil

_UNLIMITED = 1 << 16
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_LARGE = 8 << 20


def cores() -> int:
    """The physical cores (not hyper-threads) that CPU affinity and container quota leave to this process."""
    usable = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or usable
    return max(1, min(usable, physical, _quota()))


def _quota(root: Path = Path("/sys/fs/cgroup")) -> int:
    """The cores that a container's cgroup (v2, else v1) allows; `_UNLIMITED` where nothing limits them."""
    try:
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (root / "cpu/cpu.cfs_period_us").read_text(encoding="ascii")
        return max(1, int(quota) // int(period)) if int(quota) > 0 else _UNLIMITED
    except (OSError, ValueError):  # there is no cgroup, or its quota is "max"
        return _UNLIMITED


def return_large_blocks() -> None:
    """Have blocks of 8 MiB and more given back to the system when they are freed.

    Left to itself, glibc keeps up to 32 MiB of them for each thread that ever had one, which is more than the engine
    has in use when many threads read. Decoded pictures of usual sizes are smaller, and are not slowed down. Other
    systems need no such word.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE)


def peak_rss_mb() -> float:
    """The most memory this process has had, in MB (10^6 bytes)."""
    info = psutil.Process().memory_info()
    peak = getattr(info, "peak_wset", None)  # Windows
    if peak is not None:
        return float(peak) / 1e6
    try:  # Linux; getrusage there also counts the memory of the parent process
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource

        unit = 1 if os.uname().sysname == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    except ImportError:
        return float(info.rss) / 1e6
