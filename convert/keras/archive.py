"""Reads the `.keras` files of Keras 3 (and TF 2.12 to 2.15): a zip of config.json and model.weights.h5.

In model.weights.h5 a layer's arrays are `layers/<class>/vars/0`, `1` ...: `<class>` is its class in snake case,
numbered from the second on in the order of the configuration (keras/src/saving/saving_lib.py, `_save_container_state`).
"""

import json
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from convert.errors import CURE, ConvertError, reading
from convert.keras.h5 import KerasModel, Stored, child_group, open_file, stored
from convert.keras.network import Config, layer_names

_MAX_CONFIG = 64 << 20  # bytes
# TF 2.12 and 2.13 wrote the first, later ones the second.
_LAYER_GROUPS = ("_layer_checkpoint_dependencies", "layers")


def open_archive(path: Path) -> KerasModel:
    """Opens a `.keras` file; raises ConvertError if it is damaged or holds no whole model."""
    with reading(path):
        try:
            with zipfile.ZipFile(path) as archive:
                config = json.loads(_member(path, archive, "config.json"))
                version = json.loads(_member(path, archive, "metadata.json"))["keras_version"]
                weights = _spooled(path, archive, "model.weights.h5")
        except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
            raise ConvertError(f"{path} is no whole .keras file ({error}): {CURE}.") from error
        try:
            return _model(path, (config, str(version)), weights)
        except BaseException:
            weights.close()
            raise


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    _check_size(path, archive.getinfo(name), _MAX_CONFIG)
    return archive.read(name)


def _check_size(path: Path, member: zipfile.ZipInfo, limit: int) -> None:
    if member.file_size > limit:
        raise ConvertError(f"{path}: its {member.filename} unpacks to {member.file_size >> 20} MB: {CURE}.")


def _spooled(path: Path, archive: zipfile.ZipFile, name: str) -> BinaryIO:
    """The member as a temporary file, which HDF5 can seek in. Keras does not compress it: it cannot outgrow the zip."""
    _check_size(path, archive.getinfo(name), path.stat().st_size)
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the model
    try:
        with archive.open(name) as member:
            shutil.copyfileobj(member, spool, 1 << 20)
    except BaseException:
        spool.close()
        raise
    return spool


def _model(path: Path, content: tuple[Config, str], weights: BinaryIO) -> KerasModel:
    config, version = content
    file = open_file(path, weights)
    parent = next((name for name in _LAYER_GROUPS if name in file), None)
    if parent is None:
        raise ConvertError(f"{path}: model.weights.h5 holds no layers: {CURE}.")
    root = child_group(path, file, parent)
    groups = _group_names(config)

    def arrays(layer: str) -> list[Stored]:
        with reading(path):
            if groups.get(layer) not in root:
                return []
            variables = child_group(path, root, f"{groups[layer]}/vars")
            return [stored(path, variables, str(index)) for index in range(len(variables))]

    def close() -> None:
        file.close()
        weights.close()

    return KerasModel(path, 3 if version.startswith("3") else 2, config, arrays, close)


def _group_names(model: Config) -> dict[str, str]:
    """Which group holds the arrays of which layer."""
    seen: Counter[str] = Counter()
    groups = {}
    for name, layer in zip(layer_names(model), model["config"]["layers"], strict=True):
        kind = _snake_case(layer["class_name"])
        groups[name] = f"{kind}_{seen[kind]}" if seen[kind] else kind
        seen[kind] += 1
    return groups


def _snake_case(name: str) -> str:
    """As Keras does it: BatchNormalization -> batch_normalization, Conv2D -> conv2d, ReLU -> re_lu."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
