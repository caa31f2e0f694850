"""Counts the operations of an ONNX model from its nodes and their shapes."""

import math
from pathlib import Path

import onnx

FLOP_A_MAC = 2
GIGA = 1e9
SMALL = 64
"""An initializer with no more values than this may be a shape or axes, whose content matters."""


def gflop(path: Path) -> float:
    """GFLOP (10^9 floating point operations, two a multiply-add) for one picture; convolutions and products only.

    What is left out (activations, additions, pooling) is below 1 % in a ResNet.
    """
    model = onnx.load(path, load_external_data=False)
    for value in model.graph.input:
        first = value.type.tensor_type.shape.dim[0]
        first.ClearField("dim_param")
        first.dim_value = 1
    _drop_weights(model)
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {w.name: list(w.dims) for w in graph.initializer}
    return FLOP_A_MAC * sum(_macs(node, shapes) for node in graph.node) / GIGA


def _drop_weights(model: onnx.ModelProto) -> None:
    """Turn large weights into inputs of the same shape: only shapes matter, and a gigabyte need not be copied."""
    kept = [w for w in model.graph.initializer if math.prod(w.dims) <= SMALL]
    for w in model.graph.initializer:
        if math.prod(w.dims) > SMALL:
            model.graph.input.append(onnx.helper.make_tensor_value_info(w.name, w.data_type, list(w.dims)))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _macs(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """Multiply-adds of a node: outputs times what is summed for each of them."""
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        weight = shapes[node.input[3 if node.op_type == "QLinearConv" else 1]]
        return math.prod(shapes[node.output[0]]) * math.prod(weight[1:])
    if node.op_type == "MatMul":
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else 1]
    return 0
