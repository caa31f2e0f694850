"""Project folders for the tests of this room."""

import json
import shutil
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"


def make_project(folder: Path, model: Path, tags: int, side: int) -> Path:
    """A project folder around a copy of `model`."""
    folder.mkdir(parents=True)
    shutil.copy(model, folder / f"model-small{model.suffix}")
    settings = {"image_width": side, "image_height": side, "model": "small"}
    (folder / "project.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "tags.txt").write_text("".join(f"tag_{i}\n" for i in range(tags)), encoding="utf-8")
    return folder
