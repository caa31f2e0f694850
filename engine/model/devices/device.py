"""What a device is to the engine, and what all devices share.

A device is a module in this folder that bears the device's name and ends with `DEVICE = ...`, an object with the
attributes and the method of `Device`. The table of the names is `DeviceName` in engine/config.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.errors import EngineError, ModelError, SessionError, first_line
from engine.model.folder import Model, Precision
from engine.model.onnx_runtime import Ort, is_out_of_memory
from engine.model.runners import input_dtype
from engine.model.session import Placement, SessionConfig


class Unavailable(SessionError):
    """A device cannot be used here. `--device auto` then takes the next one and tells the reason.

    Attributes:
        reason: what is missing.
        cure: what the user can do about it.
        absent: there is no such hardware at all, so that there is nothing to repair.
    """

    def __init__(self, reason: str, cure: str, *, absent: bool = False) -> None:
        super().__init__(f"{reason}: {cure}")
        self.reason = reason
        self.cure = cure
        self.absent = absent


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """Which model is to run, and how. `ort`: the onnxruntime module; `run_options`: shared by all runs of the session,
    so that setting its `terminate` ends them.
    """

    ort: Ort
    model: Model
    precision: Precision
    config: SessionConfig
    run_options: Ort

    @property
    def features(self) -> int:
        """How long the feature vectors are that the runner shall give behind the scores; 0 for none."""
        return (self.model.features or 0) if self.config.features else 0


FILES = frozenset({"fp32", "fp16", "int8"})
"""The precisions that have a file of their own."""


class Device(Protocol):
    """Hardware, and the library that runs a model on it.

    Attributes:
        name: the value of `--device` that asks for it.
        hardware: what a user calls it, with the article: `an NVIDIA GPU`.
        precisions: those that it computes.
        auto: those for which `--device auto` tries it; the others must be asked for by name.
    """

    @property
    def name(self) -> str: ...

    @property
    def hardware(self) -> str: ...

    @property
    def precisions(self) -> frozenset[str]: ...

    @property
    def auto(self) -> frozenset[str]: ...

    def check(self, ort: Ort) -> str:
        """Find out whether the device can be used here at all; what was found, in words. Raises `Unavailable`."""
        ...

    def place(self, request: SessionRequest) -> Placement:
        """Find out whether this device can run the model here, and with which batch size.

        Raises `Unavailable` if it cannot, `ModelError` if the model is at fault, `SessionError` if the device must not
        be used with this precision. The placement's `runner` raises the same.
        """
        ...


@contextmanager
def loading(file: Path, by: str = "ONNX Runtime") -> Iterator[None]:
    """Turn what the library `by` raises while it loads `file`, or tries it out, into `Unavailable` or `ModelError`."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # the libraries' exceptions share no base but Exception
        if is_out_of_memory(error):
            raise Unavailable(
                f"the model {file} does not fit into memory ({first_line(error)})",
                "close what else uses it, or use --device cpu",
            ) from error
        raise ModelError(f"{by} cannot use {file}: {first_line(error)}") from error


def check_signature(session: Ort, model: Model, file: Path) -> None:
    """Raise `ModelError` unless the ONNX file takes and gives what the manifest says: pixels, and a score a tag."""
    inputs, outputs = session.get_inputs()[0], session.get_outputs()[0]
    check_shapes(str(input_dtype(session)), inputs.shape[1:], outputs.shape[-1], model, file)


def check_shapes(dtype: str, sides: list[Any], scores: Any, model: Model, file: Path) -> None:  # noqa: ANN401 - may be a name
    """Raise `ModelError` unless a file's input (dtype and sides after N) and number of scores are the manifest's."""
    found = (dtype, sides, scores)
    shape = model.preprocessing
    expected = (shape.dtype, [shape.height, shape.width, 3], len(model.tags))
    if found != expected:
        said, really = ("{} {} and gives {} scores".format(*it) for it in (expected, found))
        raise ModelError(f"{file} takes {really}, its model.json says {said}: convert the model again with --overwrite")
