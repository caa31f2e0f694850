"""Runs a measurement in a process of its own, so that what another one left in memory does not count.

`in_new_process("bench.memory:tiny", pictures=2000)` runs `bench.memory.tiny(pictures=2000)` there and returns what it
returns, which must be JSON.
"""

import json
import os
import subprocess
import sys
from importlib import import_module
from typing import Any

from bench.machine import ROOT
from engine.errors import EngineError

LIMIT_S = 3600


def in_new_process(function: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
    """Run `module:function` in a new interpreter. Raises `EngineError` with its last line if it fails."""
    run = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-m", "bench.new_process", function, json.dumps(arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=LIMIT_S,
        env=environment(),
    )
    if run.returncode:
        raise EngineError(f"the measurement {function} failed: {last_line(run.stderr)}")
    return json.loads(run.stdout.splitlines()[-1])


def environment(**more: str) -> dict[str, str]:
    """This process' environment without settings of the engine, with the project importable."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ENGINE_")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path, "PYTHONUTF8": "1"} | more


def need_keras(python: str) -> None:
    """Raise `EngineError` unless this interpreter has what the original runs on. Nothing is imported there."""
    names = ("tensorflow", "tf_keras", "skimage")
    code = f"from importlib.util import find_spec; print(*(n for n in {names} if not find_spec(n)))"
    try:
        found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env=environment())  # noqa: S603 - the user's interpreter
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineError(f"--keras-python {python} does not run ({error}): name a Python interpreter") from None
    if missing := found.stdout.split():
        raise EngineError(
            f"the original needs {', '.join(missing)}, which {python} does not have: "
            '`pip install "deepdanbooru-engine[keras]"`, or name an interpreter that has the extra with --keras-python'
        )


def need_package(python: str, package: str, flag: str) -> None:
    """Raise `EngineError` unless this interpreter has a package of this name, and httpx. It is imported there."""
    code = f"import httpx; from importlib.metadata import version; version({package!r})"
    try:
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env=environment())  # noqa: S603 - the user's interpreter
    except OSError as error:
        raise EngineError(f"{flag} {python} does not run ({error}): name a Python interpreter") from None
    except subprocess.CalledProcessError:
        raise EngineError(
            f"{flag} {python} lacks {package}, httpx or onnxruntime: make an environment of its own for it and "
            f"`pip install {package} httpx onnxruntime` there"
        ) from None


def last_line(text: str) -> str:
    """The last line that is not blank: of a traceback, the error."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    print(json.dumps(getattr(import_module(module), function)(**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
