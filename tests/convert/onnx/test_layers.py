"""Files that real TensorFlows wrote, against the scores that they gave (fixtures/README.md says how they were made)."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from convert.cli import main
from tests.convert.projects import FIXTURES, MODELS, make_project, pixels, scores

SIZES = {"zoo": (37, 50), "sequential": (37, 50), "v1": (64, 64), "v2": (64, 64), "v4": (64, 64), "152": (128, 128)}
FILES = sorted(file for file in MODELS.iterdir() if file.suffix != ".npy")


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
