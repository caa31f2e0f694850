"""The converter's errors, and what turns the exceptions that damaged files cause into them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import EngineError

CURE = "copy or download it again, or save it once more with Keras"


class ConvertError(EngineError):
    """A project cannot be converted; `str(error)` names the file, what is wrong and the way out."""

    def __init__(self, sentence: str) -> None:
        # Names out of a damaged or crafted file may hold terminal escapes or what no encoding can print.
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in sentence))


class UnknownLayer(ConvertError):
    """A layer that `convert.onnx.layers` cannot translate; tf2onnx might."""


# What h5py, json and the reading of a damaged configuration were seen to raise. HDF5 reports damage as OSError,
# RuntimeError, KeyError or ValueError, depending on where it lies.
_DAMAGE = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, MemoryError)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged or crafted file makes its readers raise into a ConvertError that names the file."""
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConvertError(f"{path} is damaged or no Keras model ({reason}): {CURE}.") from error


@contextmanager
def needing(task: str) -> Iterator[None]:
    """Turns a failed import into a ConvertError that says how to install the package; `task` begins its sentence."""
    try:
        yield
    except ImportError as error:
        raise ConvertError(
            f"{task} needs {error.name}, which is not installed: pip install 'deepdanbooru-engine[cpu,convert]'."
        ) from error
