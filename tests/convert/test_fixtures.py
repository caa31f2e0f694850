"""Files that real TensorFlows wrote, against the scores that Keras gave for them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from convert.cli import main
from tests.convert.projects import FIXTURES, make_project

PIXELS = np.random.RandomState(1).randint(0, 256, (4, 64, 64, 3)).astype("uint8")


def scores(onnx_file: Path, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["scores"], {"pixels": pixels})[0])


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("tf24", 1e-4), ("tf27-with-optimizer", 1e-4), ("tf24-mixed-float16-with-optimizer", 0.03)],
)
def test_resnet_custom_v3_agrees_with_keras(name: str, tolerance: float, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", FIXTURES / f"{name}.h5", tags=50, side=64)
    assert main([str(project), str(tmp_path / "model"), "--precision", "fp32", "--precision", "fp16"]) == 0
    expected = np.load(FIXTURES / f"{name}.npy")
    for precision, most in (("fp32", tolerance), ("fp16", 0.03)):
        file = tmp_path / "model" / f"model.{precision}.onnx"
        onnx.checker.check_model(file, full_check=True)
        assert np.abs(scores(file, PIXELS) - expected).max() <= most
