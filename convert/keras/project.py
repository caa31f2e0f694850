"""A DeepDanbooru project folder: project.json, tags.txt, categories.json and the model file they belong to.

A model file alone, with a list of its tags, will do too.
"""

import glob
import hashlib
import json
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import ConvertError, reading
from convert.keras.network import input_size

Json = Any
"""Whatever json.loads gives."""

_MAX_TEXT = 64 << 20  # bytes; the official tags.txt has 140 kB
_TFLITE = b"TFL3"  # bytes 4 to 7 of the file
_MAX_SIDE = 8192  # pixels; keeps a typing error from becoming a graph of absurd size


@dataclass(frozen=True, slots=True)
class Project:
    """What the folder says.

    Attributes:
        name: the folder's name, for people.
        model: the Keras file.
        height: rows of the model's input.
        width: columns of the model's input.
        tags: in the order of the model's outputs.
        categories: the category of each tag, in the same order.
        category_names: each category once, by its first tag.
    """

    name: str
    model: Path
    height: int
    width: int
    tags: tuple[str, ...]
    categories: tuple[str, ...]
    category_names: tuple[str, ...]


def read_project(folder: Path) -> Project:
    """Reads a project folder; raises ConvertError if something in it is missing or makes no sense."""
    if foreign := _foreign(folder):
        raise ConvertError(foreign)
    if folder.is_file():
        raise ConvertError(
            f"{folder} is a file and no project folder: if it is a Keras model, name the list of its tags with "
            "--tags FILE, one a line in the order of its outputs."
        )
    if not folder.is_dir():
        raise ConvertError(f"{folder} is no folder: give the DeepDanbooru project folder that holds project.json.")
    settings = _json(folder / "project.json")
    if not isinstance(settings, dict):
        raise ConvertError(f"{folder / 'project.json'} holds no JSON object: take the one of the model's release.")
    tags = _tags(folder / "tags.txt")
    categories = _categories(folder, tags)
    return Project(
        name=folder.resolve().name,
        model=_model_file(folder, settings),
        height=_side(folder, settings, "image_height"),
        width=_side(folder, settings, "image_width"),
        tags=tags,
        categories=categories,
        category_names=tuple(dict.fromkeys(categories)),
    )


def tags_sha256(tags: Iterable[str]) -> str:
    """SHA-256 of the tags, one a line with LF, in hex: the same however tags.txt ends its lines."""
    return hashlib.sha256("".join(f"{tag}\n" for tag in tags).encode("utf-8")).hexdigest()


def model_alone(model: Path, tags_file: Path) -> Project:
    """A project of a Keras file (.h5 or .keras) and a list of its tags.

    categories.json and tags-character.txt are used if they lie beside the list. Raises ConvertError.
    """
    from convert.keras.open import open_keras  # needs h5py, which --help and a comparison without the project must not

    if foreign := _foreign(model):
        raise ConvertError(foreign)
    if not model.is_file():
        raise ConvertError(f"{model} is no file: with --tags, give the Keras model itself (.h5 or .keras).")
    tags = _tags(tags_file)
    categories = _categories(tags_file.parent, tags)
    with closing(open_keras(model)) as opened, reading(model):
        size = input_size(opened.config)
    if size is None:
        raise ConvertError(
            f"{model} does not say which size its pictures have: put it into a folder as model-NAME{model.suffix}, "
            'with a project.json like {"image_width": 512, "image_height": 512, "model": "NAME"}.'
        )
    return Project(
        name=model.stem,
        model=model,
        height=size[0],
        width=size[1],
        tags=tags,
        categories=categories,
        category_names=tuple(dict.fromkeys(categories)),
    )


