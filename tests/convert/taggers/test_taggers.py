"""ONNX taggers of each kind become model folders that give the original's scores."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from convert.cli import main, verify_main
from convert.conversion import convert_tagger
from convert.taggers.original import open_original
from convert.taggers.source import TaggerOptions
from demo.render import render
from demo.scene import TAGS
from demo.score import f1
from engine.families import family_of, traits_of
from engine.model.folder import Model, check_file, open_model
from tests.support.runs import ENGINE, run
from tests.support.taggers import write_tagger, write_tags


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo's converted model is kept for `write_tagger`."""
    return tmp_path_factory.mktemp("demo") / "model"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered pictures, and some of other shapes and with alpha."""
    folder = tmp_path_factory.mktemp("pictures")
    render(folder, 30, seed=9100)
    first = Image.open(sorted(folder.rglob("*.png"))[0]).convert("RGB")
    faded = first.convert("RGBA")
    faded.putalpha(Image.linear_gradient("L").resize(faded.size))
    faded.save(folder / "alpha.png")
    first.resize((300, 41)).save(folder / "wide.webp", lossless=True)
    first.resize((41, 300)).save(folder / "tall.jpg")
    return folder


def converted(folder: Path, tagger: Path, *flags: str) -> Model:
    assert main([str(tagger), str(folder), *flags]) == 0
    return open_model(folder)


def new_scores(model: Model, files: list[Path]) -> np.ndarray:
    """What the engine gives: its own decoding and fitting, then the folder's file, all pictures in one batch."""
    family, shape = family_of(model.preprocessing), model.preprocessing
    batch = np.empty((len(files), shape.height, shape.width, 3), shape.dtype)
    for file, row in zip(files, batch, strict=True):
        family.fit(family.decode(file.read_bytes(), file.name, max_pixels=10**8), row)
    session = onnxruntime.InferenceSession(model.precision(None).file, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["scores"], {"pixels": batch})[0])


def old_scores(model: Model, tagger: Path, files: list[Path]) -> np.ndarray:
    """What the original gives, fed by Pillow and NumPy; a sigmoid where it gives logits."""
    traits, shape = traits_of(model.preprocessing), model.preprocessing
    original = open_original(tagger / "model.onnx", None, traits, (shape.height, shape.width))
    raw = np.stack([original(file.read_bytes()) for file in files])
    return 1 / (1 + np.exp(-raw)) if traits.logits else raw


def files_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".jpg", ".webp", ".gif"))


def test_a_wd_tagger_as_it_is_published(demo: Path, pictures: Path, tmp_path: Path, capsys: Any) -> None:
    tagger = write_tagger(tmp_path / "wd-small-tagger-v3", demo)
    model = converted(tmp_path / "model", tagger)
    assert "scores at most" in capsys.readouterr().out
    assert (model.project, model.preprocessing.kind, model.preprocessing.dtype) == ("wd-small-tagger-v3", "wd", "uint8")
    assert model.tags[0].startswith("rating:")
    assert list(dict.fromkeys(model.categories)) == ["Rating", "General", "Character"]
    assert sorted(model.tags) == sorted(TAGS)
    found, wanted = new_scores(model, files_in(pictures)), old_scores(model, tagger, files_in(pictures))
    assert np.abs(found - wanted).max() < 1e-4
    assert wanted.max() > 0.9 and wanted.min() < 0.1


SHAPES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "nchw rgb imagenet": (
        {"layout": "nchw", "colour": "rgb", "value_range": "imagenet"},
        ("--range", "imagenet", "--pad", "edge", "--interpolation", "area"),
    ),
    "nchw bgr imagenet logits": (
        {"layout": "nchw", "value_range": "imagenet", "logits": True},
        ("--layout", "nchw", "--colour", "bgr", "--range", "imagenet", "--logits", "--pad", "none"),
    ),
    "nhwc rgb 1": (
        {"colour": "rgb", "value_range": "1"},
        ("--layout", "nhwc", "--pad", "white", "--interpolation", "lanczos"),
    ),
    "nchw rgb 255 logits": (
        {"layout": "nchw", "colour": "rgb", "logits": True},
        ("--range", "255", "--logits", "--pad", "white"),
    ),
    "any size": ({"any_size": True}, ("--colour", "bgr", "--range", "255", "--size", "128", "--pad", "white")),
    "weights beside it": ({"external": True}, ("--colour", "bgr", "--range", "255", "--pad", "white")),
    "one picture a batch": ({"batch": 1}, ("--colour", "bgr", "--range", "255", "--pad", "white")),
}


@pytest.mark.parametrize("name", SHAPES)
def test_any_tagger_by_flags(name: str, demo: Path, pictures: Path, tmp_path: Path) -> None:
    made, flags = SHAPES[name]
    tagger = write_tagger(tmp_path / "tagger", demo, **made)
    model = converted(tmp_path / "model", tagger, "--tags", str(tagger / "selected_tags.csv"), *flags)
    assert model.preprocessing.kind == "onnx"
    found, wanted = new_scores(model, files_in(pictures)), old_scores(model, tagger, files_in(pictures))
    assert np.abs(found - wanted).max() < 1e-4
    assert wanted.max() > 0.9 and wanted.min() < 0.1
    check_file(model.precision(None))


