"""The average before the last product, and the vector between them: against numpy, and where it is not done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest

from bench.full_model import Network as KerasNetwork
from bench.full_model import write_h5
from convert.cli import main
from convert.keras.network import Layer, Network
from convert.onnx.head import averaged_first
from engine.model.folder import open_model
from tests.convert.projects import MODELS, TAGS, make_project, model_of, outputs

pytestmark = pytest.mark.usefixtures("no_child_process")
SIDE = 8
ROWS = np.random.default_rng(0).integers(0, 65281, (5, SIDE, SIDE, 3), np.uint16)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logits)))


def head_alone(folder: Path, keepdims: bool) -> tuple[Path, np.ndarray, np.ndarray]:
    """A project whose model is a head with bias directly on the pixels; its kernel [3, tags] and bias [tags]."""
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(0, 2, (3, TAGS)).astype(np.float32), rng.normal(0, 1, TAGS).astype(np.float32)
    net = KerasNetwork(SIDE)
    x = net.add("InputLayer", [], "image", batch_input_shape=[None, SIDE, SIDE, 3])
    settings = {"filters": TAGS, "kernel_size": [1, 1], "strides": [1, 1], "dilation_rate": [1, 1]}
    x = net.add("Conv2D", [x], "head", use_bias=True, padding="same", activation="linear", **settings)
    net.weights[x] = [("kernel:0", kernel[None, None]), ("bias:0", bias)]
    x = net.add("GlobalAveragePooling2D", [x], data_format="channels_last", keepdims=keepdims)
    x = net.add("Flatten", [x]) if keepdims else x
    x = net.add("Activation", [x], activation="sigmoid")
    write_h5(folder.with_suffix(".h5"), net, net.config(x))
    return make_project(folder, folder.with_suffix(".h5"), size=(SIDE, SIDE)), kernel, bias


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("fp16", 5e-3)])
def test_scores_and_features_are_those_of_numpy(
    keepdims: bool, precision: str, tolerance: float, tmp_path: Path
) -> None:
    project, kernel, bias = head_alone(tmp_path / "project", keepdims)
    assert main([str(project), str(tmp_path / "out"), "--precision", precision]) == 0
    file = tmp_path / "out" / f"model.{precision}.onnx"
    onnx.checker.check_model(file, full_check=True)
    assert [node.op_type for node in onnx.load(file).graph.node if node.op_type in ("Conv", "Gemm")] == ["Gemm"]
    assert open_model(tmp_path / "out").features == 3
    found = outputs(file, ROWS)
    expected = (ROWS / np.float64(65280)).mean(axis=(1, 2))
    assert list(found) == ["scores", "features"]
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert np.abs(found["features"] - expected).max() < tolerance
    assert np.abs(found["scores"] - sigmoid(expected @ kernel + bias)).max() < tolerance


@pytest.mark.parametrize(
    ("name", "size", "features"),
    [
        ("tf2.10-v1", 64, 64),
        ("tf2.10-v2", 64, 32),
        ("tf2.10-v4", 64, 32),
        ("tf2.10-152", 128, 32),  # average pool, flatten, dense: that vector is the pooled one
        ("tf2.10-longterm", 32, 32),
        ("tf2.10-se", 32, 32),
        ("tf2.10-zoo", (37, 50), None),  # the last product takes no pooled vector
        ("tf2.10-sequential", (37, 50), None),
    ],
)
def test_which_models_have_features(
    name: str, size: int | tuple[int, int], features: int | None, tmp_path: Path
) -> None:
    height, width = size if isinstance(size, tuple) else (size, size)
    project = make_project(tmp_path / "project", MODELS / f"{name}.h5", size=(height, width))
    assert main([str(project), str(tmp_path / "out")]) == 0
    model = open_model(tmp_path / "out")
    assert model.features == features
    rows = np.random.default_rng(0).integers(0, 65281, (3, height, width, 3), np.uint16)
    found = outputs(model.precisions["fp32"].file, rows)
    if features is None:
        assert list(found) == ["scores"]
        return
    assert found["features"].shape == (3, features)
    if "152" not in name:
        kernels: list[np.ndarray] = []

        def keep(_: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset) and item.shape[-1:] == (TAGS,):
                kernels.append(item[()])

        with h5py.File(model_of(project)) as h5:
            h5.visititems(keep)
        [kernel] = kernels
        assert np.abs(found["scores"] - sigmoid(found["features"] @ kernel[0, 0])).max() < 1e-5


def as_it_should_be(conv: dict[str, Any]) -> None: ...


def strided(conv: dict[str, Any]) -> None:
    conv["strides"] = [2, 2]


def three_wide(conv: dict[str, Any]) -> None:
    conv["kernel_size"] = [3, 3]


def not_linear(conv: dict[str, Any]) -> None:
    conv["activation"] = "relu"


def grouped(conv: dict[str, Any]) -> None:
    conv["groups"] = 3


@pytest.mark.parametrize(
    ("change", "pool", "consumers", "moved"),
    [
        (as_it_should_be, "GlobalAveragePooling2D", 1, {"head"}),
        (as_it_should_be, "GlobalMaxPooling2D", 1, set()),
        (as_it_should_be, "GlobalAveragePooling2D", 2, set()),
        (strided, "GlobalAveragePooling2D", 1, set()),
        (three_wide, "GlobalAveragePooling2D", 1, set()),
        (not_linear, "GlobalAveragePooling2D", 1, set()),
        (grouped, "GlobalAveragePooling2D", 1, set()),
    ],
)
def test_only_what_is_linear_and_goes_nowhere_else_is_moved(
    change: Callable[[dict[str, Any]], None], pool: str, consumers: int, moved: set[str]
) -> None:
    conv: dict[str, Any] = {"filters": 3, "kernel_size": [1, 1], "strides": [1, 1], "activation": "linear"}
    change(conv)
    layers = [Layer("image", "InputLayer", {}, ()), Layer("head", "Conv2D", conv, ("image",))]
    layers += [Layer(f"pool_{i}", pool, {}, ("head",)) for i in range(consumers)]
    assert averaged_first(Network(tuple(layers), "pool_0")) == moved
