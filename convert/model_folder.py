"""The model folder: what convert writes and the engine reads.

model.fp32.onnx ...   one for each precision
tags.csv              index,tag,category in the model's order
model.json            the manifest
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convert.errors import ConvertError
from convert.keras.project import Project

FORMAT = 1
MANIFEST = "model.json"
TAGS = "tags.csv"
KIND = "deepdanbooru"
"""The preprocessing of every model that this room reads."""
_PACKAGES = ("onnx", "h5py", "numpy", "deepdanbooru-engine")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tags_csv(project: Project) -> bytes:
    """The content of tags.csv: UTF-8, LF, quoted where CSV needs it."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["index", "tag", "category"])
    rows.writerows(
        (i, tag, category) for i, (tag, category) in enumerate(zip(project.tags, project.categories, strict=True))
    )
    return text.getvalue().encode("utf-8")


def new_manifest(project: Project, source_sha256: str) -> dict[str, Any]:
    """The manifest of `project` without any precision."""
    return {
        "format": FORMAT,
        "project": project.name,
        "source": {"file": project.model.name, "sha256": source_sha256},
        "input": {"height": project.height, "width": project.width},
        "preprocessing": {"kind": KIND},
        "tags": len(project.tags),
        "categories": list(project.category_names),
        "tags_sha256": hashlib.sha256(tags_csv(project)).hexdigest(),
        "precisions": {},
    }


def precision_entry(
    file: str, sha256: str, exporter: str, opset: int, known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The manifest's entry of one precision; verified only if the one `known` so far is of the very same file."""
    versions = {package: version(package) for package in _PACKAGES}
    return {
        "file": file,
        "sha256": sha256,
        "exporter": exporter,
        "versions": versions,
        "opset": opset,
        "parity": known.get("parity") if known and known.get("sha256") == sha256 else None,
    }


def existing(folder: Path, fresh: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """The manifest to add precisions to: `fresh`, or the folder's own if it was made of the same source.

    Raises ConvertError if `folder` is something else; nothing that is no model folder is ever replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return fresh
    if not (folder / MANIFEST).is_file():
        raise ConvertError(f"{folder} exists and is no model folder: name one that does not exist yet.")
    if overwrite:
        return fresh
    found = read_manifest(folder)
    same = ("format", "source", "input", "preprocessing", "tags_sha256")
    if any(found.get(key) != fresh[key] for key in same):
        raise ConvertError(f"{folder} holds another model: give --overwrite to replace it, or name another folder.")
    return fresh | {"precisions": found.get("precisions", {})}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder; empty if it is JSON of another kind. Raises ConvertError if it is none."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConvertError(f"{folder / MANIFEST} cannot be read ({error}): give --overwrite to replace it.") from error
    return found if isinstance(found, dict) else {}


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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConvertError(f"{path} cannot be written ({error.strerror or error}): make room, or close it.") from error


def manifest_json(manifest: dict[str, Any]) -> bytes:
    """The manifest as it lies in the folder."""
    return (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
