"""The model folder as a whole: what lies in it, and that there is never half of one."""

import hashlib
import json
from pathlib import Path

import pytest

from convert.cli import main
from convert.model_folder import record_parity
from engine.model.folder import open_model
from tests.convert.projects import MODELS, make_project

pytestmark = pytest.mark.usefixtures("no_child_process")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "kept here" / "projèct", MODELS / "tf2.7-resnet.h5")


def manifest(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return content


def files(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_manifest_says_what_is_there(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starts = [("System", 8), ("General", 0), ("Character", 5)]  # not in the tags' order
    categories = [{"name": name, "start_index": start} for name, start in starts]
    (project / "categories.json").write_text(json.dumps(categories), encoding="utf-8")
    folder = tmp_path / "new" / "model"
    assert main([str(project), str(folder), "--precision", "fp16", "--precision", "fp32"]) == 0
    assert "11 tags" in capsys.readouterr().out
    found = manifest(folder)
    digests = files(folder)
    assert set(digests) == {"model.fp32.onnx", "model.fp16.onnx", "tags.csv", "model.json"}
    precisions = found.pop("precisions")
    assert isinstance(precisions, dict)
    assert found == {
        "format": 1,
        "project": "projèct",
        "source": {
            "file": "model-small.h5",
            "sha256": hashlib.sha256((project / "model-small.h5").read_bytes()).hexdigest(),
        },
        "input": {"height": 32, "width": 32, "dtype": "uint16"},
        "preprocessing": {"kind": "deepdanbooru"},
        "tags": 11,
        "categories": ["General", "Character", "System"],
        "tags_sha256": digests["tags.csv"],
        "features": {"output": "features", "size": 32},
    }
    for precision, entry in precisions.items():
        assert entry.pop("versions").keys() == {"onnx", "h5py", "numpy", "deepdanbooru-engine"}
        file = f"model.{precision}.onnx"
        assert entry == {"file": file, "sha256": digests[file], "exporter": "direct", "opset": 17, "parity": None}
    rows = (folder / "tags.csv").read_bytes().decode("utf-8").split("\n")
    assert rows[:2] == ["index,tag,category", "0,tag_0,General"]
    assert rows[6] == "5,tag_5,Character"
    assert rows[9:] == ["8,tag_8,System", "9,tag_9,System", "10,tag_10,System", ""]


def test_a_precision_joins_the_folder(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert main([str(project), str(folder)]) == 0
    (folder / "parity.html").write_text("kept", encoding="utf-8")
    before = files(folder)
    assert main([str(project), str(folder), "--precision", "fp16"]) == 0
    after = files(folder)
    assert set(after) == set(before) | {"model.fp16.onnx"}
    assert all(after[name] == before[name] for name in before if name != "model.json")
    assert manifest(folder)["precisions"].keys() == {"fp32", "fp16"}  # type: ignore[attr-defined]


def test_features_are_named_only_if_every_file_gives_them(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert main([str(project), str(folder)]) == 0
    assert main([str(project), str(folder), "--precision", "fp16"]) == 0
    assert open_model(folder).features == 32
    old = manifest(folder)
    del old["features"]  # a folder of an earlier version
    (folder / "model.json").write_text(json.dumps(old), encoding="utf-8")
    assert open_model(folder).features is None
    assert main([str(project), str(folder), "--precision", "fp16"]) == 0
    assert open_model(folder).features is None  # fp32 is still the earlier version's
    assert main([str(project), str(folder), "--precision", "fp16", "--precision", "fp32"]) == 0
    assert open_model(folder).features == 32


def test_the_same_run_gives_the_same_files(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert main([str(project), str(folder)]) == 0
    before = files(folder)
    assert main([str(project), str(folder)]) == 0
    assert files(folder) == before


def test_another_model_needs_overwrite(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    assert main([str(project), str(folder), "--precision", "fp16"]) == 0
    before = files(folder)
    other = make_project(tmp_path / "other", MODELS / "keras3.15-resnet.keras")
    assert main([str(other), str(folder)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert files(folder) == before
    assert main([str(other), str(folder), "--overwrite"]) == 0
    assert set(files(folder)) == {"model.fp32.onnx", "tags.csv", "model.json"}


def test_a_folder_that_is_no_model_is_never_replaced(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("years of work", encoding="utf-8")
    for options in ([], ["--overwrite"]):
        assert main([str(project), str(folder), *options]) == 1
        assert "no model folder" in capsys.readouterr().err
    assert [file.name for file in folder.iterdir()] == ["chapter1.txt"]


def test_a_failure_half_way_leaves_the_old_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out" / "model"
    assert main([str(project), str(folder)]) == 0
    before = files(folder)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convert.model_folder.write_file", full)
    assert main([str(project), str(folder), "--precision", "fp16"]) == 1
    assert "No space left" in capsys.readouterr().err
    assert files(folder) == before
    assert [entry.name for entry in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(("name", "content"), [("model.json", "{"), ("model.json", "[]"), ("tags.csv", "index,tag\n")])
def test_a_damaged_folder_is_replaced_when_asked(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    folder = tmp_path / "model"
    assert main([str(project), str(folder)]) == 0
    whole = files(folder)
    (folder / name).write_text(content, encoding="utf-8")
    assert main([str(project), str(folder), "--precision", "fp16"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([str(project), str(folder), "--overwrite"]) == 0
    assert files(folder) == whole


def test_other_categories_are_another_model(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    assert main([str(project), str(folder)]) == 0
    (project / "categories.json").write_text('[{"name": "Other", "start_index": 0}]', encoding="utf-8")
    assert main([str(project), str(folder)]) == 1
    assert "holds another model" in capsys.readouterr().err


def test_a_comparison_changes_nothing_else_in_the_manifest(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert main([str(project), str(folder), "--precision", "fp32", "--precision", "fp16"]) == 0
    before = manifest(folder) | {"from the future": {"kept": True}}
    (folder / "model.json").write_text(json.dumps(before), encoding="utf-8")
    record_parity(folder, {"fp16": {"verdict": "pass"}})
    before["precisions"]["fp16"]["parity"] = {"verdict": "pass"}  # type: ignore[index]
    assert manifest(folder) == before
    assert {name: one.verdict for name, one in open_model(folder).precisions.items()} == {"fp32": None, "fp16": "pass"}
