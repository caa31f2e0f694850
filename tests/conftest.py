"""Shared by all rooms' tests."""

import json
import shutil
from pathlib import Path

import pytest

from convert.cli import main as convert

KERAS = Path(__file__).parent / "convert" / "fixtures"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A model folder of a 64x64 resnet_custom_v3 with random weights and 50 tags: real files, made in a second."""
    project = tmp_path_factory.mktemp("tiny") / "project"
    project.mkdir()
    shutil.copy(next(KERAS.rglob("tf24.h5")), project / "model-tiny.h5")
    settings = {"image_width": 64, "image_height": 64, "model": "tiny"}
    (project / "project.json").write_text(json.dumps(settings), encoding="utf-8")
    (project / "tags.txt").write_text("".join(f"tag_{i}\n" for i in range(50)), encoding="utf-8")
    folder = project.parent / "model"
    assert convert([str(project), str(folder)]) == 0
    return folder
