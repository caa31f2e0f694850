"""docs/tagger.md: its Python runs as it stands, and so do its curl line and the answer it shows."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from engine import Tagger
from service.embedded import embedded
from tests.docs.pages import ROOT, Page
from tests.service.conftest import draw

PAGE = Page.read(ROOT / "docs" / "tagger.md")
PYTHON = [content for language, content in PAGE.blocks if language == "python"]
CURL = [shlex.split(line) for line in PAGE.lines if line.startswith("curl ")]


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    """What the examples name: a model, two pictures, a folder of pictures with one that is none."""
    shutil.copytree(tiny_model, tmp_path / "model")
    tags = (tmp_path / "model" / "tags.csv").read_text(encoding="utf-8").replace("General", "Character", 1)
    (tmp_path / "model" / "tags.csv").write_text(tags, encoding="utf-8", newline="")
    renew_checksum(tmp_path / "model")
    for name in ("a.jpg", "a.png", "pictures/b.jpg", "pictures/c.png"):
        draw(tmp_path / name, colour="teal" if name < "b" else "red")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture", encoding="utf-8")
    return tmp_path


def renew_checksum(model: Path) -> None:
    from engine.model.folder import sha256_of

    manifest = json.loads((model / "model.json").read_text(encoding="utf-8"))
    manifest["tags_sha256"] = sha256_of(model / "tags.csv")
    (model / "model.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_each_example_in_python_runs(number: int, folder: Path) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "error", "-c", PYTHON[number]]
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, encoding="utf-8", timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    if "pictures" in PYTHON[number]:
        assert "b.jpg [" in ended.stdout and "notes.txt: not a picture: the file is text" in ended.stdout
    elif "print" in PYTHON[number]:
        assert re.match(r"tag_\d+ 0\.\d+\n", ended.stdout)


def test_the_example_with_curl_gives_an_answer_of_the_form_that_the_page_shows(folder: Path) -> None:
    (command,) = CURL
    with (
        Tagger(folder / "model", device="cpu") as tagger,
        embedded(folder / "pictures", db=folder / "l.db", model=folder / "model", tagger=tagger, rescan=0) as running,
    ):
        address = f"{running.url}/tag"
        assert command[-1] == "http://127.0.0.1:8000/tag" and "$ENGINE_API_TOKEN" in command[-2]
        if shutil.which("curl"):
            header = command[-2].replace("$ENGINE_API_TOKEN", running.token)
            typed = [*command[:-2], header, address]
            answer = json.loads(subprocess.run(typed, cwd=folder, capture_output=True, check=True, timeout=60).stdout)
        else:  # what curl would send
            name = command[command.index("--data-binary") + 1].removeprefix("@")
            headers = {"Authorization": f"Bearer {running.token}"}
            answer = httpx.post(address, content=(folder / name).read_bytes(), headers=headers, timeout=60).json()
        expected = [
            {"tag": tag, "category": tagger.model.category_by_tag[tag], "score": score}
            for tag, score in tagger.tag(folder / "a.jpg")
        ]
    assert answer == {"tags": expected} and expected
    (shown,) = [json.loads(content) for language, content in PAGE.blocks if language == "json"]
    assert shown.keys() == answer.keys() and shown["tags"][0].keys() == expected[0].keys()


def test_the_page_names_every_status_that_the_call_answers_with() -> None:
    from service.tagging import _ANSWERS

    rows = re.findall(r"^\| (\d\d\d(?:, \d\d\d)*) \|", PAGE.text, re.MULTILINE)
    told = {int(status) for row in rows for status in row.split(", ")}
    assert set(_ANSWERS) | {200, 401} == told
