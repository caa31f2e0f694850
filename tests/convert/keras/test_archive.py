"""The .keras files of Keras 3."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.convert.projects import model_of

pytestmark = pytest.mark.usefixtures("no_child_process")


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
