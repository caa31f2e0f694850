"""Exports a model through tf2onnx, where it has layers that `convert.onnx.layers` cannot translate.

It needs TensorFlow (extra `keras`) and memory far beyond the model's size, so it runs in a process of its own.
"""

import importlib.util
import math
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import psutil

from convert.child_process import run_child
from convert.errors import ConvertError, UnknownLayer
from convert.keras.h5 import KerasModel
from convert.keras.network import layer_names
from convert.onnx.export import Export
from convert.onnx.writer import OPSET
from engine.model.folder import sha256_of
from engine.types import WHITE, Preprocessing

# A model of 161 million parameters was killed for lack of memory at 24 GB in three of three tries (tf2onnx 1.17).
# So 150 bytes a parameter, plus TensorFlow itself.
_BYTES_PER_PARAMETER = 150
_BYTES_OF_TENSORFLOW = 1 << 30
_PATIENCE = 1800.0  # seconds
_EXTRA = "pip install 'deepdanbooru-engine[keras]'"


def export_with_tf2onnx(model: KerasModel, rows: Preprocessing, precision: str, reason: UnknownLayer) -> Export:
    """An export through tf2onnx; raises ConvertError, beginning with `reason`, where that cannot be done."""
    why = str(reason).removesuffix(".")
    if any(entry.get("class_name") == "Lambda" for entry in _objects(model.config)):
        raise ConvertError(f"{why}, and it holds a Lambda, which is code of a stranger: save it without, then convert.")
    if not has_tf2onnx():
        raise ConvertError(f"{why}: tf2onnx might, with the extra keras ({_EXTRA}).")
    if precision != "fp32":
        raise ConvertError(f"{why}, and tf2onnx writes fp32 only: use --precision fp32.")
    names = layer_names(model.config)
    parameters = sum(math.prod(array.shape) for name in names for array in model.weights(name))
    needed, free = _BYTES_OF_TENSORFLOW + parameters * _BYTES_PER_PARAMETER, psutil.virtual_memory().available
    if needed > free:
        raise ConvertError(
            f"{why}: tf2onnx would need about {needed / 1e9:.0f} GB for {parameters:,} parameters "
            f"and {free / 1e9:.0f} GB are free: use a machine with more memory."
        )
    return Export(
        exporter="tf2onnx",
        outputs=None,
        features=None,
        layers=len(names),
        parameters=parameters,
        gflop=None,
        write=lambda path: _write(model.path, path, rows),
    )


def has_tf2onnx() -> bool:
    """Whether the packages of this way are installed."""
    return all(importlib.util.find_spec(package) for package in ("tf2onnx", "tf_keras"))


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Every JSON object in `value`, however deep: a Lambda may hide in a nested model or a wrapper."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _write(source: Path, path: Path, rows: Preprocessing) -> str:
    numbers = rows.height, rows.width, OPSET, WHITE[rows.dtype]
    arguments = [str(source.absolute()), str(path), rows.dtype, *map(str, numbers)]
    try:
        done = run_child("convert.onnx.tf2onnx_child", arguments, _PATIENCE)
    except subprocess.TimeoutExpired:
        raise ConvertError(f"{source}: tf2onnx did not finish within {_PATIENCE / 60:.0f} minutes.") from None
    if done.returncode or not path.is_file():
        last = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:300]
        raise ConvertError(f"{source}: tf2onnx cannot convert it either (exit code {done.returncode}: {last}).")
    return sha256_of(path)


def outputs_of(path: Path) -> int:
    """How many scores the model in an ONNX file gives for a picture; 0 if it says nothing of the kind."""
    dimensions = onnx.load(path).graph.output[0].type.tensor_type.shape.dim
    return int(dimensions[1].dim_value) if len(dimensions) == 2 else 0
