"""Project folders and edited model files for the converter's tests."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnxruntime

from engine.model.runners import input_dtype
from engine.types import WHITE

DEMO = Path(__file__).parents[2] / "demo" / "model"
FIXTURES = Path(__file__).parent / "fixtures"
MODELS = FIXTURES / "models"
TAGS = 11  # of every file in MODELS


def make_project(folder: Path, model: Path, tags: int = TAGS, size: tuple[int, int] = (32, 32)) -> Path:
    """A project folder around a copy of `model`; `size` is (height, width)."""
    folder.mkdir(parents=True)
    shutil.copy(model, folder / f"model-small{model.suffix}")
    settings = {"image_height": size[0], "image_width": size[1], "model": "small"}
    (folder / "project.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "tags.txt").write_text("".join(f"tag_{i}\n" for i in range(tags)), encoding="utf-8")
    return folder


def model_of(project: Path) -> Path:
    """The .h5 file of a project that `make_project` made."""
    return project / "model-small.h5"


def edit_config(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the model_config of an h5 file in place."""
    with h5py.File(file, "r+") as h5:
        config = json.loads(h5.attrs["model_config"])
        change(config)
        h5.attrs["model_config"] = json.dumps(config)


def layer(config: dict[str, Any], kind: str) -> dict[str, Any]:
    """The first layer of a kind in a model_config."""
    found: dict[str, Any] = next(entry for entry in config["config"]["layers"] if entry["class_name"] == kind)
    return found


def pixels(count: int, size: tuple[int, int]) -> np.ndarray:
    """The made-up pictures on which the fixtures' scores were computed: uint8 [count, height, width, 3]."""
    return np.random.RandomState(1).randint(0, 256, (count, *size, 3)).astype("uint8")


def scores(onnx_file: Path, pixels: np.ndarray) -> np.ndarray:
    """What ONNX Runtime gives for uint8 pixels [n, height, width, 3], as a file for uint16 takes them: times 256."""
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    dtype = input_dtype(session)
    rows = pixels.astype(dtype) * dtype.type(WHITE[dtype.name] // 255)
    return np.asarray(session.run(["scores"], {"pixels": rows})[0])


def outputs(onnx_file: Path, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Every output that the file declares, by name, for rows of its own dtype [n, height, width, 3]."""
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixels": rows}), strict=True))