def test_weights_beside_the_model_are_checked_too(demo: Path, tmp_path: Path) -> None:
    tagger = write_tagger(tmp_path / "tagger", demo, external=True)
    model = converted(tmp_path / "model", tagger)
    assert sorted(p.name for p in model.folder.iterdir()) == [
        "model.fp32.onnx", "model.fp32.onnx.data", "model.json", "tags.csv",
    ]  # fmt: skip
    (data, _) = model.precision(None).data[0]
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    with pytest.raises(Exception, match=r"model\.fp32\.onnx\.data is not the one"):
        check_file(model.precision(None))


def test_other_weights_are_another_model(demo: Path, tmp_path: Path) -> None:
    """The graph is the same, only the file beside it differs: the folder must not take the one for the other."""
    tagger = write_tagger(tmp_path / "tagger", demo, external=True)
    first = converted(tmp_path / "model", tagger)
    content = bytearray((tagger / "model.onnx.data").read_bytes())
    content[0] ^= 1
    (tagger / "model.onnx.data").write_bytes(content)
    assert main([str(tagger), str(tmp_path / "model")]) == 1
    assert converted(tmp_path / "other", tagger).sha256 != first.sha256


def test_the_tags_of_the_demo_are_right(demo: Path, tmp_path: Path) -> None:
    """The whole way: a folder as it is published, `engine convert`, `engine tag` with the family's own thresholds."""
    tagger = write_tagger(tmp_path / "tagger", demo)
    converted(tmp_path / "model", tagger)
    truth = {one.path: one.tags for one in render(tmp_path / "pictures", 120, seed=9200)}
    tag = [*ENGINE, "tag", "--model", str(tmp_path / "model"), "--json", str(tmp_path / "pictures")]
    given = {
        threshold: {
            Path(line["path"]).relative_to(tmp_path / "pictures").as_posix(): [t["tag"] for t in line["tags"]]
            for line in map(json.loads, run([*tag, *threshold]).stdout.splitlines())
        }
        for threshold in ((), ("--threshold", "0.5"), ("--threshold", "general=0.99,character=0.99"))
    }
    assert all(sum(tag.startswith("rating:") for tag in tags) == 1 for tags in given[()].values())
    scores = {threshold: f1(truth, tags) for threshold, tags in given.items()}
    print(scores)
    assert scores["--threshold", "0.5"] > 0.8
    assert scores["--threshold", "0.5"] > scores["--threshold", "general=0.99,character=0.99"]


def test_verify_holds_it_against_the_original(demo: Path, pictures: Path, tmp_path: Path, capsys: Any) -> None:
    tagger = write_tagger(tmp_path / "tagger", demo)
    assert main([str(tagger), str(tmp_path / "model"), "--verify", str(pictures)]) == 0
    assert "against the original ONNX file" in capsys.readouterr().out
    parity = open_model(tmp_path / "model").manifest["precisions"]["fp32"]["parity"]
    assert (parity["reference"], parity["verdict"], parity["flips"]) == ("original", "pass", 0)
    assert parity["max_difference"] < 1e-4
    write_tagger(tmp_path / "other", demo, change=lambda m: setattr(m.graph, "name", "other"))
    assert verify_main([str(tmp_path / "model"), str(pictures), "--project", str(tmp_path / "other")]) == 1
    assert "is not what" in capsys.readouterr().err


def test_int8(demo: Path, pictures: Path, tmp_path: Path) -> None:
    tagger = write_tagger(tmp_path / "tagger", demo)
    flags = ("--precision", "int8", "--calibrate", str(pictures))
    model = converted(tmp_path / "model", tagger, *flags)
    assert set(model.precisions) == {"fp32", "int8"}
    assert main([str(tagger), str(tmp_path / "half"), "--precision", "fp16"]) == 1


def nan_weight(model: onnx.ModelProto) -> None:
    weight = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 4)
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1]))


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "my.company"
    model.opset_import.add(domain="my.company", version=1)


def text_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["N", 77]))


def no_scores(model: onnx.ModelProto) -> None:
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 8, 8]))


def unknown_standard_operator(model: onnx.ModelProto) -> None:
    model.graph.node[3].op_type = "Convolute"


