"""What the exported graph is like, and models that cannot be exported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest

from convert.cli import main
from tests.convert.projects import MODELS, edit_config, layer, make_project, model_of, pixels, scores

pytestmark = pytest.mark.usefixtures("no_child_process")


def test_the_batch_axis_is_free(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", MODELS / "tf2.10-se.h5")
    assert main([str(project), str(tmp_path / "model")]) == 0
    file, given = tmp_path / "model" / "model.fp32.onnx", pixels(5, (32, 32))
    one_by_one = np.concatenate([scores(file, row[None]) for row in given])
    assert np.abs(scores(file, given) - one_by_one).max() < 1e-6
    graph = onnx.load(file).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_batch_norm_after_convolutions_costs_nothing(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", MODELS / "tf2.7-resnet.h5")
    assert main([str(project), str(tmp_path / "model")]) == 0
    kinds = [node.op_type for node in onnx.load(tmp_path / "model" / "model.fp32.onnx").graph.node]
    assert "Mul" not in kinds
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 15
    assert kinds.count("Gemm") == 1  # the head, after the average
    assert kinds.count("Add") == 4


def test_missing_weights(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "r+") as h5:
        del h5["model_weights/conv2d_3"]
    assert "conv2d_3" in refused(project)


def test_weights_of_the_wrong_shape(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "r+") as h5:
        group = h5["model_weights/conv2d_3/conv2d_3"]
        del group["kernel:0"]
        group["kernel:0"] = np.zeros((1, 1, 2, 3), np.float32)
    assert "(1, 1, 2, 3)" in refused(project)


def test_too_large_for_float16(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "r+") as h5:
        h5["model_weights/conv2d_3/conv2d_3/kernel:0"][0, 0, 0, 0] = 1e6
    assert "use --precision fp32" in refused(project, "--precision", "fp16")


def channels_first(config: dict[str, Any]) -> None:
    layer(config, "Conv2D")["config"]["data_format"] = "channels_first"


def unknown(config: dict[str, Any]) -> None:
    layer(config, "MaxPooling2D")["class_name"] = "Lambda"


def operation(config: dict[str, Any]) -> None:
    layer(config, "Add")["module"] = "keras.src.ops.numpy"  # how Keras 3 writes `x + 1`


def escapes(config: dict[str, Any]) -> None:
    layer(config, "Add")["class_name"] = "Add\x1b[2J\ud800\n"


def logits(config: dict[str, Any]) -> None:
    config["config"]["layers"][-1]["config"]["activation"] = "linear"


def other_size(config: dict[str, Any]) -> None:
    layer(config, "InputLayer")["config"]["batch_input_shape"] = [None, 64, 64, 3]


def many_filters(config: dict[str, Any]) -> None:
    layer(config, "Conv2D")["config"]["filters"] = 10**12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (channels_first, "channels_first"),
        (unknown, "is a Lambda"),
        (operation, "is a keras.src.ops.numpy.Add"),
        (escapes, r"Add\x1b[2J\ud800\n"),
        (logits, "end it with a sigmoid"),
        (other_size, "64x64x3"),
        (many_filters, "needs weights"),
    ],
)
def test_models_that_cannot_be_exported(
    project: Path, refused: Callable[..., str], change: Callable[[dict[str, Any]], None], says: str
) -> None:
    edit_config(model_of(project), change)
    said = refused(project)
    assert says in said
    assert said.count(str(model_of(project))) == 1
