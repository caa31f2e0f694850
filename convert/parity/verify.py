"""Compares each precision of a model folder with the original on real pictures; writes the verdicts and the report."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from convert.errors import ConvertError
from convert.keras.project import read_project
from convert.model_folder import KIND, record_parity, replace_file
from convert.parity.comparison import THRESHOLD, Comparison, compare
from convert.parity.keras_reference import has_keras, keras_scores
from convert.parity.report import report
from convert.pictures import Pictures, Progress
from convert.taggers.original import open_original, sigmoid
from convert.taggers.source import model_file
from engine.errors import first_line
from engine.families import traits_of
from engine.model.folder import Model, Precision, check_file, open_model, sha256_of
from engine.model.onnx_runtime import import_onnxruntime
from engine.types import Row, Scores

PAGE = "parity.html"
COUNT = 500


def verify(
    model_dir: Path,
    folder: Path,
    count: int = COUNT,
    *,
    threshold: float = THRESHOLD,
    project_dir: Path | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Comparison:
    """Compares on up to `count` pictures of `folder`; writes the verdicts to model.json and the page parity.html.

    The reference is the Keras model of `project_dir` with DeepDanbooru's own preprocessing, where the extra `keras` is
    installed, or the ONNX file of `project_dir` fed as its users feed it; else the folder's fp32, which then gets no
    verdict itself. Memory: one model and one picture at a time,
    and float32 [pictures, tags] for each precision.

    Raises:
        ConvertError: no picture can be read, there is nothing to compare, or the project is of another model.
        ModelError: the model folder is not whole.
    """
    model = open_model(model_dir)
    source = _source_file(model, project_dir) if project_dir else None
    original = source if is_tagger_model(model) or has_keras() else None
    names = [name for name in model.precisions if original or name != "fp32"]
    if not names or not (original or "fp32" in model.precisions):
        raise ConvertError(
            f"{model_dir} holds only {', '.join(model.precisions)}, and there is nothing to hold it against: give the "
            "original's folder with --project and install the extra keras (pip install 'deepdanbooru-engine[keras]')."
        )
    pictures = Pictures(folder, count, model.preprocessing)
    paths, scores = _all_scores(model, pictures, progress)
    reference = (
        _original(original, model, paths, pictures.unread, progress)
        if original
        else _Reference(scores.pop("fp32"), 0, ())
    )
    expected = reference.scores
    readable = np.asarray(np.isfinite(expected).all(axis=1))
    if not readable.any():
        raise ConvertError(f"the original reads none of the pictures in {folder}: name another folder.")
    expected, scores = expected[readable], {name: scores[name][readable] for name in names}
    found = Comparison(
        model=model,
        folder=folder,
        pictures=tuple(path for path, kept in zip(paths, readable.tolist(), strict=True) if kept),
        skipped=pictures.skipped + int((~readable).sum()),
        undecoded=reference.undecoded,
        missed=reference.missed,
        threshold=threshold,
        reference=("original" if is_tagger_model(model) else "keras") if original else "fp32",
        expected=expected,
        scores=scores,
        parity={
            name: compare(expected, scores[name], model.categories, threshold, exact=name == "fp32") for name in names
        },
        day=date.today(),
    )
    _write(found)
    return found


def is_tagger_model(model: Model) -> bool:
    """Whether the model folder was made of an ONNX file."""
    return model.preprocessing.kind != KIND


def _source_file(model: Model, project_dir: Path) -> Path:
    """The model file of the project (or that file itself), if the model folder was made of it."""
    if is_tagger_model(model):
        from convert.taggers.graph import read_graph  # here, so that --help does not need onnx

        source = model_file(project_dir)
        sha256 = read_graph(source).sha256
    else:
        source = project_dir if project_dir.is_file() else read_project(project_dir).model
        sha256 = sha256_of(source)
    if sha256 != model.sha256:
        raise ConvertError(
            f"{source} is not what {model.folder} was made of (its SHA-256 is another): give the project that was."
        )
    return source


class _Reference(NamedTuple):
    """Scores float32 [pictures, tags], NaN where there are none; the others as in `Comparison`."""

    scores: Scores
    undecoded: int
    missed: tuple[Path, ...]


def _original(
    file: Path, model: Model, paths: Sequence[Path], unread: Sequence[Path], progress: Progress
) -> _Reference:
    """What the original makes of the pictures, and which of the files that the engine cannot read it can."""
    size = model.preprocessing.height, model.preprocessing.width
    files = [*paths, *unread]
    if is_tagger_model(model):
        scores = _tagger_scores(file, model, files, progress)
        missed = tuple(path for path, row in zip(unread, scores[len(paths) :], strict=True) if np.isfinite(row).all())
        return _Reference(scores[: len(paths)], 0, missed)
    done = itertools.count(1)
    progress("Keras", 0, len(files))
    scores, undecoded = keras_scores(
        file, size, len(model.tags), files, lambda: progress("Keras", next(done), len(files))
    )
    missed = tuple(path for path, row in zip(unread, scores[len(paths) :], strict=True) if np.isfinite(row).all())
    return _Reference(scores[: len(paths)], undecoded, missed)


def _tagger_scores(file: Path, model: Model, files: Sequence[Path], progress: Progress) -> Scores:
    """What the original ONNX file gives, float32 [files, tags]; NaN where Pillow does not read the picture."""
    from convert.taggers.graph import output_for, read_graph

    traits = traits_of(model.preprocessing)
    output = output_for(read_graph(file), len(model.tags))
    run = open_original(file, output, traits, (model.preprocessing.height, model.preprocessing.width))
    scores = np.full((len(files), len(model.tags)), np.nan, np.float32)
    for number, path in enumerate(files):
        with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises
            raw = run(path.read_bytes())
            scores[number] = sigmoid(raw) if traits.logits else raw
        progress("original", number + 1, len(files))
    return scores


def _all_scores(model: Model, pictures: Pictures, progress: Progress) -> tuple[list[Path], dict[str, Scores]]:
    """The pictures' files, and the scores of each precision."""
    paths: list[Path] = []
    scores: dict[str, Scores] = {}
    for name, precision in model.precisions.items():
        run = _session(precision)
        seen, rows = [], []
        for picture in pictures:
            rows.append(run(picture.row))
            seen.append(picture.path)
            progress(name, len(seen), len(paths) or pictures.count)
        if paths and seen != paths:
            raise ConvertError(f"the pictures in {pictures.folder} changed during the comparison: do it again.")
        paths, scores[name] = seen, np.concatenate(rows)
    return paths, scores


def _session(precision: Precision) -> Callable[[Row], Scores]:
    """One precision's file on the CPU: pixels [1, height, width, 3] -> scores [1, tags]."""
    check_file(precision)
    onnxruntime = import_onnxruntime()
    try:
        session = onnxruntime.InferenceSession(precision.file, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ConvertError(f"ONNX Runtime cannot use {precision.file}: {first_line(error)}.") from error
    return lambda pixels: np.asarray(session.run(["scores"], {"pixels": pixels})[0])


def _write(found: Comparison) -> None:
    """parity.html, then the verdicts into model.json, each replaced as a whole."""
    replace_file(found.model.folder / PAGE, report(found).encode("utf-8", "replace"))  # file names may be bytes
    record_parity(found.model.folder, {name: found.entry(name) for name in found.parity})
