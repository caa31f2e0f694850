"""fp32 -> int8: ONNX Runtime's static quantisation, with ranges seen on real pictures.

Convolutions and what lies between them work on 8-bit integers. Weights are symmetric, one scale for each output
channel; activations are asymmetric, one scale for each tensor, from the smallest to the largest value seen. What was
tried, and what the choices below rest on, is in docs/decisions/int8.md.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from convert.errors import needing
from convert.pictures import Pictures, Progress
from engine.model.folder import sha256_of
from engine.model.onnx_runtime import import_onnxruntime

INT8 = "int8"
EXPORTER = "onnxruntime.quantization"
_QUANTISED = ("Conv", "Add", "Relu", "MaxPool", "AveragePool", "MatMul", "Gemm", "Mul", "Concat")
"""The kinds of nodes that become int8. Cast, Div and Transpose at the input stay as they are, and so do the average,
sigmoid or softmax at the end: they cost nothing, and the scores come out of them."""


class Quantised(NamedTuple):
    """The int8 file that was written.

    Attributes:
        sha256: of the file, in hex.
        calibration: for the manifest: how, and on how many pictures.
        runtime: the version of the ONNX Runtime that made it.
    """

    sha256: str
    calibration: dict[str, Any]
    runtime: str


def quantise(
    fp32: Path, target: Path, pictures: Pictures, progress: Progress = lambda what, done, of: None
) -> Quantised:
    """Writes the int8 file `target`; its input and output are those of the file `fp32`.

    The pictures go through the model one at a time, and of each only the ranges of the values are kept. The folder of
    `fp32` takes files in between.

    Raises:
        ConvertError: there is no ONNX Runtime, or no picture could be read.
    """
    with needing("int8"):
        from onnxruntime import quantization as ort
    onnxruntime = import_onnxruntime()
    reader = _Reader(pictures, progress)
    with _quiet():
        ort.quantize_static(
            fp32,
            target,
            reader,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            per_channel=True,
            # Without VNNI, the sum of two 8-bit products overflows 16 bits; 7-bit weights avoid it on every CPU.
            reduce_range=True,
            calibrate_method=ort.CalibrationMethod.MinMax,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_exclude=_kept_float(fp32),
            # The last product's results are logits: 8 bits of them would leave some hundred different scores.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    calibration = {"method": "minmax", "pictures": reader.given, "skipped": pictures.skipped}
    return Quantised(sha256_of(target), calibration, onnxruntime.__version__)


def _kept_float(path: Path) -> list[str]:
    """The first convolution: it costs a hundredth of the whole, and an error in it goes through all the others."""
    nodes = onnx.load(path).graph.node
    return [node.name for node in nodes if node.op_type == "Conv"][:1]


class _Reader:
    """Gives quantize_static the pictures, as an `onnxruntime.quantization.CalibrationDataReader` does."""

    def __init__(self, pictures: Pictures, progress: Progress) -> None:
        self.given = 0
        self._pictures, self._count = iter(pictures), min(pictures.count, len(pictures.files))
        self._progress = progress

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        picture = next(self._pictures, None)
        if picture is None:
            self._progress("int8: quantising", 0, 0)
            return None
        self.given += 1
        self._progress("int8: looking at pictures", self.given, self._count)
        return {"pixels": np.asarray(picture.row)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences quantize_static's advice to fuse the graph first, given through the root logger: nothing is left to."""
    root, silent = logging.getLogger(), logging.NullHandler()
    before = root.manager.disable
    root.addHandler(silent)  # else the first warning would set up a handler for the whole process
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(silent)
