"""What this machine really has, as the settings need it."""

import os
from pathlib import Path

import psutil

_UNLIMITED = 1 << 16


def cores() -> int:
    """Physical cores this process may use: affinity and a container's quota counted, hyper-threads not."""
    usable = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or usable
    return max(1, min(usable, physical, _quota()))


def _quota(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that a cgroup (v2, else v1) allows; as many as one likes where there is none."""
    try:
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (root / "cpu/cpu.cfs_period_us").read_text(encoding="ascii")
        return max(1, int(quota) // int(period)) if int(quota) > 0 else _UNLIMITED
    except (OSError, ValueError):  # no cgroup, or "max"
        return _UNLIMITED


def peak_rss_mb() -> float:
    """The most memory this process has had, in MB (10^6 bytes)."""
    info = psutil.Process().memory_info()
    peak = getattr(info, "peak_wset", None)  # Windows
    if peak is not None:
        return float(peak) / 1e6
    try:  # Linux: getrusage would count what the parent had when it started this process
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
