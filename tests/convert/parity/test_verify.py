"""The comparison as a whole: verdicts, report; with fp32 as the reference, and in `full` with Keras."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from convert.cli import main, verify_main
from convert.pictures import read
from demo.render import render
from engine.families import Family
from engine.types import Rgb
from tests.convert.projects import DEMO

pytestmark = pytest.mark.usefixtures("no_child_process")


@pytest.fixture(scope="module")
def converted(no_child_process: None, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verified") / "model"
    options = [option for name in ("fp32", "fp16", "int8") for option in ("--precision", name)]
    assert main([str(DEMO), str(folder), *options, "--calibrate", str(pictures)]) == 0
    return folder


@pytest.fixture
def model(converted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(converted, tmp_path / "model"))


@pytest.fixture
def no_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convert.parity.verify.has_keras", lambda: False)


def precisions(model: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((model / "model.json").read_text(encoding="utf-8"))["precisions"]
    return found


def test_verdicts_go_into_the_manifest(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_main([str(model), str(pictures)]) == 0
    assert "40 pictures against the fp32 ONNX" in capsys.readouterr().out
    found = precisions(model)
    assert found["fp32"]["parity"] is None  # it was the reference
    for name in ("fp16", "int8"):
        parity = found[name]["parity"]
        assert parity["reference"] == "fp32"
        assert (parity["pictures"], parity["threshold"], parity["verdict"]) == (40, 0.5, "pass")
        assert 0 < parity["mean_difference"] < parity["max_difference"] < 0.5
        assert parity["by_category"].keys() == {"General", "Character", "System"}
        assert parity["by_category"]["System"]["positives"] > 30
    page = (model / "parity.html").read_text(encoding="utf-8")
    assert "not the Keras model itself" in page
    assert page.count("<svg") == 2
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/jpeg;base64,") >= 6
    assert {file.name for file in model.iterdir()} == {
        *(f"model.{p}.onnx" for p in found),
        "tags.csv",
        "model.json",
    } | {"parity.html"}


def test_convert_and_verify_in_one(pictures: Path, tmp_path: Path, no_keras: None) -> None:
    options = ["--precision", "fp16", "--precision", "fp32", "--verify", str(pictures), "--verify-count", "5"]
    assert main([str(DEMO), str(tmp_path / "model"), *options]) == 0
    assert precisions(tmp_path / "model")["fp16"]["parity"]["pictures"] == 5


def test_a_precision_that_differs_fails(model: Path, pictures: Path) -> None:
    file = model / "model.int8.onnx"
    spoilt = onnx.load(file)
    for tensor in spoilt.graph.initializer:
        if tensor.name.endswith("_scale") and tensor.dims:  # of the weights
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 1.1, tensor.name))
    onnx.save(spoilt, file)
    manifest = json.loads((model / "model.json").read_text(encoding="utf-8"))
    manifest["precisions"]["int8"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (model / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert verify_main([str(model), str(pictures)]) == 1
    assert precisions(model)["fp16"]["parity"]["verdict"] == "pass"
    parity = precisions(model)["int8"]["parity"]
    assert parity["verdict"] == "fail"
    assert parity["jaccard_distance"] > 0.02
    page = (model / "parity.html").read_text(encoding="utf-8")
    assert '<span class="fail">fail</span>' in page
    assert "<li class=alone>" in page


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_are_shown_and_never_obeyed(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    render(folder, 2, seed=4, formats=("png",), size=(80, 80))
    hostile = '"><script>alert(1)<img src=x>&.png', os.fsdecode(b"\xff.png")
    for file, name in zip(sorted(path for path in folder.rglob("*") if path.is_file()), hostile, strict=True):
        file.rename(folder / name)
    rows = (model / "tags.csv").read_bytes().replace(b"1girl", b"<b>1girl")
    (model / "tags.csv").write_bytes(rows)
    manifest = json.loads((model / "model.json").read_text(encoding="utf-8"))
    manifest["tags_sha256"] = hashlib.sha256(rows).hexdigest()
    (model / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert verify_main([str(model), str(folder)]) == 0
    page = (model / "parity.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;b&gt;1girl" in page
    assert "<script" not in page
    assert "<b>" not in page


def test_what_cannot_be_compared_is_a_sentence(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    before = (model / "model.json").read_bytes()
    other = tmp_path / "other"
    shutil.copytree(DEMO, other)
    with next(other.glob("*.h5")).open("ab") as file:
        file.write(b"more")
    for arguments, said in (
        ([str(model), str(tmp_path / "nowhere")], "nowhere is no folder"),
        ([str(model), str(tmp_path / "empty")], "0 files and no picture"),
        ([str(tmp_path / "nomodel"), str(pictures)], "there is no model folder"),
        ([str(model), str(pictures), "--project", str(other)], "SHA-256 is another"),
    ):
        assert verify_main(arguments) == 1
        assert said in capsys.readouterr().err
    assert verify_main([str(model), str(pictures), "--threshold", "2"]) == 2
    (model / "model.int8.onnx").write_bytes(b"damaged")
    assert verify_main([str(model), str(pictures), "--count", "1"]) == 1
    assert "model.int8.onnx is not the one" in capsys.readouterr().err
    assert (model / "model.json").read_bytes() == before
    assert not (model / "parity.html").exists()


def test_fp32_alone_needs_keras(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DEMO), str(tmp_path / "model"), "--precision", "fp32"]) == 0
    assert verify_main([str(tmp_path / "model"), str(pictures)]) == 1
    assert "--project" in capsys.readouterr().err


def test_ctrl_c(model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convert.cli.verify", interrupted)
    assert verify_main([str(model), str(pictures)]) == 130


@pytest.mark.full
def test_against_keras(converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Path(shutil.copytree(converted, tmp_path / "model"))
    render(tmp_path / "pictures", 60, seed=9003, broken=3)
    assert verify_main([str(model), str(tmp_path / "pictures"), "--project", str(DEMO)]) == 0
    assert "60 pictures against Keras, 3 files passed over" in capsys.readouterr().out
    found = precisions(model)
    assert {entry["parity"]["verdict"] for entry in found.values()} == {"pass"}
    fp32 = found["fp32"]["parity"]
    assert fp32["max_difference"] < 5e-4
    assert fp32["mean_difference"] < 2e-6


def rewrite(file: Path, suffix: str) -> None:
    """Makes it a picture of another format."""
    pixels = cv2.imread(str(file))
    assert pixels is not None
    cv2.imwrite(str(file.with_suffix(suffix)), pixels)
    file.unlink()


@pytest.mark.full
def test_the_settings_of_keras_in_a_home_are_neither_read_nor_written(
    converted: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".keras").mkdir(parents=True)
    settings = home / ".keras" / "keras.json"
    settings.write_text('{"image_data_format": "channels_first", "floatx": "float16"}', encoding="utf-8")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    asked = [str(converted), str(pictures), "--project", str(DEMO)]
    assert verify_main(asked) == 0
    settings.unlink()
    assert verify_main(asked) == 0
    assert not settings.exists()


@pytest.mark.full
def test_the_original_decodes_its_pictures_itself(
    converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder of ours that is wrong must show, whatever the format: here it sees nothing but red."""
    model = Path(shutil.copytree(converted, tmp_path / "model"))

    def red(path: Path, family: Family) -> Rgb | None:
        rgb = read(path, family)
        return None if rgb is None else np.full_like(rgb, (255, 0, 0))

    monkeypatch.setattr("convert.pictures.read", red)
    for kind in ("gif", "webp", "bmp", "jpeg"):
        folder = tmp_path / kind
        render(folder, 5, seed=9004, formats=("png" if kind == "bmp" else kind,))
        for file in folder.rglob("*.png"):
            rewrite(file, ".bmp")
        assert verify_main([str(model), str(folder), "--project", str(DEMO)]) == 1
        said = capsys.readouterr().out
        assert "5 pictures against Keras" in said and "fp32  FAIL" in said and "TensorFlow" not in said


@pytest.mark.full
def test_what_only_one_of_the_two_reads_is_told(
    converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(converted, tmp_path / "model"))
    render(tmp_path / "all", 10, seed=9005, formats=("png",))
    lost, changed = sorted((tmp_path / "all").rglob("*.png"))[:2]
    rewrite(changed, ".tiff")
    monkeypatch.setattr("convert.pictures.read", lambda path, family: None if path == lost else read(path, family))
    assert verify_main([str(model), str(tmp_path / "all"), "--project", str(DEMO)]) == 0
    said = capsys.readouterr().out
    assert "TensorFlow does not decode 1 of them" in said
    assert f"of the files passed over TensorFlow reads 1, such as {lost}" in said
    page = (model / "parity.html").read_text(encoding="utf-8")
    assert f"Of the files passed over it does read 1: {lost.name}." in page
