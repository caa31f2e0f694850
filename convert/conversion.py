"""A DeepDanbooru project folder, or an ONNX tagger -> a model folder: the whole conversion on one page."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import ConvertError, UnknownLayer, reading
from convert.keras.h5 import KerasModel
from convert.keras.network import parse_network
from convert.keras.open import open_keras
from convert.keras.project import Project, model_alone, read_project
from convert.model_folder import Manifest, add_precision, finish, manifest_for, note_features, preprocessing_of, staged
from convert.onnx.export import Export, export
from convert.onnx.fallback import export_with_tf2onnx, outputs_of
from convert.onnx.int8 import EXPORTER, INT8, quantise
from convert.onnx.writer import OPSET
from convert.pictures import CALIBRATE_COUNT, Pictures, Progress
from convert.releases import advice
from convert.taggers.check import check
from convert.taggers.graph import data_name, output_for, read_graph, write_wrapped
from convert.taggers.source import Source, TaggerOptions, as_graph, find_source, rows_for
from engine.model.folder import sha256_of
from engine.types import Preprocessing


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion made.

    Attributes:
        project: what it was made of.
        files: {precision: size in bytes} of the files written in this run.
        layers: Keras layers.
        parameters: weights, counted as Keras does.
        gflop: billions of floating-point operations a picture, if known.
        calibration: how int8 was fitted, as the manifest has it; None if int8 was not made.
        rows: what the model takes.
        difference: of an ONNX tagger, how far a score was from the original's at most.
        features: how long a picture's feature vector is in the files written; None if they give none.
    """

    project: Project
    files: dict[str, int]
    layers: int
    parameters: int
    gflop: float | None
    calibration: dict[str, Any] | None
    rows: Preprocessing
    difference: float | None = None
    features: int | None = None


