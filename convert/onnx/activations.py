"""Keras' activation functions as ONNX nodes."""

from convert.errors import UnknownLayer
from convert.onnx.builder import GraphBuilder, Value

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


def activate(to: GraphBuilder, x: Value, name: str, keras: int) -> Value:
    """Applies the activation that Keras `keras` (2 or 3) calls `name`."""
    if name == "linear":
        return x
    if name in _ONE_NODE:
        return to.op(_ONE_NODE[name], [x.name], x.shape)
    if name == "relu6":
        return clip(to, to.op("Relu", [x.name], x.shape), 6.0)
    if name == "softmax":
        return softmax(to, x, axis=-1)
    if name in ("swish", "silu"):
        return to.op("Mul", [x.name, to.op("Sigmoid", [x.name], x.shape).name], x.shape)
    if name == "hard_sigmoid":
        # Keras 2 computes clip(0.2 x + 0.5), Keras 3 relu6(x + 3) / 6.
        return to.op("HardSigmoid", [x.name], x.shape, alpha=0.2 if keras == 2 else 1 / 6, beta=0.5)
    raise UnknownLayer(f"layer {to.scope}: the activation {name} is not known.")


def clip(to: GraphBuilder, x: Value, most: float) -> Value:
    """min(x, most)."""
    return to.op("Min", [x.name, to.scalar("most", most)], x.shape)


def softmax(to: GraphBuilder, x: Value, axis: int) -> Value:
    """Softmax over `axis` of Keras' layout, N included."""
    return to.op("Softmax", [x.name], x.shape, axis=onnx_axis(axis, len(x.shape) + 1))


def onnx_axis(axis: int, rank: int) -> int:
    """An axis of Keras' NHWC in ONNX' NCHW, N included; ranks other than 4 are laid out alike."""
    axis = axis % rank
    return axis if rank != 4 else (0, 2, 3, 1)[axis]
