"""Keras' activation functions as ONNX nodes."""

from convert.errors import UnknownLayer
from convert.onnx.builder import GraphBuilder, Value, onnx_axis

IN_UNIT_RANGE = ("sigmoid", "softmax", "hard_sigmoid")
"""Activations whose results are scores in 0..1."""
_ONE_NODE = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "elu": "Elu",
    "selu": "Selu",
    "exponential": "Exp",
}


def activate(graph: GraphBuilder, x: Value, name: str, keras: int) -> Value:
    """Applies the activation that Keras `keras` (2 or 3) calls `name`."""
    if name == "linear":
        return x
    if name in _ONE_NODE:
        return graph.op(_ONE_NODE[name], [x.name], x.shape)
    if name == "relu6":
        return clip(graph, graph.op("Relu", [x.name], x.shape), 6.0)
    if name == "softmax":
        return softmax(graph, x, axis=-1)
    if name in ("swish", "silu"):
        return graph.op("Mul", [x.name, graph.op("Sigmoid", [x.name], x.shape).name], x.shape)
    if name == "hard_sigmoid":
        # Keras 2 computes clip(0.2 x + 0.5), Keras 3 relu6(x + 3) / 6.
        return graph.op("HardSigmoid", [x.name], x.shape, alpha=0.2 if keras == 2 else 1 / 6, beta=0.5)
    raise UnknownLayer(f"layer {graph.scope}: the activation {name} is not known.")


def clip(graph: GraphBuilder, x: Value, most: float) -> Value:
    """min(x, most)."""
    return graph.op("Min", [x.name, graph.scalar("most", most)], x.shape)


def softmax(graph: GraphBuilder, x: Value, axis: int) -> Value:
    """Softmax over `axis` of Keras' layout, N included."""
    return graph.op("Softmax", [x.name], x.shape, axis=onnx_axis(axis, len(x.shape) + 1))
