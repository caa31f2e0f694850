"""THE page of this room: project folder -> model folder."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import ConvertError, reading
from convert.exporter import Export, export
from convert.graph import Network, parse_network
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
from convert.onnx_file import OPSET, write_onnx
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
        gflop: billions of floating-point operations a picture.
    """

    project: Project
    files: dict[str, int]
    layers: int
    parameters: int
    gflop: float


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
            if made.outputs != len(project.tags):
                raise ConvertError(advice(project, made.outputs, source_sha256))
        with staged(model_dir, keep=not overwrite) as folder:
            sizes = {p: _write(folder, manifest, p, made) for p, made in exports.items()}
            write_file(folder / TAGS, tags_csv(project))
            write_file(folder / MANIFEST, manifest_json(manifest))
    made = next(iter(exports.values()))
    return Conversion(project, sizes, made.layers, made.parameters, made.gflop)


def _sha256(path: Path) -> str:
    with reading(path):
        return sha256_of(path)


def _export(model: KerasModel, project: Project, precision: str) -> Export:
    with reading(model.path):
        network: Network = parse_network(model.path, model.config)
        return export(model, network, (project.height, project.width), precision)


def _write(folder: Path, manifest: dict[str, Any], precision: str, made: Export) -> int:
    path = folder / f"model.{precision}.onnx"
    path.unlink(missing_ok=True)
    sha256 = write_onnx(path, made.graph, made.weights)
    manifest["precisions"][precision] = precision_entry(path.name, sha256, "direct", OPSET)
    return path.stat().st_size
