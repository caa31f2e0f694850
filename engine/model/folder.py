"""The model folder that `engine convert` wrote: manifest, tags, and one ONNX file for each precision."""

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.types import Preprocessing

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Precision:
    """One ONNX file of the model.

    Attributes:
        name: `fp32`, `fp16` or `int8`.
        file: the ONNX file.
        sha256: of that file, in hex.
        verdict: `pass`, `fail`, or None if it was never verified.
    """

    name: str
    file: Path
    sha256: str
    verdict: str | None


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder that was read and found whole (the ONNX files themselves are checked when one is loaded)."""

    folder: Path
    project: str
    sha256: str
    preprocessing: Preprocessing
    tags: tuple[str, ...]
    categories: tuple[str, ...]
    precisions: Mapping[str, Precision]

    def precision(self, name: str | None) -> Precision:
        """The precision asked for; fp32 (or what there is) when None."""
        if name is None:
            name = "fp32" if "fp32" in self.precisions else next(iter(self.precisions))
        if name not in self.precisions:
            there = ", ".join(self.precisions)
            raise ModelError(
                f"the model folder {self.folder} holds no {name}, only {there}: "
                f"`engine convert PROJECT {self.folder} --precision {name}` adds it"
            )
        return self.precisions[name]


def open_model(folder: Path) -> Model:
    """Read the manifest and tags of a model folder. Raises `ModelError` with the cure."""
    cure = "make it with `engine convert PROJECT_DIR MODEL_DIR`"
    manifest = folder / "model.json"
    if not folder.is_dir():
        raise ModelError(f"there is no model folder {folder}: {cure}")
    if not manifest.is_file():
        raise ModelError(f"{folder} is no model folder, it has no model.json: {cure}")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise ModelError(
                f"{manifest} was written by a newer engine (format {content['format']}, this one knows {FORMAT}): "
                "update the engine, or convert the model again"
            )
        return _model(folder, content)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ModelError(f"{manifest} cannot be read ({type(error).__name__}: {error}): {cure}") from error


def check_file(precision: Precision) -> None:
    """Raise `ModelError` unless the ONNX file is the one its manifest describes (reads it whole: 0.6 GB a second)."""
    try:
        with precision.file.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"the model file {precision.file} cannot be read: {error.strerror}; convert again") from error
    if found != precision.sha256:
        raise ModelError(
            f"the model file {precision.file} is not the one its model.json describes (SHA-256 {found[:12]}… not "
            f"{precision.sha256[:12]}…): it was changed or copied half; convert again"
        )


def _model(folder: Path, content: Mapping[str, Any]) -> Model:
    tags, categories = _tags(folder / "tags.csv")
    if len(tags) != content["tags"]:
        raise ModelError(
            f"{folder / 'tags.csv'} holds {len(tags)} tags, model.json says {content['tags']}: convert again"
        )
    kind = content["preprocessing"]["kind"]
    shape = content["input"]
    precisions = {
        name: Precision(
            name, folder / Path(entry["file"]).name, entry["sha256"], (entry.get("parity") or {}).get("verdict")
        )
        for name, entry in content["precisions"].items()
    }
    if not precisions:
        raise ModelError(f"the model folder {folder} holds no precision: convert again")
    return Model(
        folder=folder,
        project=content["project"],
        sha256=content["source"]["sha256"],
        preprocessing=Preprocessing(kind, int(shape["height"]), int(shape["width"])),
        tags=tags,
        categories=categories,
        precisions=precisions,
    )


def _tags(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tags and their categories, in the model's order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if [int(row["index"]) for row in rows] != list(range(len(rows))):
        raise ModelError(f"{path} is not in the model's order: convert again")
    return tuple(row["tag"] for row in rows), tuple(row["category"] for row in rows)
