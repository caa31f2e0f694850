"""Exports an open Keras model directly: its layers become an ONNX graph with the engine's input and output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from convert.errors import ConvertError, UnknownLayer
from convert.keras.h5 import KerasModel
from convert.keras.network import Layer, Network, declared_input
from convert.onnx.activations import IN_UNIT_RANGE
from convert.onnx.builder import GraphBuilder, Value
from convert.onnx.fold import foldable
from convert.onnx.head import add_features, averaged_first
from convert.onnx.layers import LAYERS
from convert.onnx.translation import Translation
from convert.onnx.writer import Weight, write_onnx
from engine.types import WHITE, Preprocessing

PRECISIONS: dict[str, type[np.floating[Any]]] = {"fp32": np.float32, "fp16": np.float16}
"""The precisions that can be exported directly, and the type of their weights."""
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Export:
    """A model ready to be written.

    Attributes:
        exporter: what made it: `direct` (this module) or `tf2onnx` (`convert.onnx.fallback`).
        outputs: how many scores a picture has; None if that is known only when it is written.
        features: how long the feature vector of a picture is; None if the file gives none.
        layers: Keras layers it was made from.
        parameters: weights, counted as Keras does.
        gflop: billions of floating-point operations a picture (two for each multiply-accumulate); None if unknown.
        write: writes the ONNX file, returns its SHA-256; weights are loaded only now.
    """

    exporter: str
    outputs: int | None
    features: int | None
    layers: int
    parameters: int
    gflop: float | None
    write: Callable[[Path], str]


def export(model: KerasModel, network: Network, rows: Preprocessing, precision: str) -> Export:
    """Translates `network` for the rows that the engine makes of pictures.

    The graph takes `pixels`, [N, height, width, 3] RGB of the rows' dtype, and gives `scores`, float32 [N, outputs],
    and where there is such a thing (`head.add_features`) `features`, float32 [N, features].
    Under fp16 everything between the division by white and the last activation is float16.
    """
    with _naming(model.path):
        _check_scores(network)
    graph = GraphBuilder(np.dtype(PRECISIONS[precision]))
    to = Translation(model, graph, foldable(network), averaged_first(network), network.output)
    values: dict[str, Value] = {}
    for layer in network.layers:
        graph.scope = layer.name
        with _naming(model.path):
            values[layer.name] = _translated(layer, [values[name] for name in layer.inputs], to, rows)
    scores = to.widen(network.layers[-1], values[network.output])
    if len(scores.shape) != 1:
        raise ConvertError(f"{model.path}: the model gives {scores.shape} for a picture, not one score for each tag.")
    features = add_features(graph, scores)
    return Export(
        exporter="direct",
        outputs=scores.shape[0],
        features=features.shape[0] if features else None,
        layers=len(network.layers),
        parameters=to.parameters,
        gflop=2e-9 * graph.macs,
        write=partial(write_onnx, graph=_closed(graph, scores, features, rows), weights=graph.weights),
    )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the file to errors about a layer, which do not know it."""
    try:
        yield
    except ConvertError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def _translated(layer: Layer, inputs: list[Value], to: Translation, rows: Preprocessing) -> Value:
    if layer.kind == "InputLayer":
        return _preprocessed(to.graph, layer, rows)
    if layer.kind not in LAYERS:
        raise UnknownLayer(f"layer {layer.name} is a {layer.kind}, which the direct conversion does not know.")
    return LAYERS[layer.kind](layer, inputs, to)


def _preprocessed(graph: GraphBuilder, layer: Layer, rows: Preprocessing) -> Value:
    """pixels -> the model's own input, NCHW in 0..1."""
    declared = declared_input(layer.config)
    given = (rows.height, rows.width, _CHANNELS)
    if len(declared) != 4 or any(side not in (None, ours) for side, ours in zip(declared[1:], given, strict=True)):
        shown = "x".join(str(side) for side in declared[1:])
        raise ConvertError(
            f"the model takes {shown} (height, width, channels) and project.json says "
            f"{rows.height}x{rows.width}x{_CHANNELS}: set image_height and image_width of project.json to the model's."
        )
    pixels = graph.cast(Value("pixels", given), np.float32)
    white = WHITE[rows.dtype]
    graph.weights.append(Weight(str(white), (), np.dtype(np.float32), lambda: np.asarray(white)))
    unit = graph.transpose(graph.op("Div", [pixels.name, str(white)], given), (2, 0, 1))
    return unit if graph.dtype == np.float32 else graph.cast(unit, graph.dtype)


def _check_scores(network: Network) -> None:
    """Scores must be in 0..1: the last layer that changes values is a sigmoid or softmax."""
    layers = {layer.name: layer for layer in network.layers}
    last = layers[network.output]
    while last.kind in ("Dropout", "Flatten", "Reshape", "GlobalAveragePooling2D", "GlobalMaxPooling2D"):
        last = layers[last.inputs[0]]
    if last.kind != "Softmax" and last.activation not in IN_UNIT_RANGE:
        raise ConvertError(
            f"layer {last.name} ({last.kind}) ends the model, whose scores must be in 0..1: end it with a sigmoid."
        )


def _closed(graph: GraphBuilder, scores: Value, features: Value | None, rows: Preprocessing) -> onnx.GraphProto:
    """The graph with its input and outputs declared, the scores first; it holds no weights."""
    outputs = {"scores": scores} | ({"features": features} if features else {})
    names = {value.name: name for name, value in outputs.items()}
    for node in graph.nodes:
        node.output[0] = names.get(node.output[0], node.output[0])
    pixels = helper.make_tensor_value_info(
        "pixels", helper.np_dtype_to_tensor_dtype(np.dtype(rows.dtype)), ["N", rows.height, rows.width, _CHANNELS]
    )
    results = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *value.shape]) for name, value in outputs.items()
    ]
    return helper.make_graph(graph.nodes, "deepdanbooru", [pixels], results)