def _foreign(path: Path) -> str | None:
    """The sentence for a model in a form of TensorFlow's that holds no Keras layers to read; None if it is none."""
    if (path / "saved_model.pb").is_file():
        return (
            f"{path} is a SavedModel, which only TensorFlow can read: load it with tf.keras.models.load_model and save "
            "it with .save as a .keras file."
        )
    if path.is_file():
        with suppress(OSError), path.open("rb") as file:
            if file.read(8)[4:] == _TFLITE:
                return (
                    f"{path} is a TFLite model, whose layers are gone: convert the Keras file (.h5 or .keras) that it "
                    "was made of."
                )
    return None


def _text(path: Path) -> str:
    """The file's text without a byte order mark, its line ends as LF."""
    try:
        if path.stat().st_size > _MAX_TEXT:
            raise ConvertError(f"{path} is larger than {_MAX_TEXT >> 20} MB, so it is not the file it should be.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConvertError(f"{path} is missing: a project folder needs it, take it from the model's release.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConvertError(f"{path} cannot be read as UTF-8 text ({error}).") from error


def _json(path: Path) -> Json:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise ConvertError(f"{path} is not valid JSON ({error}): take the one of the model's release.") from error


def _side(folder: Path, settings: dict[str, Any], key: str) -> int:
    value = settings.get(key)
    if isinstance(value, int) and 1 <= value <= _MAX_SIDE:
        return int(value)
    raise ConvertError(f"{folder / 'project.json'}: {key} is {value!r}, it must be an integer of 1 to {_MAX_SIDE}.")


def _model_file(folder: Path, settings: dict[str, Any]) -> Path:
    name = settings.get("model")
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise ConvertError(f"{folder / 'project.json'}: model is {name!r}, it must be a name like resnet_custom_v3.")
    for suffix in (".keras", ".h5"):  # DeepDanbooru loads the first of them that is there
        path = folder / f"model-{name}{suffix}"
        if path.is_file():
            if foreign := _foreign(path):
                raise ConvertError(foreign)
            return path
    for path in sorted(folder.glob(f"model-{glob.escape(name)}*")):
        if foreign := _foreign(path):
            raise ConvertError(foreign)
    raise ConvertError(f"{folder} holds neither model-{name}.h5 nor model-{name}.keras, which project.json asks for.")


def _tags(path: Path) -> tuple[str, ...]:
    # As the original reads it: lines end with LF or CRLF, blanks around a tag and empty lines do not count.
    tags = tuple(tag for tag in (line.strip() for line in _text(path).split("\n")) if tag)
    if not tags:
        raise ConvertError(f"{path} holds no tags: take the tags.txt of the model's release.")
    return tags


def _categories(folder: Path, tags: tuple[str, ...]) -> tuple[str, ...]:
    starts = _category_starts(folder / "categories.json", len(tags))
    return _by_start(starts, len(tags)) if starts else _guessed(folder, tags)


def _category_starts(path: Path, tags: int) -> list[tuple[int, str]]:
    """(first index, name) of each category, ascending; empty if there is no categories.json."""
    if not path.exists():
        return []
    entries = _json(path)
    try:
        starts = sorted((int(entry["start_index"]), str(entry["name"])) for entry in entries)
    except (TypeError, KeyError, ValueError):
        raise ConvertError(f"{path} must be a list of objects with name and start_index.") from None
    if not starts or starts[0][0] != 0 or starts[-1][0] > tags:
        raise ConvertError(f"{path}: its start_index values must begin at 0 and stay within the {tags} tags.")
    return starts


def _by_start(starts: list[tuple[int, str]], tags: int) -> tuple[str, ...]:
    ends = [start for start, _ in starts[1:]] + [tags]
    return tuple(name for (start, name), end in zip(starts, ends, strict=True) for _ in range(start, end))


def _guessed(folder: Path, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Categories where categories.json is absent: ratings are System, tags-character.txt lists the characters."""
    path = folder / "tags-character.txt"
    characters = set(_tags(path)) if path.is_file() else set()

    def category(tag: str) -> str:
        if tag.startswith("rating:"):
            return "System"
        return "Character" if tag in characters else "General"

    return tuple(category(tag) for tag in tags)
