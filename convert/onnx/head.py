"""The end of a network: the average goes before the last product, and what that product takes is the features.

DeepDanbooru's ResNets end in a 1x1 convolution to the tags and global average pooling. Both are linear: for the
positions p of a picture, mean over p of (W x_p + b) = W (mean over p of x_p) + b, exact but for rounding. With the
average first, the product is computed once instead of at each position (16 of them at 512 x 512), and the vector it
takes describes the whole picture.
"""

import numpy as np

from convert.keras.network import Network
from convert.onnx.builder import GraphBuilder, Value
from convert.onnx.geometry import pair

_AFTER_THE_PRODUCT = ("Cast", "Reshape", "Sigmoid", "HardSigmoid", "Softmax")
_FLATTENED = ("Flatten", "Reshape")
_POOLED = ("GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool")


def averaged_first(network: Network) -> frozenset[str]:
    """The convolutions that only a global average pooling takes from and that can come after it, by name."""
    layers = {layer.name: layer for layer in network.layers}
    consumers = network.consumers()
    averaged = [layers[pool.inputs[0]] for pool in network.layers if pool.kind == "GlobalAveragePooling2D"]
    return frozenset(
        conv.name
        for conv in averaged
        if conv.kind == "Conv2D"
        and conv.activation == "linear"
        and consumers[conv.name] == 1
        and pair(conv, "kernel_size") == pair(conv, "strides") == (1, 1)
        and int(conv.config.get("groups") or 1) == 1
    )


def add_features(graph: GraphBuilder, scores: Value) -> Value | None:
    """Adds the pooled vector that the last matrix product takes, as float32; None if that product takes no such thing.

    What a pooling over the whole picture gives is flattened once more for it: in the int8 file, the vector that the
    product takes is rounded to 8 bits, and this one is not.
    """
    made_by = {node.output[0]: node for node in graph.nodes}
    product = made_by[scores.name]
    while product.op_type in _AFTER_THE_PRODUCT:
        product = made_by[product.input[0]]
    flat = made_by.get(product.input[0])
    if product.op_type != "Gemm" or flat is None or flat.op_type not in _FLATTENED:
        return None
    pooled = made_by.get(flat.input[0])
    # Where there are several positions, there is a Transpose in between: Keras flattens NHWC.
    if pooled is None or pooled.op_type not in _POOLED:
        return None
    size = next(weight.shape[0] for weight in graph.weights if weight.name == product.input[1])
    graph.scope = "features"
    vector = graph.op("Flatten", [pooled.output[0]], (size,), axis=1)
    return vector if graph.dtype == np.float32 else graph.cast(vector, np.float32)
