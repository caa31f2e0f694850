"""The feature vector of an ONNX tagger: found by the graph, given as a second output, or said to be missing."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from convert.cli import main
from convert.taggers.features import Vector, find_features
from engine.model.folder import open_model
from tests.support.taggers import write_tagger

SIZE, TAGS = 6, 4
RANDOM = np.random.default_rng(3)
WEIGHT = RANDOM.standard_normal((SIZE, TAGS)).astype(np.float32)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo's converted model is kept for `write_tagger`."""
    return tmp_path_factory.mktemp("demo") / "model"


def graph(*nodes: onnx.NodeProto, **weights: np.ndarray) -> onnx.GraphProto:
    """A network from `vector` to `scores`."""
    return helper.make_graph(
        list(nodes),
        "tagger",
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", TAGS])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )


node = helper.make_node
SIGMOID = node("Sigmoid", ["logits"], ["scores"])
ENDS: dict[str, tuple[onnx.GraphProto, Vector | None]] = {
    "PyTorch's, its weight transposed": (
        graph(node("Gemm", ["vector", "w", "b"], ["logits"], transB=1), SIGMOID, w=WEIGHT.T.copy(), b=WEIGHT[0]),
        Vector("vector", SIZE),
    ),
    "as it is": (graph(node("Gemm", ["vector", "w"], ["logits"]), SIGMOID, w=WEIGHT), Vector("vector", SIZE)),
    "TensorFlow's, with a bias": (
        graph(
            node("MatMul", ["vector", "w"], ["product"]),
            node("Add", ["product", "b"], ["logits"]),
            node("Cast", ["logits"], ["cast"], to=TensorProto.FLOAT),
            node("Sigmoid", ["cast"], ["scores"]),
            w=WEIGHT,
            b=WEIGHT[0],
        ),
        Vector("vector", SIZE),
    ),
    "the weight is a constant node": (
        graph(
            node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT)),
            node("MatMul", ["vector", "w"], ["logits"]),
            SIGMOID,
        ),
        Vector("vector", SIZE),
    ),
    "two branches are added": (
        graph(
            node("MatMul", ["vector", "w"], ["one"]),
            node("MatMul", ["vector", "v"], ["two"]),
            node("Add", ["one", "two"], ["logits"]),
            SIGMOID,
            w=WEIGHT,
            v=WEIGHT,
        ),
        None,
    ),
    "axes are taken away after the product": (
        graph(
            node("MatMul", ["vector", "w"], ["product"]),
            node("GlobalAveragePool", ["product"], ["logits"]),
            SIGMOID,
            w=WEIGHT,
        ),
        None,
    ),
    "the weight is computed": (
        graph(
            node("Identity", ["v"], ["w"]),
            node("MatMul", ["vector", "w"], ["logits"]),
            SIGMOID,
            v=WEIGHT,
        ),
        None,
    ),
    "no product": (graph(node("Sigmoid", ["vector"], ["scores"])), None),
    "the data are transposed": (
        graph(node("Gemm", ["vector", "w"], ["logits"], transA=1), SIGMOID, w=WEIGHT),
        None,
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_the_last_product_takes(name: str) -> None:
    found, expected = ENDS[name]
    assert find_features(found, "scores") == expected


CHANGES: dict[str, dict[str, Any]] = {
    "scores": {},
    "logits": {"logits": True},
    "weights beside it": {"external": True},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_tagger_gives_its_features(name: str, demo: Path, tmp_path: Path) -> None:
    tagger = write_tagger(tmp_path / "tagger", demo, **CHANGES[name])
    flags = ["--logits"] if "logits" in CHANGES[name] else []
    assert main([str(tagger), str(tmp_path / "model"), *flags]) == 0
    model = open_model(tmp_path / "model")
    assert model.features == open_model(demo).features
    pixels = RANDOM.integers(0, 256, (3, 128, 128, 3)).astype(model.preprocessing.dtype)
    session = onnxruntime.InferenceSession(model.precision("fp32").file, providers=["CPUExecutionProvider"])
    scores, features = session.run(["scores", "features"], {"pixels": pixels})
    assert features.shape == (3, model.features) and features.dtype == np.float32
    logits = features @ last_weight(model.precision("fp32").file, model.features)
    tags = np.sort(1 / (1 + np.exp(-logits)), axis=1)
    assert np.abs(tags - np.sort(scores, axis=1)).max() < 1e-5  # the scores are these features times the weight


def last_weight(file: Path, size: int | None) -> np.ndarray:
    """[size, tags]: the weight of the model's only product."""
    model = onnx.load(file)
    [product] = [one for one in model.graph.node if one.op_type in ("Gemm", "MatMul")]
    [weight] = [one for one in model.graph.initializer if one.name == product.input[1]]
    found = numpy_helper.to_array(weight)
    return found if found.shape[0] == size else found.T


def test_a_value_called_features_already(demo: Path, tmp_path: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        name = model.graph.node[0].output[0]
        for one in model.graph.node:
            for ends in (one.input, one.output):
                for i, end in enumerate(ends):
                    ends[i] = "features" if end == name else end

    tagger = write_tagger(tmp_path / "tagger", demo, change=rename)
    assert main([str(tagger), str(tmp_path / "model")]) == 0
    assert open_model(tmp_path / "model").features == open_model(demo).features


def end_in_two_branches(model: onnx.ModelProto) -> None:
    """The scores are half of one product and half of the same again, so there is no last one."""
    last = next(one for one in model.graph.node if one.op_type == "Sigmoid")
    again = helper.make_node("Identity", [last.input[0]], ["again"])
    added = helper.make_node("Add", [last.input[0], "again"], ["added"])
    last.input[0] = "added"
    place = list(model.graph.node).index(last)
    model.graph.node.insert(place, added)
    model.graph.node.insert(place, again)


def test_a_tagger_without(demo: Path, tmp_path: Path, capsys: Any) -> None:
    tagger = write_tagger(tmp_path / "tagger", demo, change=end_in_two_branches)
    assert main([str(tagger), str(tmp_path / "model")]) == 0
    assert "no features" in capsys.readouterr().out
    assert open_model(tmp_path / "model").features is None
    written = onnx.load(tmp_path / "model" / "model.fp32.onnx")
    assert [output.name for output in written.graph.output] == ["scores"]
