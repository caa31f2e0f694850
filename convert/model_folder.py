"""Writes the model folder that the engine reads; `engine.model.folder` says what lies in it and is its only reader.

A new or changed folder is made beside the old one and takes its place when it is whole, so there is never half of one.
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convert.errors import ConvertError
from convert.keras.project import Project
from engine.files import replacing
from engine.model.folder import FORMAT, MANIFEST, TAGS, open_model
from engine.types import Preprocessing

Manifest = dict[str, Any]
"""The content of model.json."""
KIND = "deepdanbooru"
"""The preprocessing of a DeepDanbooru project."""
DTYPE = "uint16"
"""Of the rows that a new model folder takes (docs/decisions/uint16-rows.md)."""
_PACKAGES = ("onnx", "h5py", "numpy", "deepdanbooru-engine")


def preprocessing_of(manifest: Manifest) -> Preprocessing:
    """How a picture becomes the model's input, as the manifest says it."""
    shape, said = manifest["input"], manifest["preprocessing"]
    changes = tuple((name, value) for name, value in said.items() if name != "kind")
    return Preprocessing(said["kind"], shape["height"], shape["width"], shape["dtype"], changes)


def manifest_for(
    folder: Path, project: Project, source_sha256: str, overwrite: bool, rows: Preprocessing | None = None
) -> Manifest:
    """The manifest to add precisions to: with those that `folder` holds already, if it was made of the same model.

    All files of a folder take the same rows, so one that was made for uint8 keeps it.

    Args:
        folder: where the model folder goes.
        project: what it is made of.
        source_sha256: of the project's Keras file, in hex.
        overwrite: replace a model folder whatever model it holds.
        rows: how a picture becomes the model's input; DeepDanbooru's way if None.

    Raises:
        ConvertError: `folder` holds something else; nothing that is no model folder is ever replaced.
        ModelError: it is a model folder that cannot be read.
    """
    rows = rows or Preprocessing(KIND, project.height, project.width, DTYPE)
    fresh = _new_manifest(project, source_sha256, rows)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return fresh
    if not (folder / MANIFEST).is_file():
        raise ConvertError(f"{folder} exists and is no model folder: name one that does not exist yet.")
    if overwrite:
        return fresh
    found = open_model(folder)
    fresh["input"]["dtype"] = found.preprocessing.dtype
    there = found.sha256, found.preprocessing, found.tags, found.categories
    if there != (source_sha256, preprocessing_of(fresh), project.tags, project.categories):
        raise ConvertError(f"{folder} holds another model: give --overwrite to replace it, or name another folder.")
    return fresh | {key: found.manifest[key] for key in ("features", "precisions") if key in found.manifest}


def note_features(manifest: Manifest, size: int | None, written: Collection[str]) -> None:
    """Names the output `features` in the manifest if every file has it: those written now, and those that stay.

    Args:
        manifest: changed in place.
        size: how long the vector is in the files written now; None if they give none.
        written: the precisions of these files.
    """
    before = manifest.pop("features", None)
    if size and (before or {*manifest["precisions"]} <= {*written}):
        manifest["features"] = {"output": "features", "size": size}


def add_precision(
    manifest: Manifest,
    name: str,
    file: Path,
    *,
    sha256: str,
    exporter: str,
    opset: int,
    versions: Mapping[str, str] | None = None,
    calibration: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
) -> None:
    """Puts a precision into the manifest. What an earlier comparison found stays only if the file is the same as then.

    Args:
        manifest: changed in place.
        name: of the precision.
        file: the ONNX file; its name is kept.
        sha256: of the file, in hex.
        exporter: what made it.
        opset: of ONNX.
        versions: of further packages that took part; the usual ones are added.
        calibration: of int8: how, and on how many pictures.
        data: the files beside it that hold its weights, where there are such: SHA-256 by name.
    """
    known = manifest["precisions"].get(name)
    manifest["precisions"][name] = {
        "file": file.name,
        "sha256": sha256,
        "exporter": exporter,
        "versions": {package: version(package) for package in _PACKAGES} | dict(versions or {}),
        "opset": opset,
        "parity": known.get("parity") if known and known["sha256"] == sha256 else None,
    }
    if calibration:
        manifest["precisions"][name]["calibration"] = dict(calibration)
    if data:
        manifest["precisions"][name]["data"] = dict(data)


def finish(staging: Path, manifest: Manifest, project: Project) -> None:
    """Writes tags.csv and model.json into a staged folder that holds the ONNX files."""
    write_file(staging / TAGS, _tags_csv(project))
    write_file(staging / MANIFEST, _json(manifest))


def record_parity(folder: Path, parity: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts what a comparison found, by precision, into the manifest of a finished folder."""
    manifest = dict(open_model(folder).manifest)  # read again: a comparison takes minutes
    manifest["precisions"] = {
        name: entry | {"parity": dict(parity[name])} if name in parity else entry
        for name, entry in manifest["precisions"].items()
    }
    replace_file(folder / MANIFEST, _json(manifest))


def _new_manifest(project: Project, source_sha256: str, rows: Preprocessing) -> Manifest:
    """The manifest of `project` without any precision."""
    return {
        "format": FORMAT,
        "project": project.name,
        "source": {"file": project.model.name, "sha256": source_sha256},
        "input": {"height": rows.height, "width": rows.width, "dtype": rows.dtype},
        "preprocessing": {"kind": rows.kind, **dict(rows.changes)},
        "tags": len(project.tags),
        "categories": list(project.category_names),
        "tags_sha256": hashlib.sha256(_tags_csv(project)).hexdigest(),
        "precisions": {},
    }


def _tags_csv(project: Project) -> bytes:
    """The content of tags.csv: UTF-8, LF, quoted where CSV needs it."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["index", "tag", "category"])
    rows.writerows(
        (i, tag, category) for i, (tag, category) in enumerate(zip(project.tags, project.categories, strict=True))
    )
    return text.getvalue().encode("utf-8")


def _json(manifest: Manifest) -> bytes:
    return (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


@contextmanager
def staged(folder: Path, keep: bool) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place if the block ends well, and leaves no trace otherwise.

    With `keep` it begins with the files that `folder` holds.
    """
    folder = folder.absolute()
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        if keep and folder.exists():
            shutil.copytree(folder, staging, copy_function=_link)
        else:
            staging.mkdir()
        yield staging
        _swap(staging, folder)
    except OSError as error:
        raise ConvertError(
            f"{folder} cannot be written ({error.strerror or error}): make room, close what uses it, or name another."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """The same file under another name where the file system can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _swap(staging: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Replaces a staged file. Never in place: it may be a link to one that is in use."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def replace_file(path: Path, content: bytes) -> None:
    """Replaces a file of a finished folder in one step. Raises ConvertError if it cannot be written."""
    try:
        with replacing(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise ConvertError(f"{path} cannot be written ({error.strerror or error}): make room, or close it.") from error
