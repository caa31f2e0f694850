"""THE page of this room: project folder -> model folder."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import ConvertError, UnknownLayer, reading
from convert.exporter import Export, export
from convert.fallback import export_otherwise, outputs_of
from convert.graph import parse_network
from convert.h5 import KerasModel
from convert.manifest import (
    MANIFEST,
    TAGS,
    existing,
    manifest_json,
    new_manifest,
    precision_entry,
    sha256_of,
    staged,
    tags_csv,
    write_file,
)
from convert.onnx_file import OPSET
from convert.project import Project, read_project
from convert.releases import advice
from convert.source import open_model


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was made.

    Attributes:
        project: what it was made of.
        files: {precision: size in bytes} of the files written in this run.
        layers: Keras layers.
        parameters: weights, counted as Keras does.
        gflop: billions of floating-point operations a picture, if known.
    """

    project: Project
    files: dict[str, int]
    layers: int
    parameters: int
    gflop: float | None


def convert(
    project_dir: Path, model_dir: Path, precisions: Sequence[str] = ("fp32",), overwrite: bool = False
) -> Conversion:
    """Converts a DeepDanbooru project folder, without TensorFlow.

    Args:
        project_dir: holds project.json, tags.txt and the model.
        model_dir: where the model folder goes; may exist if it was made of the same model, and then gains `precisions`.
        precisions: any of `convert.exporter.PRECISIONS`.
        overwrite: replace a model folder whatever it holds.

    Raises:
        ConvertError: the reason as a sentence; `model_dir` is as it was.
    """
    project = read_project(project_dir)
    source_sha256 = _sha256(project.model)
    manifest = existing(model_dir, new_manifest(project, source_sha256), overwrite)
    with closing(open_model(project.model)) as model:
        exports = {precision: _export(model, project, precision) for precision in precisions}
        for made in exports.values():
            _check_outputs(project, made.outputs, source_sha256)
        with staged(model_dir, keep=not overwrite) as folder:
            sizes = {p: _write(folder, manifest, project, p, made) for p, made in exports.items()}
            write_file(folder / TAGS, tags_csv(project))
            write_file(folder / MANIFEST, manifest_json(manifest))
    made = next(iter(exports.values()))
    return Conversion(project, sizes, made.layers, made.parameters, made.gflop)


def _sha256(path: Path) -> str:
    with reading(path):
        return sha256_of(path)


def _export(model: KerasModel, project: Project, precision: str) -> Export:
    size = project.height, project.width
    with reading(model.path):
        try:
            return export(model, parse_network(model.path, model.config), size, precision)
        except UnknownLayer as reason:
            return export_otherwise(model, size, precision, reason)


def _check_outputs(project: Project, outputs: int | None, source_sha256: str) -> None:
    if outputs not in (None, len(project.tags)):
        raise ConvertError(advice(project, outputs or 0, source_sha256))


def _write(folder: Path, manifest: dict[str, Any], project: Project, precision: str, made: Export) -> int:
    path = folder / f"model.{precision}.onnx"
    path.unlink(missing_ok=True)
    sha256 = made.write(path)
    if made.outputs is None:
        _check_outputs(project, outputs_of(path), manifest["source"]["sha256"])
    manifest["precisions"][precision] = precision_entry(path.name, sha256, made.exporter, OPSET)
    return path.stat().st_size
