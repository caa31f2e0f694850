"""int8: made from fp32 with ranges seen on pictures, and what it says when it cannot be."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from convert.cli import main
from tests.convert.projects import DEMO, outputs, scores

pytestmark = pytest.mark.usefixtures("no_child_process")


@pytest.fixture(scope="module")
def model(no_child_process: None, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "model"
    assert main([str(DEMO), str(folder), "--precision", "int8", "--calibrate", str(pictures)]) == 0
    return folder


def test_int8_brings_fp32_along_and_says_how_it_was_made(model: Path) -> None:
    files = {file.name for file in model.iterdir()}
    assert files == {"model.fp32.onnx", "model.int8.onnx", "tags.csv", "model.json"}
    entry = json.loads((model / "model.json").read_text(encoding="utf-8"))["precisions"]["int8"]
    assert entry["exporter"] == "onnxruntime.quantization"
    assert entry["calibration"] == {"method": "minmax", "pictures": 40, "skipped": 3}
    assert "onnxruntime" in entry["versions"]
    assert entry["parity"] is None


def test_input_output_and_meaning_are_those_of_fp32(model: Path) -> None:
    fp32, int8 = (onnx.load(model / f"model.{p}.onnx").graph for p in ("fp32", "int8"))
    assert [str(end) for end in (*int8.input, *int8.output)] == [str(end) for end in (*fp32.input, *fp32.output)]
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (4, 8, 8, 3)).repeat(16, axis=1).repeat(16, axis=2).astype(np.uint8)
    apart = np.abs(scores(model / "model.fp32.onnx", smooth) - scores(model / "model.int8.onnx", smooth))
    assert apart.mean() < 0.02


def test_features_are_those_of_fp32_and_not_rounded_to_8_bits(model: Path) -> None:
    given = np.random.default_rng(0).integers(0, 65281, (4, 128, 128, 3), np.uint16)
    fp32, int8 = (outputs(model / f"model.{p}.onnx", given)["features"] for p in ("fp32", "int8"))
    assert int8.dtype == np.float32
    assert len(np.unique(int8)) > 256
    assert np.abs(int8 - fp32).max() < 0.1 * fp32.max()


def test_scores_are_not_rounded_to_8_bits(model: Path) -> None:
    given = np.random.default_rng(0).integers(0, 65281, (40, 128, 128, 3), np.uint16)
    assert len(np.unique(outputs(model / "model.int8.onnx", given)["scores"])) > 256


def test_weights_are_8_bit_for_each_channel_but_the_first_convolution(model: Path) -> None:
    graph = onnx.load(model / "model.int8.onnx").graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    made_by = {node.output[0]: node for node in graph.node}
    assert convolutions[0].input[1] in weights  # float, directly
    for node in convolutions[1:]:
        values, scale = made_by[node.input[1]].input[:2]
        stored = onnx.numpy_helper.to_array(weights[values])
        assert stored.dtype == np.int8
        assert weights[scale].dims == [len(stored)]
        assert np.abs(stored).max() <= 64  # 7 bits: no overflow on CPUs without VNNI


def test_verified_again_only_if_the_file_changed(model: Path, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    for entry in content["precisions"].values():
        entry["parity"] = {"verdict": "pass"}
    (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")
    few = ["--calibrate", str(pictures), "--calibrate-count", "5"]
    assert main([str(DEMO), str(folder), "--precision", "int8", *few]) == 0
    found = json.loads((folder / "model.json").read_text(encoding="utf-8"))["precisions"]
    assert found["fp32"]["parity"] == {"verdict": "pass"}  # the same file as before
    assert found["int8"]["parity"] is None
    assert found["int8"]["calibration"]["pictures"] == 5


def test_int8_without_pictures_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.jpg").write_text("no picture", encoding="utf-8")
    for options, said in (
        ([], "--calibrate FOLDER"),
        (["--calibrate", str(tmp_path / "nowhere")], "nowhere is no folder"),
        (["--calibrate", str(tmp_path / "texts")], "1 files and no picture"),
    ):
        assert main([str(DEMO), str(tmp_path / "out"), "--precision", "int8", *options]) == 1
        assert said in capsys.readouterr().err
    assert main([str(DEMO), str(tmp_path / "out"), "--calibrate", str(tmp_path)]) == 2
    assert not (tmp_path / "out").exists()
