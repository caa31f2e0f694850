"""Whatever is wrong with a project: one sentence that names the file, exit code 1, and nothing left behind."""

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.cli import main
from tests.convert.projects import MODELS, edit_config, layer, make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("convert.keras.open._check", lambda path: None)  # its own tests below
    return make_project(tmp_path / "project", MODELS / "tf2.7-resnet.h5")


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs convert, which must refuse; gives what it said."""

    def run(project: Path, *options: str) -> str:
        assert main([str(project), str(tmp_path / "out" / "model"), *options]) == 1
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        assert shown.out == ""
        assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
        return shown.err

    return run


def model_of(project: Path) -> Path:
    return project / "model-small.h5"


def test_truncated(project: Path, refused: Callable[..., str]) -> None:
    content = model_of(project).read_bytes()
    model_of(project).write_bytes(content[: len(content) // 2])
    assert "model-small.h5" in refused(project)


def test_not_hdf5(project: Path, refused: Callable[..., str]) -> None:
    model_of(project).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "no HDF5 file" in refused(project)


def test_hdf5_but_no_keras_model(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "w") as h5:
        h5["data"] = np.zeros(3)
    assert "no Keras model" in refused(project)


def test_weights_without_their_model(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "w") as h5:
        h5.attrs["layer_names"] = [b"conv2d"]
    assert "only weights" in refused(project)


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


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_weights(project: Path, refused: Callable[..., str], value: float) -> None:
    with h5py.File(model_of(project), "r+") as h5:
        h5["model_weights/conv2d_3/conv2d_3/kernel:0"][0, 0, 0, 0] = value
    assert "conv2d_3/kernel:0" in refused(project)


def test_too_large_for_float16(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "r+") as h5:
        h5["model_weights/conv2d_3/conv2d_3/kernel:0"][0, 0, 0, 0] = 1e6
    assert "use --precision fp32" in refused(project, "--precision", "fp16")


def shared(config: dict[str, Any]) -> None:
    entry = layer(config, "Conv2D")
    entry["inbound_nodes"] *= 2


def channels_first(config: dict[str, Any]) -> None:
    layer(config, "Conv2D")["config"]["data_format"] = "channels_first"


def two_inputs(config: dict[str, Any]) -> None:
    second = json.loads(json.dumps(layer(config, "InputLayer")))
    second["name"] = second["config"]["name"] = "input_2"
    config["config"]["layers"].append(second)
    layer(config, "Add")["inbound_nodes"][0].append(["input_2", 0, 0, {}])


def two_outputs(config: dict[str, Any]) -> None:
    config["config"]["output_layers"] *= 2


def nested(config: dict[str, Any]) -> None:
    layer(config, "Conv2D")["class_name"] = "Functional"


def unknown(config: dict[str, Any]) -> None:
    layer(config, "MaxPooling2D")["class_name"] = "Lambda"


def operation(config: dict[str, Any]) -> None:
    layer(config, "Add")["module"] = "keras.src.ops.numpy"  # how Keras 3 writes `x + 1`


def escapes(config: dict[str, Any]) -> None:
    layer(config, "Add")["class_name"] = "Add\x1b[2J\ud800\n"


def circle(config: dict[str, Any]) -> None:
    layer(config, "Conv2D")["inbound_nodes"] = [[[layer(config, "Add")["name"], 0, 0, {}]]]


def logits(config: dict[str, Any]) -> None:
    config["config"]["layers"][-1]["config"]["activation"] = "linear"


def other_size(config: dict[str, Any]) -> None:
    layer(config, "InputLayer")["config"]["batch_input_shape"] = [None, 64, 64, 3]


def many_filters(config: dict[str, Any]) -> None:
    layer(config, "Conv2D")["config"]["filters"] = 10**12


def deep(config: dict[str, Any]) -> None:
    value: list[Any] = []
    for _ in range(900):
        value = [value]
    layer(config, "Conv2D")["inbound_nodes"] = value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (shared, "used 2 times"),
        (channels_first, "channels_first"),
        (two_inputs, "2 inputs"),
        (two_outputs, "2 outputs"),
        (nested, "itself a model"),
        (unknown, "is a Lambda"),
        (operation, "is a keras.src.ops.numpy.Add"),
        (escapes, r"Add\x1b[2J\ud800\n"),
        (circle, "circle"),
        (logits, "end it with a sigmoid"),
        (other_size, "64x64x3"),
        (many_filters, "needs weights"),
        (deep, "model-small.h5"),
    ],
)
def test_models_that_cannot_be_expressed(
    project: Path, refused: Callable[..., str], change: Callable[[dict[str, Any]], None], says: str
) -> None:
    edit_config(model_of(project), change)
    said = refused(project)
    assert says in said
    assert said.count(str(model_of(project))) == 1


def replace_kernel(file: Path, make: Callable[[h5py.Group], None]) -> None:
    with h5py.File(file, "r+") as h5:
        group = h5["model_weights/conv2d/conv2d"]
        del group["kernel:0"]
        make(group)


def test_a_tiny_file_cannot_claim_huge_weights(project: Path, refused: Callable[..., str]) -> None:
    replace_kernel(
        model_of(project), lambda g: g.create_dataset("kernel:0", (7, 7, 3, 10**9), "f4", chunks=(7, 7, 3, 1))
    )
    assert "kernel:0 is compressed, chunked or stored outside" in refused(project)
    replace_kernel(model_of(project), lambda g: g.create_dataset("kernel:0", (7, 7, 3, 10**9), "f4"))
    assert "fewer weights" in refused(project)


def test_a_compression_bomb_is_not_opened(project: Path, refused: Callable[..., str]) -> None:
    zeros = np.zeros((7, 7, 3, 4), np.float32)
    replace_kernel(model_of(project), lambda g: g.create_dataset("kernel:0", data=zeros, compression="gzip"))
    assert "compressed" in refused(project)


@pytest.mark.parametrize("kind", ["soft", "external", "raw", "virtual"])
def test_other_files_are_not_read(project: Path, refused: Callable[..., str], tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    with h5py.File(secret, "w") as h5:
        h5["kernel"] = np.ones((7, 7, 3, 4), np.float32)

    def link(group: h5py.Group) -> None:
        if kind == "soft":
            group["kernel:0"] = h5py.SoftLink("/elsewhere")
        elif kind == "external":
            group["kernel:0"] = h5py.ExternalLink(str(secret), "kernel")
        elif kind == "raw":
            group.create_dataset("kernel:0", (7, 7, 3, 4), "f4", external=[(str(secret), 0, 7 * 7 * 3 * 4 * 4)])
        else:
            layout = h5py.VirtualLayout((7, 7, 3, 4), "f4")
            layout[:] = h5py.VirtualSource(str(secret), "kernel", (7, 7, 3, 4))
            group.create_virtual_dataset("kernel:0", layout)

    replace_kernel(model_of(project), link)
    assert "link" in (said := refused(project)) or "stored outside" in said or "is missing" in said


def test_a_huge_attribute_is_not_read(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "w", libver="latest") as h5:
        h5.attrs["model_config"] = np.bytes_(b"[" * (65 << 20))
    assert "claims over 64 MB" in refused(project)


def test_width_and_tags_differ(project: Path, refused: Callable[..., str]) -> None:
    (project / "tags.txt").write_text("one\ntwo\n", encoding="utf-8")
    said = refused(project)
    assert "gives 11 scores and tags.txt has 2 tags" in said
    (project / "tags.txt").write_text("".join(f"tag_{i}\n" for i in range(9176)), encoding="utf-8")
    assert "v3-20211112-sgd-e28" in refused(project)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("project.json", "{", "not valid JSON"),
        ("project.json", "[]", "no JSON object"),
        ("project.json", '{"image_width": 32, "image_height": "32", "model": "small"}', "image_height"),
        ("project.json", '{"image_width": 32, "image_height": 32, "model": "../secret"}', "model is"),
        ("project.json", '{"image_width": 32, "image_height": 32, "model": "other"}', "neither model-other.h5"),
        ("tags.txt", "\n\n", "no tags"),
        ("categories.json", '[{"name": "General"}]', "start_index"),
        ("categories.json", '[{"name": "General", "start_index": 3}]', "begin at 0"),
    ],
)
def test_broken_project_files(project: Path, refused: Callable[..., str], file: str, content: str, says: str) -> None:
    (project / file).write_text(content, encoding="utf-8")
    said = refused(project)
    assert says in said
    assert str(project) in said


def test_no_project_at_all(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "is no folder" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "project.json is missing" in refused(tmp_path / "empty")


def test_keras_archive_that_is_no_zip_or_a_bomb(project: Path, refused: Callable[..., str]) -> None:
    model_of(project).unlink()
    archive = project / "model-small.keras"
    archive.write_bytes(b"PK no zip")
    assert "no whole .keras file" in refused(project)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("config.json", "{}")
        zipped.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        zipped.writestr("model.weights.h5", bytes(50 << 20))
    assert "unpacks to 50 MB" in refused(project)


def test_a_file_on_which_hdf5_never_returns(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project", MODELS / "tf2.1-sequential.h5", size=(37, 50))
    content = bytearray(model_of(project).read_bytes())
    content[2057] = 246  # the size of an object in the global heap
    model_of(project).write_bytes(content)
    monkeypatch.setattr("convert.keras.open.PATIENCE", 2.0)
    assert "HDF5 did not finish" in refused(project)


@given(seed=st.integers(0, 2**32 - 1), cut=st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_damage_is_a_sentence_or_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seed: int, cut: bool
) -> None:
    """Byte flips anywhere, half of them in the structure at the file's start."""
    monkeypatch.setattr("convert.keras.open.PATIENCE", 3.0)
    content = bytearray((MODELS / "tf2.1-sequential.h5").read_bytes())
    chosen = random.Random(seed)
    for _ in range(chosen.randint(1, 8)):
        content[chosen.randrange(chosen.choice([16384, len(content)]))] = chosen.randrange(256)
    if cut:
        del content[chosen.randrange(len(content)) :]
    folder = tmp_path / "project"
    if not folder.exists():
        make_project(folder, MODELS / "tf2.1-sequential.h5", size=(37, 50))
    model_of(folder).write_bytes(content)
    code = main([str(folder), str(tmp_path / "model")])
    said = capsys.readouterr().err
    assert (code, said.startswith("error: ")) in ((0, False), (1, True))
    shutil.rmtree(tmp_path / "model", ignore_errors=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["project"]


@pytest.fixture
def unknown_layer(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose model has a layer that only another exporter may know, with that exporter installed."""
    edit_config(model_of(project), lambda config: layer(config, "MaxPooling2D").update(class_name="UpSampling2D"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    return project


def test_unknown_layer_names_the_layer_and_the_extra(
    unknown_layer: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refused(unknown_layer)
    assert "layer max_pooling2d is a UpSampling2D" in said
    assert "deepdanbooru-engine[keras]" in said


def test_unknown_layer_in_a_model_too_large_for_tf2onnx(
    unknown_layer: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.onnx.fallback._BYTES_PER_PARAMETER", 10**9)
    assert "more memory" in refused(unknown_layer)


def test_unknown_layer_in_another_precision(unknown_layer: Path, refused: Callable[..., str]) -> None:
    assert "use --precision fp32" in refused(unknown_layer, "--precision", "fp16")
