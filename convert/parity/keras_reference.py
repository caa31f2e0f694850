"""The original's scores: the Keras model with DeepDanbooru's own preprocessing.

It runs in a process of its own, so that TensorFlow's memory is free again afterwards.
"""

import importlib.util
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from convert.child_process import start_child
from convert.errors import ConvertError
from engine.types import Scores

_NEEDED = ("tensorflow", "tf_keras", "skimage")


def has_keras() -> bool:
    """Whether what the extra `keras` brings is installed."""
    return all(importlib.util.find_spec(package) for package in _NEEDED)


def keras_scores(
    model: Path, size: tuple[int, int], tags: int, pictures: Sequence[Path], step: Callable[[], None]
) -> tuple[Scores, int]:
    """The original's scores, float32 [pictures, tags], and how many pictures TensorFlow does not decode.

    Args:
        model: the Keras file.
        size: (height, width) of its input.
        tags: how many scores it gives.
        pictures: files; a row of NaN for one that cannot be read.
        step: called after each.

    Raises:
        ConvertError: TensorFlow cannot run the model.
    """
    with TemporaryDirectory(prefix="engine-verify-", ignore_cleanup_errors=True) as folder:
        asked, out, log = (Path(folder) / name for name in ("pictures.json", "scores", "log"))
        asked.write_text(json.dumps([str(path.absolute()) for path in pictures]), encoding="utf-8")
        arguments = [str(model.absolute()), *map(str, size), str(asked), str(out)]
        with (
            log.open("wb") as errors,
            start_child("convert.parity.keras_reference_child", arguments, errors) as process,
        ):
            undecoded = _count(process, step)
        found = np.fromfile(out, np.float32) if out.exists() else np.empty(0, np.float32)
        if process.returncode or found.size != len(pictures) * tags:
            last = log.read_text(encoding="utf-8", errors="replace").strip().rsplit("\n", 1)[-1][:300]
            raise ConvertError(f"{model} does not run in Keras (exit code {process.returncode}: {last}).")
    return found.reshape(len(pictures), tags), undecoded


def _count(process: "subprocess.Popen[bytes]", step: Callable[[], None]) -> int:
    """Calls `step` for each line and returns how many say something.

    A process that is left early, by Ctrl-C or an error, is ended.
    """
    try:
        undecoded = 0
        for line in process.stdout or ():
            undecoded += bool(line.strip())
            step()
    except BaseException:
        process.kill()
        raise
    return undecoded
