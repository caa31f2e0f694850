"""Runs a module of this package in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def run_child(module: str, arguments: list[str], patience: float) -> "subprocess.CompletedProcess[bytes]":
    """Runs `python -m convert.<module>`; raises subprocess.TimeoutExpired after `patience` seconds.

    The child imports the package that runs here, whatever lies in the current folder (-P) and however it was installed.
    """
    found = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    return subprocess.run(  # noqa: S603 - this very Python and module
        [sys.executable, "-P", "-m", f"convert.{module}", *arguments],
        env=os.environ | {"PYTHONPATH": found},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=patience,
    )
