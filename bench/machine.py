"""The part of every result that tells on which machine, commit and versions it was measured."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from engine.machine import cores
from engine.model.devices.nvml import open_gpu

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "numpy",
    "opencv-python-headless",
    "simplejpeg",
    "httpx",
    "httpcore",
    "onnx",
)


def envelope(command: str, argv: Sequence[str]) -> dict[str, Any]:
    """Command, date, commit, machine and versions. Of paths in the command only the last part is kept."""
    return {
        "command": command,
        "arguments": [Path(word).name if "/" in word or "\\" in word else word for word in argv],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
    }


def machine() -> dict[str, Any]:
    """CPU, cores this process may use, memory in GB (10^9 bytes), operating system, GPU or `no GPU`."""
    return {
        "cpu": cpu_brand(),
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "gpu": gpu_name(),
    }


def cpu_brand() -> str:
    """The processor's name as its vendor writes it, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return os.environ.get("PROCESSOR_IDENTIFIER") or platform.processor() or platform.machine()


def gpu_name() -> str:
    gpu = open_gpu()
    return f"{gpu.name}, driver {gpu.driver}" if gpu else "no GPU"


def versions() -> dict[str, str]:
    """Python's and the packages' that the figures depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit that was measured, `+` where files differ from it; `unknown` outside a checkout."""
    try:
        short = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "engine", "convert", "bench")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return short + ("+" if changed else "")


def _git(*words: str) -> str:
    run = subprocess.run(  # noqa: S603 - a fixed command
        ["git", *words],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=10,
        check=True,
    )
    return run.stdout.strip()


def python_command(*words: str) -> list[str]:
    """This interpreter with further words."""
    return [sys.executable, *words]
