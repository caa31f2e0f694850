"""Opens a Keras model file, after a process of its own has tried to.

HDF5 was seen never to return from a damaged file (a flipped byte in a heap of attributes), and nothing in Python can
end that. So a child walks through everything that has structure; only then does this process do the same. Values of
weights need no such care: they are plain bytes at a known place.
"""

import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

from convert.child_process import run_child
from convert.errors import CURE, ConvertError
from convert.keras.archive import open_archive
from convert.keras.h5 import KerasModel, open_h5
from convert.keras.network import layer_names

PATIENCE = 120.0  # seconds; the full-size model takes under one, a slow share perhaps twenty


def open_keras(path: Path) -> KerasModel:
    """Opens `path` (.h5 or .keras); raises ConvertError if it is damaged or holds no whole model."""
    _check(path)
    return _open(path)


def _open(path: Path) -> KerasModel:
    return open_archive(path) if path.suffix == ".keras" else open_h5(path)


def _check(path: Path) -> None:
    """Raises ConvertError if HDF5 hangs or crashes on `path`; other faults are for this process to find."""
    try:
        done = run_child("convert.keras.open", [str(path.absolute())], PATIENCE)
    except subprocess.TimeoutExpired:
        raise ConvertError(f"{path} is damaged (HDF5 did not finish within {PATIENCE:.0f} s): {CURE}.") from None
    if done.returncode:
        raise ConvertError(f"{path} is damaged (HDF5 crashed on it): {CURE}.")


def _walk(path: Path) -> None:
    # Errors are ignored here: the parent opens the file again and reports them. Only hangs and crashes count.
    with suppress(Exception), closing(_open(path)) as model:
        for name in layer_names(model.config):
            model.weights(name)


if __name__ == "__main__":
    _walk(Path(sys.argv[1]))
