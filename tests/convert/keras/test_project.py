"""The files of a project folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from convert.keras.project import read_project

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
