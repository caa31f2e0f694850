"""The files of a project folder."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from convert.cli import main
from convert.keras.project import read_project, tags_sha256
from engine.model.folder import open_model
from tests.convert.projects import MODELS, TAGS, edit_config, layer

pytestmark = pytest.mark.usefixtures("no_child_process")


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


@pytest.mark.parametrize(
    "text", [b"a,b\nlong_hair\n:p\n", b"\xef\xbb\xbfa,b\r\nlong_hair\r\n:p\r\n\r\n", b"a,b\n\n long_hair \n:p"]
)
def test_tags_in_every_form(project: Path, text: bytes) -> None:
    (project / "tags.txt").write_bytes(text)
    assert read_project(project).tags == ("a,b", "long_hair", ":p")


def test_categories_are_guessed_where_absent(project: Path) -> None:
    (project / "tags.txt").write_text("1girl\nsaber\nrating:safe\n", encoding="utf-8")
    (project / "tags-character.txt").write_text("saber\n", encoding="utf-8")
    assert read_project(project).categories == ("General", "Character", "System")


def test_keras_goes_before_h5_as_deepdanbooru_loads_them(project: Path) -> None:
    assert read_project(project).model.name == "model-small.h5"
    shutil.copy(MODELS / "keras3.15-resnet.keras", project / "model-small.keras")
    assert read_project(project).model.name == "model-small.keras"


def saved_model(folder: Path) -> Path:
    """What TensorFlow's `model.save("name")` leaves, as far as it can be told by."""
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12")
    return folder


def tflite(file: Path) -> Path:
    file.write_bytes(b"\x1c\x00\x00\x00TFL3\x14\x00\x20\x00")
    return file


def test_a_saved_model_and_a_tflite_file_are_named(project: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "is a SavedModel" in refused(saved_model(tmp_path / "exported"))
    assert "is a TFLite model" in refused(tflite(tmp_path / "model.tflite"))
    (project / "model-small.h5").unlink()
    tflite(project / "model-small.tflite")
    assert f"{project / 'model-small.tflite'} is a TFLite model" in refused(project)
    saved_model(project / "model-small")
    assert f"{project / 'model-small'} is a SavedModel" in refused(project)
    tflite(project / "model-small.h5")
    assert f"{project / 'model-small.h5'} is a TFLite model" in refused(project)


@pytest.mark.parametrize(
    ("name", "size"),
    [("tf2.7-resnet.h5", (32, 32)), ("keras3.15-resnet.keras", (32, 32)), ("tf2.10-sequential.h5", (37, 50))],
)
def test_a_model_file_alone_needs_its_tags(
    name: str, size: tuple[int, int], tmp_path: Path, refused: Callable[..., str]
) -> None:
    file = Path(shutil.copy(MODELS / name, tmp_path))
    assert "--tags FILE" in refused(file)
    (tmp_path / "lists").mkdir()
    tags = tmp_path / "lists" / "own.txt"
    tags.write_text("".join(f"tag_{i}\n" for i in range(TAGS - 1)), encoding="utf-8")
    assert "11 scores and tags.txt has 10 tags" in refused(file, "--tags", str(tags))
    tags.write_text("".join(f"tag_{i}\n" for i in range(TAGS)), encoding="utf-8")
    (tmp_path / "lists" / "tags-character.txt").write_text("tag_3\n", encoding="utf-8")
    assert main([str(file), str(tmp_path / "alone"), "--tags", str(tags)]) == 0
    made = open_model(tmp_path / "alone")
    assert (made.preprocessing.height, made.preprocessing.width, len(made.tags)) == (*size, TAGS)
    assert made.category_by_tag["tag_3"] == "Character"
    assert made.project == file.stem


def test_tags_that_do_not_fit_to_what_is_given(project: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    file = project / "model-small.h5"
    assert "is no file: with --tags" in refused(project, "--tags", str(project / "tags.txt"))
    assert "nowhere.txt: --tags names the list" in refused(file, "--tags", str(tmp_path / "nowhere.txt"))
    edit_config(file, lambda config: layer(config, "InputLayer")["config"].update(batch_input_shape=[None] * 3 + [3]))
    assert "which size its pictures have" in refused(file, "--tags", str(project / "tags.txt"))


def test_the_sha256_of_the_tags_is_that_of_the_lines(project: Path) -> None:
    (project / "tags.txt").write_bytes(b"a\r\nb\r\n")
    assert tags_sha256(read_project(project).tags) == hashlib.sha256(b"a\nb\n").hexdigest()
