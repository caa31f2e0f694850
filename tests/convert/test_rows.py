"""The rows of a model folder: uint16 gives the original's scores, and folders made for uint8 go on working."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from convert.cli import main, verify_main
from convert.pictures import Pictures
from engine.model.folder import open_model
from tests.convert.projects import DEMO
from tests.support import reference
from tests.support.runs import ENGINE, run

pytestmark = pytest.mark.usefixtures("no_child_process")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as it was made before there was uint16: its manifest does not name the dtype."""
    with monkeypatch.context() as patch:
        patch.setattr("convert.model_folder.DTYPE", "uint8")
        assert main([str(DEMO), str(tmp_path / "old")]) == 0
    manifest = json.loads((tmp_path / "old" / "model.json").read_text(encoding="utf-8"))
    assert manifest["input"].pop("dtype") == "uint8"
    (tmp_path / "old" / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    return tmp_path / "old"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    assert main([str(DEMO), str(tmp_path / "new")]) == 0
    return tmp_path / "new"


def as_floats(file: Path) -> onnxruntime.InferenceSession:
    """The same network fed with float32 [n, height, width, 3] in 0..1, as the original feeds it."""
    model = onnx.load(file)
    graph = model.graph
    [divided] = [node.output[0] for node in graph.node if node.op_type == "Div"]
    shape = graph.input[0].type.tensor_type.shape
    for node in [node for node in graph.node if node.op_type in ("Cast", "Div")]:
        graph.node.remove(node)
    graph.input[0].CopyFrom(helper.make_tensor_value_info(divided, TensorProto.FLOAT, None))
    graph.input[0].type.tensor_type.shape.CopyFrom(shape)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def input_type(folder: Path, precision: str = "fp32") -> str:
    session = onnxruntime.InferenceSession(folder / f"model.{precision}.onnx", providers=["CPUExecutionProvider"])
    return str(session.get_inputs()[0].type)


def differences(folder: Path, pictures: Path) -> np.ndarray:
    """How far each score is from that of the original's float pixels."""
    model = open_model(folder)
    shape = model.preprocessing
    file = model.precisions["fp32"].file
    engine = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    original = as_floats(file)
    found = []
    for picture in Pictures(pictures, 40, shape):
        exact = (reference.fit(picture.rgb, shape.height, shape.width) / 255).astype(np.float32)[None]
        [wanted] = original.run(["scores"], {original.get_inputs()[0].name: exact})
        [scores] = engine.run(["scores"], {"pixels": picture.row})
        found.append(np.abs(scores - wanted))
    return np.concatenate(found)


def test_uint16_rows_give_the_scores_of_float_pixels(new: Path, old: Path, pictures: Path) -> None:
    assert input_type(new) == "tensor(uint16)"
    assert differences(new, pictures).max() < 2e-4
    assert differences(old, pictures).max() > 1e-3  # what this is better than


def test_a_folder_with_uint8_rows_tags_as_before(new: Path, old: Path, pictures: Path) -> None:
    tagged = {}
    for folder in (new, old):
        result = run([*ENGINE, "tag", "--model", str(folder), "--device", "cpu", "--json", str(pictures)])
        entries = [json.loads(line) for line in result.stdout.splitlines()]
        tagged[folder] = {e["path"]: {t["tag"]: t["score"] for t in e["tags"]} for e in entries if "tags" in e}
    assert len(tagged[old]) == 40 and tagged[old].keys() == tagged[new].keys()
    scores = [
        (score, tagged[new][path].get(tag, 0.5)) for path, tags in tagged[old].items() for tag, score in tags.items()
    ]
    assert len(scores) > 200
    assert 0 < max(abs(a - b) for a, b in scores) < 0.03


def test_what_joins_a_folder_with_uint8_rows_takes_them_too(
    old: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (old / "model.fp32.onnx").read_bytes()
    options = ["--precision", "fp32", "--precision", "fp16", "--precision", "int8", "--calibrate", str(pictures)]
    assert main([str(DEMO), str(old), *options, "--calibrate-count", "5"]) == 0
    assert "pixels stay uint8" in capsys.readouterr().out
    assert (old / "model.fp32.onnx").read_bytes() == before
    assert {input_type(old, precision) for precision in open_model(old).precisions} == {"tensor(uint8)"}
    assert open_model(old).preprocessing.dtype == "uint8"
    assert verify_main([str(old), str(pictures), "--count", "5"]) == 0


def test_overwrite_gives_a_folder_uint16_rows(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DEMO), str(old), "--overwrite"]) == 0
    assert "stay" not in capsys.readouterr().out
    assert open_model(old).preprocessing.dtype == "uint16"
    assert input_type(old) == "tensor(uint16)"
