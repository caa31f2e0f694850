"""Runs one of the converter's modules in a process of its own, with the same Python and the same code."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO


def run_child(module: str, arguments: list[str], patience: float) -> "subprocess.CompletedProcess[bytes]":
    """Runs `python -m MODULE`; raises subprocess.TimeoutExpired after `patience` seconds."""
    return subprocess.run(  # noqa: S603 - this very Python and module
        _command(module, arguments), env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=patience
    )


def start_child(module: str, arguments: list[str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Starts `python -m MODULE`, its stdout a pipe, its stderr written to `log`."""
    return subprocess.Popen(  # noqa: S603 - this very Python and module
        _command(module, arguments),
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
    )


def _command(module: str, arguments: list[str]) -> list[str]:
    return [sys.executable, "-P", "-m", module, *arguments]


def _environment() -> dict[str, str]:
    """The child imports the package that runs here, whatever lies in the current folder (-P) or is installed.

    Keras finds no settings there, which could make it another reference, and leaves none: by itself it writes some into
    the user's home.
    """
    found = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": found, "KERAS_HOME": os.devnull}
