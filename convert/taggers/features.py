"""The feature vector of an ONNX tagger: what its last matrix product takes to compute the scores from.

It is found by the graph, backwards from the scores, through what changes neither the rows nor their number.
"""

from typing import NamedTuple

import onnx
from onnx import helper

_KEEP_THE_SHAPE = ("Cast", "Identity", "Sigmoid", "Softmax", "Clip")
_WITH_A_CONSTANT = ("Add", "Sub", "Mul", "Div")  # a bias, a temperature


class Vector(NamedTuple):
    """The value [N, size] in the graph, by its name."""

    name: str
    size: int


def find_features(graph: onnx.GraphProto, scores: str) -> Vector | None:
    """What the last `MatMul` or `Gemm` before the value `scores` [N, tags] takes; None if that is no [N, size].

    The weight says how long the vector is. All that is passed on the way keeps the number of axes, so that a product
    whose result has two takes a matrix too.
    """
    made_by = {output: node for node in graph.node for output in node.output}
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    weights |= {
        node.output[0]: list(attribute.t.dims)
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    node = made_by.get(scores)
    while node is not None and node.op_type not in ("MatMul", "Gemm"):
        before = _before(node, weights)
        node = made_by.get(before) if before else None
    if node is None:
        return None
    data, weight = node.input[:2]
    dims = weights.get(weight, [])
    said = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if len(dims) != 2 or data in weights or said.get("transA") or said.get("alpha", 1.0) == 0.0:
        return None
    return Vector(data, dims[1] if said.get("transB") else dims[0])


def _before(node: onnx.NodeProto, weights: dict[str, list[int]]) -> str | None:
    """The value that a node's result comes from row by row; None if the node may do more than that."""
    if node.op_type in _KEEP_THE_SHAPE:
        return str(node.input[0])
    if node.op_type in _WITH_A_CONSTANT:
        others = [name for name in node.input if name not in weights]
        constants = [name for name in node.input if name in weights]
        return others[0] if len(others) == 1 and all(len(weights[name]) <= 2 for name in constants) else None
    if node.op_type == "Gather":  # tags in another order
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        return node.input[0] if axis in (1, -1) and len(weights.get(node.input[1], [])) == 1 else None
    return None
