"""Writes an ONNX file whose weights are made one at a time.

`onnx.save` wants the whole model in memory, twice: 1.3 GB for the full-size model. A weight's size is known before its
values are, so the lengths that protobuf puts before each message can be written first and the values streamed after.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from convert.errors import ConvertError

OPSET = 17
_IR_VERSION = 8  # the one that came with opset 17
_LIMIT = (2 << 30) - 1  # bytes of one protobuf message
_MODEL_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_GRAPH_INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_TENSOR_RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant of the graph, made when it is written.

    Attributes:
        name: as nodes refer to it.
        shape: in ONNX' layout.
        dtype: float32, float16 or int64.
        load: makes it; its result is converted to `dtype`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], npt.NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_onnx(path: Path, graph: onnx.GraphProto, weights: Sequence[Weight]) -> str:
    """Writes `graph`, which holds no weights itself, with `weights`; returns the file's SHA-256 in hex.

    Raises ConvertError if the file would be over 2 GB or a value does not fit its dtype.
    """
    model = onnx.ModelProto(ir_version=_IR_VERSION, producer_name="deepdanbooru-engine")
    model.opset_import.add(version=OPSET)
    nodes = graph.SerializeToString(deterministic=True)
    size = len(nodes) + sum(len(_head(weight)) + weight.nbytes for weight in weights)
    if size > _LIMIT:
        raise ConvertError(f"{path.name} would have {size / 1e9:.1f} GB and ONNX allows 2.1: try --precision fp16.")
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in _parts(model, nodes, weights, size):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _parts(model: onnx.ModelProto, nodes: bytes, weights: Sequence[Weight], size: int) -> Iterator[bytes | memoryview]:
    """The bytes of the file, in order."""
    yield model.SerializeToString(deterministic=True) + _prefix(_MODEL_GRAPH, size) + nodes
    for weight in weights:
        yield _head(weight)
        yield _values(weight).view(np.uint8).data


def _head(weight: Weight) -> bytes:
    """All of an initializer's bytes but its values, which come last."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(weight.dtype)
    proto = onnx.TensorProto(name=weight.name, dims=weight.shape, data_type=kind)
    tensor: bytes = proto.SerializeToString(deterministic=True) + _prefix(_TENSOR_RAW_DATA, weight.nbytes)
    return _prefix(_GRAPH_INITIALIZER, len(tensor) + weight.nbytes) + tensor


def _values(weight: Weight) -> npt.NDArray[Any]:
    made = weight.load()
    with np.errstate(over="ignore"):  # said below, in a sentence
        values = np.asarray(made, dtype=weight.dtype.newbyteorder("<"), order="C")
    if values.shape != weight.shape:
        raise AssertionError(f"{weight.name}: promised {weight.shape}, made {values.shape}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ConvertError(f"{weight.name} does not fit in {weight.dtype}: use --precision fp32.")
    return values.reshape(-1)


def _prefix(field: int, length: int) -> bytes:
    """Key and length of a length-delimited field (protobuf wire format, wire type 2)."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    """Base 128, least significant group first, the top bit set on all groups but the last."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
