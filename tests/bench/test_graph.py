"""Operations of a graph, against a count by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bench.estimate import estimate, sentence
from bench.graph import gflop
from engine.model.folder import open_model


def weights(name: str, *shape: int) -> TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, shape, np.zeros(shape, np.float32).tobytes(), raw=True)


def save(path: Path, nodes, initializers, shape, output) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_a_convolution_and_a_product(tmp_path: Path) -> None:
    """10 x 8 with 3 channels, 3x3/2 with padding to 5 filters in two groups... by hand, for one picture."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1], group=2),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "m"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, [weights("w", 6, 2, 3, 3), weights("m", 6, 70)], ["n", 4, 10, 8], ["n", 70])
    convolution = 6 * 5 * 4 * (2 * 3 * 3)  # outputs 6 x 5 x 4, each summed over 2 channels of 3x3
    assert gflop(path) == pytest.approx(2 * (convolution + 6 * 70) / 1e9)


def test_a_converted_model_costs_what_its_layers_cost(tiny_model: Path) -> None:
    """The graph of a real model folder: found by walking the ONNX Runtime shapes instead of inferring them."""
    file = open_model(tiny_model).precision(None).file
    model = onnx.load(file)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.value_info}
    kernels = {w.name: list(w.dims) for w in model.graph.initializer}
    convolutions = sum(
        int(np.prod(shapes[node.output[0]][1:])) * int(np.prod(kernels[node.input[1]][1:]))
        for node in inferred.node
        if node.op_type == "Conv"
    )
    [head] = [int(np.prod(kernels[node.input[1]])) for node in inferred.node if node.op_type == "Gemm"]
    assert convolutions > 0
    assert gflop(file) == pytest.approx(2 * (convolutions + head) / 1e9)


def test_the_estimate_for_the_card_of_the_first_user() -> None:
    rows = {(row["card"], row["precision"]): row for row in estimate(93.1)["rows"]}
    row = rows["GTX 1650", "fp32"]
    assert row["sentence"] == "GTX 1650: fp32 11-22 images/s, 12,000 pictures in 9-18 min"
    assert ("GTX 1650", "fp16") not in rows  # is probed on the device, never promised
    assert all(row["source"] for row in rows.values())


def test_a_measured_efficiency_gives_one_figure() -> None:
    row = next(r for r in estimate(93.1, (0.5, 0.5))["rows"] if r["card"] == "GTX 1650")
    assert row["images_per_second"] == [16.0, 16.0]
    assert sentence("X", "fp32", 2.0, 4.0, 600) == "X: fp32 2.0-4.0 images/s, 600 pictures in 2.5-5.0 min"
