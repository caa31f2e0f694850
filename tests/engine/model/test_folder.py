"""The reader of model folders: what it gives, and what it says of folders that cannot be used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ModelError
from engine.model.folder import open_model, sha256_of
from engine.types import Preprocessing

Manifest = dict[str, Any]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def edit(folder: Path, change: Callable[[Manifest], object]) -> None:
    """Changes model.json in place."""
    manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    change(manifest)
    (folder / "model.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_it_gives_what_the_files_say(folder: Path) -> None:
    rows = ["index,tag,category", '0,"a,b",General', "1,été,Character"]
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")
    edit(folder, lambda m: m.update(tags=2, tags_sha256=sha256_of(folder / "tags.csv")))
    edit(folder, lambda m: m["precisions"]["fp32"].update(parity={"verdict": "fail"}))
    model = open_model(folder)
    assert model.tags == ("a,b", "été")
    assert model.categories == ("General", "Character")
    assert model.category_by_tag == {"a,b": "General", "été": "Character"}
    assert model.preprocessing == Preprocessing("deepdanbooru", 64, 64, "uint16")
    assert model.tags_sha256 == sha256_of(folder / "tags.csv")
    assert model.sha256 == model.manifest["source"]["sha256"]
    fp32 = model.precisions["fp32"]
    assert (fp32.name, fp32.file, fp32.verdict) == ("fp32", folder / "model.fp32.onnx", "fail")
    assert fp32.sha256 == sha256_of(fp32.file)


def test_pixels_are_uint8_where_the_manifest_does_not_say(folder: Path) -> None:
    edit(folder, lambda m: m["input"].pop("dtype"))
    assert open_model(folder).preprocessing.dtype == "uint8"
    edit(folder, lambda m: m["input"].update(dtype="uint8"))
    assert open_model(folder).preprocessing.dtype == "uint8"
    edit(folder, lambda m: m["input"].update(dtype="float8"))
    with pytest.raises(ModelError, match=r"pixels of the type float8, this engine knows uint16 and uint8: update"):
        open_model(folder)


def test_features_where_the_manifest_names_them(folder: Path) -> None:
    assert open_model(folder).features == 256
    edit(folder, lambda m: m.pop("features"))
    assert open_model(folder).features is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(features=4096), r"model\.json cannot be read \(TypeError"),
        (lambda m: m.update(format=2), "newer engine"),
        (lambda m: m.update(tags=49), r"tags\.csv holds 50 tags, model\.json says 49"),
        (lambda m: m.update(precisions={}), "no precision"),
        (lambda m: m.pop("source"), r"model\.json cannot be read \(KeyError: 'source'\)"),
        (lambda m: m.update(input=None), r"model\.json cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_used(folder: Path, change: Callable[[Manifest], object], says: str) -> None:
    edit(folder, change)
    with pytest.raises(ModelError, match=f"{says}.*(convert|--overwrite)"):
        open_model(folder)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model.json", b"{", r"model\.json cannot be read"),
        ("model.json", b"[" * 100_000, r"model\.json cannot be read"),
        ("model.json", b"\xff", r"model\.json cannot be read"),
        ("tags.csv", b"index,tag\n0,a\n", r"tags\.csv cannot be read"),
        ("tags.csv", b"index,tag,category\n1,a,General\n", r"tags\.csv is not in the model's order"),
        ("tags.csv", None, r"tags\.csv cannot be read"),
        ("model.json", None, r"no model folder, it has no model\.json"),
    ],
)
def test_damaged_and_missing_files(folder: Path, name: str, content: bytes | None, says: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    if name == "tags.csv" and content is not None:
        edit(folder, lambda m: m.update(tags_sha256=sha256_of(folder / name)))
    with pytest.raises(ModelError, match=f"{says}.*convert"):
        open_model(folder)


def test_tags_of_another_model_are_refused(folder: Path) -> None:
    """As many of them, in order: only the SHA-256 tells."""
    text = (folder / "tags.csv").read_bytes()
    (folder / "tags.csv").write_bytes(text.replace(b"1,tag_1,", b"1,tag_2,").replace(b"2,tag_2,", b"2,tag_1,", 1))
    with pytest.raises(ModelError, match=r"tags\.csv is not the one that model\.json describes .* other names"):
        open_model(folder)
    edit(folder, lambda m: m.pop("tags_sha256"))
    with pytest.raises(ModelError, match=r"model\.json cannot be read \(KeyError: 'tags_sha256'\)"):
        open_model(folder)


def test_a_manifest_names_no_file_outside_its_folder(folder: Path) -> None:
    edit(folder, lambda m: m["precisions"]["fp32"].update(file="../../elsewhere/x.onnx"))
    assert open_model(folder).precisions["fp32"].file == folder / "x.onnx"
