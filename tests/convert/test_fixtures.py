"""Files that real TensorFlows wrote, against the scores that they gave (fixtures/README.md says how they were made)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from convert.cli import main
from tests.convert.projects import FIXTURES, MODELS, make_project, scores

SIZES = {"zoo": (37, 50), "sequential": (37, 50), "v1": (64, 64), "v2": (64, 64), "v4": (64, 64), "152": (128, 128)}
FILES = sorted(file for file in MODELS.iterdir() if file.suffix != ".npy")


def pixels(count: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.RandomState(1).randint(0, 256, (count, *size, 3)).astype("uint8")


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("tf24", 1e-4), ("tf27-with-optimizer", 1e-4), ("tf24-mixed-float16-with-optimizer", 0.03)],
)
def test_resnet_custom_v3_agrees_with_keras(name: str, tolerance: float, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", FIXTURES / f"{name}.h5", tags=50, size=(64, 64))
    assert main([str(project), str(tmp_path / "model"), "--precision", "fp32", "--precision", "fp16"]) == 0
    expected = np.load(FIXTURES / f"{name}.npy")
    for precision, most in (("fp32", tolerance), ("fp16", 0.03)):
        file = tmp_path / "model" / f"model.{precision}.onnx"
        assert np.abs(scores(file, pixels(4, (64, 64))) - expected).max() <= most


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_writer_and_shape_agrees_with_keras(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convert.keras.open._check", lambda path: None)  # a process for each of 40 files takes long
    size = SIZES.get(file.stem.split("-", 1)[1], (32, 32))
    project = make_project(tmp_path / "project", file, size=size)
    assert main([str(project), str(tmp_path / "model"), "--precision", "fp32", "--precision", "fp16"]) == 0
    expected = np.load(file.with_name(file.name + ".npy"))
    given = pixels(2, size)
    tolerance = 1e-3 if "mixed" in file.name else 2e-5  # Keras computes the mixed ones in float16
    for precision, most in (("fp32", tolerance), ("fp16", 0.02)):
        onnx_file = tmp_path / "model" / f"model.{precision}.onnx"
        onnx.checker.check_model(onnx_file, full_check=True)
        found = scores(onnx_file, given)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= most


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
    assert kinds.count("Conv") == 16
    assert kinds.count("Add") == 4


def test_no_tensorflow_in_the_process(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", MODELS / "tf2.7-resnet.h5")
    code = (
        "import sys; from convert.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or any(name.split('.')[0] in ('tensorflow', 'keras', 'tf_keras') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, project, tmp_path / "model"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
