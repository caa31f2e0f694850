"""Reads a model folder: the manifest, the tags, and which ONNX file belongs to which precision.

This is the only reader; `convert.model_folder` is the only writer.

    model.json              the manifest
    tags.csv                index,tag,category in the order of the model's outputs
    model.<precision>.onnx  one for each precision; some have their weights beside them, in model.<precision>.onnx.data
"""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.types import WHITE, Preprocessing

FORMAT = 1
"""The newest format of the manifest that this version reads, and the one that is written."""
BF16 = "bf16"
"""16-bit floats with fp32's range. There is no file of it: the device rounds fp32's numbers itself."""
MANIFEST = "model.json"
TAGS = "tags.csv"
_AGAIN = "convert the model again with --overwrite"


@dataclass(frozen=True, slots=True)
class Precision:
    """One ONNX file of the model.

    Attributes:
        name: `fp32`, `fp16` or `int8`; or `bf16`, which is the arithmetic that a device computes the fp32 file in.
        file: the ONNX file.
        sha256: of that file, in hex.
        verdict: `pass`, `fail`, or None if it was never verified.
        data: the files beside it that hold its weights, each with its SHA-256; most models have none.
    """

    name: str
    file: Path
    sha256: str
    verdict: str | None
    data: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder that was read and found whole. The ONNX files themselves are checked when one is loaded.

    Attributes:
        folder: where it lies.
        project: the name of the project it was made of, for people.
        sha256: of the Keras file it was made of, in hex.
        preprocessing: how a picture becomes the model's input.
        tags: in the order of the model's outputs.
        categories: the category of each tag, in the same order.
        precisions: by name; there is at least one.
        tags_sha256: of tags.csv, in hex.
        features: how long the output `features` of each ONNX file is, float32 [N, features]; None if there is none.
        manifest: the whole content of model.json, for whoever adds to it.
    """

    folder: Path
    project: str
    sha256: str
    preprocessing: Preprocessing
    tags: tuple[str, ...]
    categories: tuple[str, ...]
    precisions: Mapping[str, Precision]
    tags_sha256: str
    features: int | None
    manifest: Mapping[str, Any]

    @property
    def category_by_tag(self) -> dict[str, str]:
        """The category of each tag, by the tag's name."""
        return dict(zip(self.tags, self.categories, strict=True))

    def precision(self, name: str | None) -> Precision:
        """The precision asked for; fp32 (or what there is) when None."""
        if name is None:
            name = "fp32" if "fp32" in self.precisions else next(iter(self.precisions))
        if name == BF16:  # what the fp32 file was found to give says nothing of it
            return replace(self.precision("fp32"), name=BF16, verdict=None)
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
    if not folder.is_dir():
        raise ModelError(f"there is no model folder {folder}: {cure}")
    if not (folder / MANIFEST).is_file():
        raise ModelError(f"{folder} is no model folder, it has no {MANIFEST}: {cure}")
    with _reading(folder / MANIFEST):
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise ModelError(
                f"{folder / MANIFEST} was written by a newer engine (format {content['format']}, this one knows "
                f"{FORMAT}): update the engine, or convert the model again with --overwrite"
            )
        count = content["tags"]
        described = content["tags_sha256"]
    with _reading(folder / TAGS):
        if (found := sha256_of(folder / TAGS)) != described:
            raise ModelError(
                f"{folder / TAGS} is not the one that {MANIFEST} describes (SHA-256 {found[:12]}… not "
                f"{str(described)[:12]}…), so the scores would get other names: it was changed or copied half, {_AGAIN}"
            )
        tags, categories = _tags(folder / TAGS)
    if len(tags) != count:
        raise ModelError(f"{folder / TAGS} holds {len(tags)} tags, {MANIFEST} says {count}: {_AGAIN}")
    with _reading(folder / MANIFEST):
        return _model(folder, content, tags, categories)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex; reads it whole, 0.6 GB a second."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(precision: Precision) -> None:
    """Raise `ModelError` unless the files are those that the manifest describes. Reads them all, see `sha256_of`."""
    for file, sha256 in ((precision.file, precision.sha256), *precision.data):
        try:
            found = sha256_of(file)
        except OSError as error:
            raise ModelError(f"the model file {file} cannot be read: {error.strerror}; convert again") from error
        if found != sha256:
            raise ModelError(
                f"the model file {file} is not the one its model.json describes (SHA-256 {found[:12]}… not "
                f"{sha256[:12]}…): it was changed or copied half; convert again"
            )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the reading of a damaged file raises into a `ModelError` that names the file."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error, OSError) as error:
        raise ModelError(f"{path} cannot be read ({type(error).__name__}: {error}): {_AGAIN}") from error


def _model(folder: Path, content: Mapping[str, Any], tags: tuple[str, ...], categories: tuple[str, ...]) -> Model:
    shape = content["input"]
    dtype = shape.get("dtype", "uint8")  # the first folders do not say
    if dtype not in WHITE:
        raise ModelError(
            f"the model folder {folder} takes pixels of the type {dtype}, this engine knows "
            f"{' and '.join(WHITE)}: update the engine"
        )
    precisions = {
        name: Precision(
            name,
            folder / Path(entry["file"]).name,
            entry["sha256"],
            (entry.get("parity") or {}).get("verdict"),
            tuple((folder / Path(file).name, sha256) for file, sha256 in entry.get("data", {}).items()),
        )
        for name, entry in content["precisions"].items()
    }
    if not precisions:
        raise ModelError(f"the model folder {folder} holds no precision: {_AGAIN}")
    return Model(
        folder=folder,
        project=content["project"],
        sha256=content["source"]["sha256"],
        preprocessing=Preprocessing(
            content["preprocessing"]["kind"],
            int(shape["height"]),
            int(shape["width"]),
            str(dtype),
            tuple((name, value) for name, value in content["preprocessing"].items() if name != "kind"),
        ),
        tags=tags,
        categories=categories,
        precisions=precisions,
        tags_sha256=content["tags_sha256"],
        features=int(features["size"]) if (features := content.get("features")) else None,
        manifest=content,
    )


def _tags(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tags and their categories, in the model's order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if [int(row["index"]) for row in rows] != list(range(len(rows))):
        raise ModelError(f"{path} is not in the model's order: {_AGAIN}")
    return tuple(row["tag"] for row in rows), tuple(row["category"] for row in rows)
