"""Runners: one session of ONNX Runtime (`InferenceSession`) each, that turns a batch of pixels into scores.

Which runner a device takes is decided in its module in `devices/`.
"""

import threading
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.model.folder import Model
from engine.model.onnx_runtime import Ort
from engine.types import Scores

Pixels = npt.NDArray[Any]
"""A batch of fitted pictures: [n, height, width, 3], RGB, of the dtype that the model's input has."""


class Runner(Protocol):
    """Computes the scores of a batch. May be called by several threads at once.

    Attributes:
        dtype: of the pixels that the model takes.
    """

    dtype: np.dtype[Any]

    def __call__(self, pixels: Pixels) -> Scores:
        """Scores float32 [n, tags], or [n, tags + features]. Raises whatever ONNX Runtime raises."""
        ...


class ArrayRunner:
    """Hands the batch to ONNX Runtime as the array that it is, of any length."""

    def __init__(self, session: Ort, run_options: Ort, *, features: bool = False) -> None:
        """`features`: whether the model's feature vectors are given too, behind the scores."""
        self.dtype = input_dtype(session)
        self._session = session
        self._run_options = run_options
        self._input = session.get_inputs()[0].name
        self._outputs = output_names(session, features=features)

    def __call__(self, pixels: Pixels) -> Scores:
        found = self._session.run(self._outputs, {self._input: pixels}, self._run_options)
        arrays = [np.asarray(one, dtype=np.float32) for one in found]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)


@dataclass(frozen=True, slots=True)
class _Buffers:
    """What one thread has bound to the session: its pixels on the device, its scores and features in main memory."""

    binding: Any
    pixels: Any
    outputs: tuple[Scores, ...]


class IoBindingRunner:
    """Copies each batch into buffers that are bound to the session once: on a GPU, ONNX Runtime then allocates nothing.

    The batch has a fixed size, because cuDNN chooses its algorithms again for each new shape. Each thread that calls
    has buffers of its own.
    """

    def __init__(
        self, ort: Ort, session: Ort, run_options: Ort, size: int, model: Model, device: str, *, features: int = 0
    ) -> None:
        """
        Args:
            size: pictures a batch.
            device: ONNX Runtime's name of the memory that pixels go to: `cuda`, `cpu`.
            features: how long the feature vectors are that are given behind the scores; 0: none are.
        """
        self.dtype = input_dtype(session)
        self._ort, self._session, self._run_options, self._device = ort, session, run_options, device
        self._shape = (size, model.preprocessing.height, model.preprocessing.width, 3)
        self._lengths = (len(model.tags), *([features] if features else []))
        self._of_thread = threading.local()

    def __call__(self, pixels: Pixels) -> Scores:
        """At most `size` pictures; fewer are padded with black ones, whose scores are left out."""
        buffers: _Buffers | None = getattr(self._of_thread, "buffers", None)
        if buffers is None:
            buffers = self._of_thread.buffers = self._bind()
        count = len(pixels)
        if count < self._shape[0]:
            padded = np.zeros(self._shape, self.dtype)
            padded[:count] = pixels
            pixels = padded
        buffers.pixels.update_inplace(pixels)
        self._session.run_with_iobinding(buffers.binding, self._run_options)
        return np.concatenate([output[:count] for output in buffers.outputs], axis=1)

    def _bind(self) -> _Buffers:
        pixels = self._ort.OrtValue.ortvalue_from_shape_and_type(self._shape, self.dtype.type, self._device, 0)
        outputs = tuple(np.zeros((self._shape[0], length), np.float32) for length in self._lengths)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._session.get_inputs()[0].name, pixels)
        names = output_names(self._session, features=len(outputs) > 1)
        for name, array in zip(names, outputs, strict=True):
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return _Buffers(binding, pixels, outputs)


def input_dtype(session: Ort) -> np.dtype[Any]:
    """The dtype of the session's first input. ONNX Runtime writes it as `tensor(uint8)`; its `float` has 32 bits."""
    name: str = session.get_inputs()[0].type.removeprefix("tensor(").removesuffix(")")
    return np.dtype("float32" if name == "float" else name)


FEATURES = "features"
"""The name of the output that gives the feature vectors, in every model folder that has them."""


def output_names(session: Ort, *, features: bool) -> list[str]:
    """The scores are a session's first output. What is not asked for is neither computed to its end nor copied."""
    return [str(session.get_outputs()[0].name), *([FEATURES] if features else [])]
