"""The streamed file is what onnx itself would have written."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from convert.errors import ConvertError
from convert.onnx.writer import Weight, write_onnx

GRAPH = helper.make_graph(
    [helper.make_node("Identity", ["x"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
)
SHAPES = st.lists(st.lists(st.integers(0, 40), max_size=3).map(tuple), max_size=4)


@given(shapes=SHAPES, dtype=st.sampled_from(["float32", "float16", "int64"]))
@settings(max_examples=40, deadline=None)
def test_onnx_reads_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, ...]], dtype: str
) -> None:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    arrays = [np.random.RandomState(i).normal(0, 9, shape).astype(dtype) for i, shape in enumerate(shapes)]
    weights = [Weight(f"w{i}", a.shape, a.dtype, lambda a=a: a) for i, a in enumerate(arrays)]  # type: ignore[misc]
    digest = write_onnx(path, GRAPH, weights)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    model = onnx.load(path)
    assert [node.op_type for node in model.graph.node] == ["Identity"]
    for tensor, array in zip(model.graph.initializer, arrays, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), array)


def test_two_gigabytes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    def never() -> np.ndarray:
        raise AssertionError("nothing may be loaded")

    weights = [Weight("w", (1 << 15, 1 << 14), np.dtype(np.float32), never)]
    with pytest.raises(ConvertError, match="try --precision fp16"):
        write_onnx(tmp_path / "model.onnx", GRAPH, weights)
    assert not (tmp_path / "model.onnx").exists()
