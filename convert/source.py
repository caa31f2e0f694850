"""Opens a Keras model file; a process of its own looks at it first.

HDF5 was seen never to return from a damaged file (a flipped byte in a heap of attributes), and nothing in Python can
end that. So a child walks through everything that has structure; only then does this process do the same. Values of
weights need no such care: they are plain bytes at a known place.
"""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from convert.errors import CURE, ConvertError, reading
from convert.graph import layer_names
from convert.h5 import KerasModel, open_h5
from convert.keras_archive import open_keras

PATIENCE = 120.0  # seconds; the full-size model takes under one, a slow share perhaps twenty


def open_model(path: Path) -> KerasModel:
    """Opens `path` (.h5 or .keras); raises ConvertError if it is damaged or holds no whole model."""
    _check(path)
    return _open(path)


def _open(path: Path) -> KerasModel:
    return open_keras(path) if path.suffix == ".keras" else open_h5(path)


def _check(path: Path) -> None:
    """Raises ConvertError if HDF5 hangs or crashes on `path`; other faults are for this process to find."""
    command = [sys.executable, "-m", "convert.source", str(path.absolute())]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise ConvertError(f"{path} is damaged (HDF5 did not finish within {PATIENCE:.0f} s): {CURE}.") from None
    if done.returncode not in (0, 1):  # 1: an exception of Python's, which will come here too
        raise ConvertError(f"{path} is damaged (HDF5 crashed on it): {CURE}.")


def _look(path: Path) -> None:
    with closing(_open(path)) as model, reading(path):
        for name in layer_names(model.config):
            model.weights(name)


if __name__ == "__main__":
    _look(Path(sys.argv[1]))
