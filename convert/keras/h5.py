"""Reads the HDF5 files that Keras writes. They may be damaged or made to do harm, so nothing in them is trusted.

Layout of a legacy file (`model.save("x.h5")`): attribute `model_config` at the root; group `model_weights` (or the root
itself in weights-only files) with a group for each layer, whose attribute `weight_names` lists its arrays in order.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from convert.errors import CURE, ConvertError, reading

Node = Any
"""A group or dataset of h5py, which has no types."""
_MAX_ATTRIBUTE = 64 << 20  # bytes; a model of 2,000 layers has a configuration of 1 MB


@dataclass(frozen=True, slots=True)
class Stored:
    """An array of weights that is still in its file.

    Attributes:
        name: layer and array, for messages.
        shape: in Keras' layout.
        load: reads it as float32, checked to be finite.
    """

    name: str
    shape: tuple[int, ...]
    load: Callable[[], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class KerasModel:
    """A Keras model file, open.

    Attributes:
        path: the file, for messages.
        keras: major version of the Keras that wrote it: 2 or 3.
        config: `{"class_name": ..., "config": ...}` as Keras describes the model.
        weights: a layer's name to its arrays, in Keras' order; empty for a layer that has none.
        close: closes the file; no `Stored.load` works afterwards.
    """

    path: Path
    keras: int
    config: Mapping[str, Any]
    weights: Callable[[str], list[Stored]]
    close: Callable[[], None]


def open_h5(path: Path) -> KerasModel:
    """Opens a legacy `.h5`; raises ConvertError if it is damaged or holds no whole model."""
    with reading(path):
        file = open_file(path, path)
        try:
            return _legacy_model(path, file)
        except BaseException:
            file.close()
            raise


def open_file(path: Path, content: Path | BinaryIO) -> h5py.File:
    """Opens HDF5 `content` read-only; `path` is what messages call it."""
    if isinstance(content, Path) and not h5py.is_hdf5(content):
        raise ConvertError(f"{path} is no HDF5 file: {CURE}.")
    return h5py.File(content, "r")


def _legacy_model(path: Path, file: h5py.File) -> KerasModel:
    if "model_config" not in file.attrs:
        if "layer_names" in file.attrs:
            raise ConvertError(
                f"{path} holds only weights, not the model they belong to: save the whole model with model.save()."
            )
        raise ConvertError(f"{path} is HDF5, but no Keras model: it has no model_config.")
    config = json.loads(_attribute(path, file, "model_config"))
    root = child_group(path, file, "model_weights")
    version = _attribute(path, root, "keras_version") if "keras_version" in root.attrs else "2"

    def weights(layer: str) -> list[Stored]:
        with reading(path):
            if layer not in root:
                return []
            group = child_group(path, root, layer)
            return [stored(path, group, name) for name in _names(path, group, "weight_names")]

    return KerasModel(path, 3 if str(version).startswith("3") else 2, config, weights, file.close)


def _attribute(path: Path, node: h5py.Group, name: str) -> Node:
    """An attribute's value, text decoded; refuses one that is larger than any real file's."""
    declared = node.attrs.get_id(name)
    if math.prod(declared.shape) * declared.dtype.itemsize > _MAX_ATTRIBUTE:
        raise ConvertError(f"{path}: its attribute {name} claims over {_MAX_ATTRIBUTE >> 20} MB: {CURE}.")
    value = node.attrs[name]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _names(path: Path, group: h5py.Group, name: str) -> list[str]:
    """A list of names. Keras splits one that is over 64 kB into name0, name1 ..."""
    numbered = (f"{name}{index}" for index in itertools.count())
    parts = [name] if name in group.attrs else list(itertools.takewhile(group.attrs.__contains__, numbered))
    values = [value for part in parts for value in np.ravel(_attribute(path, group, part))]
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]


def child_group(path: Path, group: h5py.Group, name: str) -> h5py.Group:
    """The group at `name` below `group`, reached through no link that could leave the file."""
    found = _child(path, group, name)
    if not isinstance(found, h5py.Group):
        raise ConvertError(f"{path}: {name} should be a group and is not: {CURE}.")
    return found


def _child(path: Path, group: h5py.Group, name: str) -> Node:
    node: Node = group
    for part in (part for part in name.split("/") if part):
        if not isinstance(node, h5py.Group) or part not in node:
            raise ConvertError(f"{path}: {group.name}/{name} is missing, so the file holds only part of the model.")
        if not isinstance(node.get(part, getlink=True), h5py.HardLink):
            raise ConvertError(f"{path}: {name} is a link, which Keras never writes; refused for safety.")
        node = node[part]
    return node


def stored(path: Path, group: h5py.Group, name: str) -> Stored:
    """The array `name` of `group`: checked by its description alone, nothing is read yet."""
    dataset = _child(path, group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise ConvertError(f"{path}: {name} should be an array and is not: {CURE}.")
    creation = dataset.id.get_create_plist()
    # Chunks and filters could expand a tiny file without bound, external storage could read other files.
    plain = creation.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not plain or creation.get_external_count() or creation.get_nfilters():
        raise ConvertError(
            f"{path}: {name} is compressed, chunked or stored outside, which Keras never does: "
            "save the model again with Keras."
        )
    if dataset.dtype.kind != "f":
        raise ConvertError(f"{path}: {name} holds {dataset.dtype}, not floating-point weights: {CURE}.")
    if dataset.id.get_storage_size() != dataset.size * dataset.dtype.itemsize:
        raise ConvertError(f"{path}: the file holds fewer weights of {name} than it declares: {CURE}.")
    return Stored(name, tuple(dataset.shape), lambda: _load(path, name, dataset))


def _load(path: Path, name: str, dataset: h5py.Dataset) -> npt.NDArray[np.float32]:
    with reading(path):
        values: npt.NDArray[np.float32] = np.asarray(dataset[()], dtype=np.float32)
    if not np.isfinite(values).all():
        raise ConvertError(f"{path}: the weights {name} hold NaN or infinity: training diverged, take an earlier one.")
    return values
