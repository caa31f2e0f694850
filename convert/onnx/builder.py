"""The ONNX graph under construction: nodes, weights, and what it will cost to run.

Inside the graph pictures are NCHW, as ONNX has them; Keras' are NHWC.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from convert.onnx.writer import Weight


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph.

    Attributes:
        name: as nodes refer to it.
        shape: for one picture: (features,) or (channels, height, width). The batch axis N comes before it.
    """

    name: str
    shape: tuple[int, ...]


@dataclass
class GraphBuilder:
    """Collects nodes and weights.

    Attributes:
        dtype: the floating-point type of all weights: float32 or float16.
        scope: the Keras layer being translated; names of nodes and weights begin with it.
        macs: multiply-accumulates of the convolutions and matrix products for one picture.
    """

    dtype: np.dtype[Any]
    scope: str = ""
    macs: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    _used: Counter[str] = field(default_factory=Counter)

    def op(
        self,
        kind: str,
        inputs: Sequence[str],
        shape: tuple[int, ...],
        **attributes: Any,  # noqa: ANN401 - numbers, lists
    ) -> Value:
        """Adds a node with one output; `shape` is the output's, for one picture."""
        name = self._unique(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return Value(name, shape)

    def weight(self, kind: str, shape: tuple[int, ...], load: Callable[[], npt.NDArray[Any]]) -> str:
        """Adds a floating-point constant that is made when the file is written; returns its name."""
        name = self._unique(kind)
        self.weights.append(Weight(name, shape, self.dtype, load))
        return name

    def scalar(self, kind: str, value: float) -> str:
        """Adds a floating-point scalar."""
        return self.weight(kind, (), lambda: np.asarray(value))

    def indices(self, kind: str, values: Sequence[int]) -> str:
        """Adds an int64 vector: shapes, pads."""
        name = self._unique(kind)
        self.weights.append(Weight(name, (len(values),), np.dtype(np.int64), lambda: np.asarray(values, np.int64)))
        return name

    def cast(self, x: Value, dtype: npt.DTypeLike) -> Value:
        """Converts `x` to another type."""
        return self.op("Cast", [x.name], x.shape, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def transpose(self, x: Value, axes: tuple[int, ...]) -> Value:
        """Permutes the axes of one picture, counted from 0 without N."""
        shape = tuple(x.shape[axis] for axis in axes)
        return self.op("Transpose", [x.name], shape, perm=[0, *(axis + 1 for axis in axes)])

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        """Gives one picture another shape; N stays as it is."""
        if math.prod(x.shape) != math.prod(shape):
            raise ValueError(f"cannot reshape {x.shape} to {shape}")
        # 0 copies the axis from the input: N.
        return self.op("Reshape", [x.name, self.indices("shape", [0, *shape])], shape)

    def _unique(self, kind: str) -> str:
        name = f"{self.scope}/{kind}"
        self._used[name] += 1
        return name if self._used[name] == 1 else f"{name}_{self._used[name]}"


def onnx_axis(axis: int, rank: int) -> int:
    """An axis of Keras' NHWC in ONNX' NCHW, N included; ranks other than 4 are laid out alike."""
    axis = axis % rank
    return axis if rank != 4 else (0, 2, 3, 1)[axis]
