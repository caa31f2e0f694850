"""The same model in the files that other programs want: its weights and tags as they are, another input or output."""

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from bench.compare import Given
from bench.new_process import need_package
from engine.errors import EngineError
from engine.model.folder import Model

SIDE = 512


def with_files(given: Given, model: Model, folder: Path) -> Given:
    """The same, with the files that the contestants want, written into this folder.

    Raises:
        EngineError: an interpreter lacks its package, or the model is none that a contestant takes.
    """
    if (model.preprocessing.kind == "wd") != bool(given.published) or (given.imgutils_python and not given.published):
        raise EngineError(
            "--published is for a model folder that was made from a WD tagger, and such a one needs it: name the "
            "folder with model.onnx and selected_tags.csv"
        )
    if given.published:
        _check(given.published)
    if given.imgutils_python and given.published:
        need_package(given.imgutils_python, "dghs-imgutils", "--imgutils-python")
        given = replace(given, imgutils_files=for_imgutils(given.published, folder / "imgutils"))
    if given.deepdanbooru_onnx_python:
        need_package(given.deepdanbooru_onnx_python, "deepdanbooru-onnx", "--deepdanbooru-onnx-python")
        files = for_deepdanbooru_onnx(model, folder / "deepdanbooru-onnx")
        given = replace(given, deepdanbooru_onnx_files=files)
    return given


def _check(published: Path) -> None:
    for name in ("model.onnx", "selected_tags.csv"):
        if not (published / name).is_file():
            raise EngineError(
                f"--published {published} holds no {name}: name the folder that the model folder was made from"
            )


def for_imgutils(published: Path, folder: Path) -> Path:
    """A copy for dghs-imgutils, which wants an embedding as second output: here the scores again, which cost nothing.

    Returns the folder.
    """
    folder.mkdir()
    model = onnx.load(published / "model.onnx")
    scores = model.graph.output[0]
    model.graph.node.append(helper.make_node("Identity", [scores.name], ["embedding"]))
    shape = [dim.dim_value or dim.dim_param for dim in scores.type.tensor_type.shape.dim]
    model.graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, shape))
    _save(model, folder)
    shutil.copy(published / "selected_tags.csv", folder)
    return folder


def for_deepdanbooru_onnx(model: Model, folder: Path, *, side: int = SIDE) -> Path:
    """A copy of a model folder for deepdanbooru-onnx, which feeds float32 NHWC in 0..1, of `side` x `side` pixels.

    Returns the folder.

    Raises:
        EngineError: the model is of another family, or of another size.
    """
    shape = model.preprocessing
    if (shape.kind, shape.height, shape.width) != ("deepdanbooru", side, side):
        raise EngineError(
            f"deepdanbooru-onnx takes models of DeepDanbooru with {side} x {side} pixels only, and this is "
            f"{shape.kind} with {shape.width} x {shape.height}: leave --deepdanbooru-onnx-python away"
        )
    folder.mkdir()
    copy = onnx.load(model.precision("fp32").file)
    graph = copy.graph
    cast, divide, transpose = list(graph.node)[:3]
    if [node.op_type for node in (cast, divide, transpose)] != ["Cast", "Div", "Transpose"]:
        raise EngineError(
            f"{model.precision('fp32').file} does not begin as `engine convert` writes it: convert it again"
        )
    graph.node.remove(cast)
    graph.node.remove(divide)
    transpose.input[0] = graph.input[0].name
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    _save(copy, folder)
    (folder / "tags.txt").write_text("".join(f"{tag}\n" for tag in model.tags), encoding="utf-8", newline="\n")
    return folder


def _save(model: onnx.ModelProto, folder: Path) -> None:
    large = model.ByteSize() > 1 << 30  # protobuf ends at 2 GB
    onnx.save(model, folder / "model.onnx", save_as_external_data=large, location="model.onnx.data")
