"""The model on a device: ONNX Runtime, and never another device than the one that was asked for."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.config import RunConfig
from engine.errors import ModelError, SessionError
from engine.machine import cores
from engine.model import Model, Precision, check_file
from engine.types import Scores

CPU_BATCH = 4
"""Default batch on the CPU: larger ones gain nothing there (measured: 1 to 8 alike) and cost memory."""


class Session(Protocol):
    """What the pipeline needs of a model. `run` may be called by several threads."""

    batch_size: int
    device: str
    precision: str

    def run(self, pixels: npt.NDArray[np.uint8]) -> Scores:
        """Scores float32 [n, tags] of a batch uint8 [n, height, width, 3]."""
        ...

    def terminate(self) -> None:
        """End a running `run` as soon as possible; it then raises."""
        ...


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How a session is to be made; the meaning of each field is RunConfig's."""

    device: str = "auto"
    batch_size: int | None = None
    intra_op_threads: int | None = None
    vram_limit: int | None = None
    workspace: bool = True


class OrtSession:
    """A model folder's ONNX file in ONNX Runtime, with one fixed input shape."""

    def __init__(self, model: Model, precision: Precision, config: SessionConfig) -> None:
        ort = import_runtime()
        check_file(precision)
        self.precision = precision.name
        self.batch_size = config.batch_size or CPU_BATCH
        self.device = "cpu"
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = config.intra_op_threads or cores()
        try:
            self._session = ort.InferenceSession(str(precision.file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise ModelError(f"ONNX Runtime cannot load {precision.file}: {_first_line(error)}") from error
        self._run_options = ort.RunOptions()
        self._input = self._session.get_inputs()[0].name
        self._check_shape(model, precision.file)

    def run(self, pixels: npt.NDArray[np.uint8]) -> Scores:
        try:
            [scores] = self._session.run(None, {self._input: pixels}, self._run_options)
        except Exception as error:
            raise SessionError(f"ONNX Runtime failed on a batch: {_first_line(error)}") from error
        return np.asarray(scores, dtype=np.float32)

    def terminate(self) -> None:
        self._run_options.terminate = True

    def _check_shape(self, model: Model, file: Path) -> None:
        expected = [model.preprocessing.height, model.preprocessing.width, 3]
        found = self._session.get_inputs()[0].shape[1:]
        width = self._session.get_outputs()[0].shape[-1]
        if found != expected or width != len(model.tags):
            raise ModelError(
                f"{file} takes {found} and gives {width} scores, its model.json says {expected} and {len(model.tags)}: "
                "convert the model again"
            )


def import_runtime() -> Any:  # noqa: ANN401 - a module without type hints
    """The onnxruntime module. Raises `SessionError` when there is none, or two that overwrite each other."""
    there = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(there) > 1:
        raise SessionError(
            "both onnxruntime and onnxruntime-gpu are installed and overwrite each other: "
            "`pip uninstall -y onnxruntime onnxruntime-gpu`, then `pip install deepdanbooru-engine[cuda]` (or [cpu])"
        )
    try:
        import onnxruntime
    except ImportError:
        raise SessionError(
            "there is no ONNX Runtime: `pip install deepdanbooru-engine[cpu]`, or [cuda] for an NVIDIA GPU"
        ) from None
    return onnxruntime


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def open_session(model: Model, precision: Precision, config: SessionConfig) -> Session:
    """The model on the device that was asked for. Raises `SessionError` or `ModelError` with the cure."""
    return OrtSession(model, precision, config)


def session_config(settings: RunConfig) -> SessionConfig:
    """The part of a run's settings that is the session's."""
    return SessionConfig(
        device=settings.device,
        batch_size=settings.batch_size,
        intra_op_threads=settings.intra_op_threads,
        vram_limit=settings.vram_limit,
        workspace=settings.workspace,
    )
