"""`python -m convert.onnx.tf2onnx_child MODEL OUT DTYPE HEIGHT WIDTH OPSET WHITE`: runs tf2onnx.

It loads TensorFlow. The model takes pixels of DTYPE, in which white is WHITE.
"""

import sys

import onnx


def main(source: str, target: str, dtype: str, height: int, width: int, opset: int, white: int) -> None:
    """Converts a Keras file through tf2onnx, with the same input and output as a direct export."""
    import tensorflow as tf
    import tf2onnx
    import tf_keras

    try:
        model = tf_keras.models.load_model(source, compile=False)
    except (TypeError, ValueError):  # written by Keras 3
        model = tf.keras.models.load_model(source, compile=False)

    @tf.function(input_signature=[tf.TensorSpec([None, height, width, 3], dtype, name="pixels")])
    def score(pixels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - TensorFlow has no types
        scores = model(tf.cast(pixels, tf.float32) / float(white), training=False)
        return tf.identity(tf.cast(scores, tf.float32), name="scores")

    converted, _ = tf2onnx.convert.from_function(score, score.input_signature, opset=opset)
    graph = converted.graph
    _rename(graph, graph.input[0].name, "pixels")
    _rename(graph, graph.output[0].name, "scores")
    for end in (graph.input[0], graph.output[0]):
        end.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(converted, target)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for end in (*graph.input, *graph.output):
        end.name = new if end.name == old else end.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[4:8]))