BROKEN: dict[str, tuple[dict[str, Any], Callable[[Path, Path], object], str]] = {
    "no ONNX": ({}, lambda f, _: (f / "model.onnx").write_bytes(b"\x93NUMPY" * 99), "is damaged or no ONNX"),
    "cut": (
        {},
        lambda f, _: (f / "model.onnx").write_bytes((f / "model.onnx").read_bytes()[:9000]),
        "is damaged or no ONNX",
    ),
    "empty": ({}, lambda f, _: (f / "model.onnx").write_bytes(b""), "holds no graph"),
    "a pointer": (
        {},
        lambda f, _: (f / "model.onnx").write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8"),
        "git lfs pull",
    ),
    "custom operator": ({"change": custom_operator}, lambda *_: None, "of my.company, which ONNX Runtime does not"),
    "unknown operator": ({"change": unknown_standard_operator}, lambda *_: None, "ONNX Runtime cannot use"),
    "two inputs": ({"change": second_input}, lambda *_: None, "has 2 inputs (input_1:0, mask), a tagger has one"),
    "text": ({"change": text_input}, lambda *_: None, "is int64 ?x77, so it is no tagger"),
    "no scores": ({"change": no_scores}, lambda *_: None, "no float [N, tags], so it is no tagger"),
    "NaN": ({"change": nan_weight}, lambda *_: None, "no numbers (NaN)"),
    "no data": (
        {"external": True},
        lambda f, _: (f / "model.onnx.data").unlink(),
        "which is missing: download it too",
    ),
    "short data": (
        {"external": True},
        lambda f, _: (f / "model.onnx.data").write_bytes(b"short"),
        "came only in part",
    ),
    "no tags": ({}, lambda f, _: (f / "selected_tags.csv").unlink(), "name its tags by --tags"),
    "fewer tags": (
        {},
        lambda f, d: write_tags(f / "selected_tags.csv", d, [23, *range(5)]),
        "26 scores and there are 6 tags",
    ),
    "another order": (
        {},
        lambda f, d: write_tags(f / "selected_tags.csv", d, list(range(26))[::-1]),
        "not in the order in which",
    ),
    "sorted by name": (
        {},
        lambda f, d: write_tags(f / "selected_tags.csv", d, sorted(range(26), key=lambda i: TAGS[i])),
        "not in the order in which",
    ),
    "no csv": (
        {},
        lambda f, _: (f / "selected_tags.csv").write_text("a;b\n1;2\n", encoding="utf-8"),
        "is no list of tags",
    ),
    "channels first": ({"layout": "nchw"}, lambda *_: None, "as nchw and not as nhwc: give --layout nchw"),
    "logits": ({"logits": True}, lambda *_: None, "give --logits if these are logits"),
    "any size": ({"any_size": True}, lambda *_: None, "say by --size which one"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_converted(name: str, demo: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    made, spoil, says = BROKEN[name]
    tagger = write_tagger(tmp_path / "tagger", demo, **made)
    spoil(tagger, demo)
    assert says in refused(tagger)


def test_logits_that_are_scores(demo: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "leave --logits away" in refused(write_tagger(tmp_path / "tagger", demo), "--logits")


def test_a_failed_conversion_leaves_the_old_folder(demo: Path, tmp_path: Path) -> None:
    tagger = write_tagger(tmp_path / "tagger", demo)
    model = converted(tmp_path / "model", tagger)
    before = {p.name: p.read_bytes() for p in model.folder.iterdir()}
    write_tagger(tagger, demo, change=nan_weight)
    assert main([str(tagger), str(model.folder), "--overwrite"]) == 1
    assert {p.name: p.read_bytes() for p in model.folder.iterdir()} == before


def test_weights_outside_of_the_folder_are_not_read(demo: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    tagger = write_tagger(tmp_path / "tagger", demo, external=True)
    model = onnx.load(tagger / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    (tagger / "model.onnx").write_bytes(model.SerializeToString())
    assert "outside of its folder" in refused(tagger)


def test_names_that_the_engine_uses_may_be_taken(demo: Path, pictures: Path, tmp_path: Path) -> None:
    def swap(model: onnx.ModelProto) -> None:
        """The input is called `scores` and the output `pixels`."""
        for node in model.graph.node:
            for ends in (node.input, node.output):
                for i, name in enumerate(ends):
                    ends[i] = {"input_1:0": "scores", "predictions": "pixels"}.get(name, name)
        model.graph.input[0].name, model.graph.output[0].name = "scores", "pixels"

    tagger = write_tagger(tmp_path / "tagger", demo, change=swap)
    model = converted(tmp_path / "model", tagger)
    found, wanted = new_scores(model, files_in(pictures)), old_scores(model, tagger, files_in(pictures))
    assert np.abs(found - wanted).max() < 1e-4


def test_flags_of_taggers_are_refused_for_projects(capsys: Any) -> None:
    assert main([str(Path("demo") / "model"), "out", "--layout", "nchw"]) == 2
    assert "only an ONNX tagger takes it" in capsys.readouterr().err


def test_a_flag_changes_a_family(demo: Path, tmp_path: Path) -> None:
    tagger = write_tagger(tmp_path / "tagger", demo)
    convert_tagger(tagger, tmp_path / "model", TaggerOptions(interpolation="area", pad="white"))
    assert open_model(tmp_path / "model").preprocessing.changes == (("interpolation", "area"),)