def convert(
    project_dir: Path,
    model_dir: Path,
    precisions: Sequence[str] = ("fp32",),
    overwrite: bool = False,
    calibrate: Path | None = None,
    calibrate_count: int = CALIBRATE_COUNT,
    tags: Path | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Conversion:
    """Converts a DeepDanbooru project folder, without TensorFlow.

    Args:
        project_dir: holds project.json, tags.txt and the model; with `tags`, the Keras file itself.
        model_dir: where the model folder goes; may exist if it was made of the same model, and then gains `precisions`.
        precisions: any of `convert.onnx.export.PRECISIONS`, and int8, which is made from fp32 and brings that along.
        overwrite: replace a model folder whatever it holds.
        calibrate: a folder of pictures, which int8 needs.
        calibrate_count: how many of them to use at most.
        tags: a list of the model's tags, one a line, where there is no project folder.
        progress: is told what is being done.

    Raises:
        ConvertError: the reason as a sentence; `model_dir` is as it was.
        ModelError: likewise, where `model_dir` is a model folder that cannot be read.
    """
    project = model_alone(project_dir, tags) if tags else read_project(project_dir)
    source_sha256 = _sha256(project.model)
    manifest = manifest_for(model_dir, project, source_sha256, overwrite)
    rows = preprocessing_of(manifest)
    pictures = _pictures(rows, calibrate, calibrate_count) if INT8 in precisions else None
    with closing(open_keras(project.model)) as model:
        exports = {precision: _export(model, rows, precision) for precision in _direct(precisions)}
        for made in exports.values():
            _check_outputs(project, made.outputs, source_sha256)
        made = next(iter(exports.values()))
        with staged(model_dir, keep=not overwrite) as folder:
            sizes = {p: _write(folder, manifest, project, p, made) for p, made in exports.items()}
            if pictures:
                sizes[INT8] = _write_int8(folder, manifest, pictures, progress)
            note_features(manifest, made.features, sizes)
            finish(folder, manifest, project)
    calibration = manifest["precisions"][INT8]["calibration"] if pictures else None
    return Conversion(project, sizes, made.layers, made.parameters, made.gflop, calibration, rows, None, made.features)


def convert_tagger(
    path: Path,
    model_dir: Path,
    options: TaggerOptions,
    precisions: Sequence[str] = ("fp32",),
    overwrite: bool = False,
    calibrate: Path | None = None,
    calibrate_count: int = CALIBRATE_COUNT,
    progress: Progress = lambda what, done, of: None,
) -> Conversion:
    """Puts the engine's input and output around an ONNX tagger, and holds it against the original.

    Args:
        path: the ONNX file, or the folder that holds it.
        options: what the flags say of it.
        model_dir, overwrite, calibrate, calibrate_count, progress: as `convert` takes them.
        precisions: fp32, which stands for the weights as they are, and int8.

    Raises:
        ConvertError, ModelError: as `convert`.
    """
    if not {*precisions} <= {"fp32", INT8}:
        raise ConvertError("an ONNX tagger keeps the weights it has: leave --precision fp16 away.")
    source = find_source(path, options)
    graph = read_graph(source.model)
    source = as_graph(source, graph, options)
    output = output_for(graph, len(source.tags.names))
    rows = rows_for(source, graph, options)
    project = _as_project(source, rows)
    manifest = manifest_for(model_dir, project, graph.sha256, overwrite, rows)
    pictures = _pictures(rows, calibrate, calibrate_count) if INT8 in precisions else None
    with staged(model_dir, keep=not overwrite) as folder:
        target = folder / "model.fp32.onnx"
        opset, nodes = graph.model.opset_import[0].version, len(graph.model.graph.node)
        features = write_wrapped(graph, output, rows, source.traits, len(project.tags), target)
        del graph.model  # the weights: what follows loads them twice
        data = {(name := data_name(target, i)): sha256_of(target.with_name(name)) for i in range(len(graph.data))}
        difference = check(source, output, target, rows)
        add_precision(
            manifest, "fp32", target, sha256=sha256_of(target), exporter="wrapped", opset=opset, data=data or None
        )
        sizes = {"fp32": sum((folder / name).stat().st_size for name in (target.name, *data))}
        if pictures:
            sizes[INT8] = _write_int8(folder, manifest, pictures, progress)
        note_features(manifest, features, sizes)
        finish(folder, manifest, project)
    calibration = manifest["precisions"][INT8]["calibration"] if pictures else None
    return Conversion(project, sizes, nodes, graph.parameters, None, calibration, rows, difference, features)


def _as_project(source: Source, rows: Preprocessing) -> Project:
    names, categories = source.tags
    folder = source.model.resolve().parent.name
    return Project(
        name=folder if source.model.stem == "model" else source.model.stem,
        model=source.model,
        height=rows.height,
        width=rows.width,
        tags=names,
        categories=categories,
        category_names=tuple(dict.fromkeys(categories)),
    )


def _pictures(rows: Preprocessing, folder: Path | None, count: int) -> Pictures:
    """The pictures that int8 is fitted to. Raises ConvertError if there is none, before anything is converted."""
    if folder is None:
        raise ConvertError("int8 is fitted to pictures: name a folder with some hundred of them by --calibrate FOLDER.")
    pictures = Pictures(folder, count, rows)
    next(iter(pictures))
    return pictures


def _direct(precisions: Sequence[str]) -> list[str]:
    """The precisions that are made from the Keras file itself."""
    wanted = ["fp32", *precisions] if INT8 in precisions else precisions
    return [precision for precision in dict.fromkeys(wanted) if precision != INT8]


def _sha256(path: Path) -> str:
    with reading(path):
        return sha256_of(path)


def _export(model: KerasModel, rows: Preprocessing, precision: str) -> Export:
    with reading(model.path):
        try:
            return export(model, parse_network(model.path, model.config), rows, precision)
        except UnknownLayer as reason:
            return export_with_tf2onnx(model, rows, precision, reason)


def _check_outputs(project: Project, outputs: int | None, source_sha256: str) -> None:
    if outputs not in (None, len(project.tags)):
        raise ConvertError(advice(project, outputs or 0, source_sha256))


def _write(folder: Path, manifest: Manifest, project: Project, precision: str, made: Export) -> int:
    path = folder / f"model.{precision}.onnx"
    path.unlink(missing_ok=True)
    sha256 = made.write(path)
    if made.outputs is None:
        _check_outputs(project, outputs_of(path), manifest["source"]["sha256"])
    add_precision(manifest, precision, path, sha256=sha256, exporter=made.exporter, opset=OPSET)
    return path.stat().st_size


def _write_int8(folder: Path, manifest: Manifest, pictures: Pictures, progress: Progress) -> int:
    path = folder / f"model.{INT8}.onnx"
    path.unlink(missing_ok=True)
    made = quantise(folder / manifest["precisions"]["fp32"]["file"], path, pictures, progress)
    add_precision(
        manifest,
        INT8,
        path,
        sha256=made.sha256,
        exporter=EXPORTER,
        opset=OPSET,
        versions={"onnxruntime": made.runtime},
        calibration=made.calibration,
    )
    return path.stat().st_size
