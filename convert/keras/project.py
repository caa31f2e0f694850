"""A DeepDanbooru project folder: project.json, tags.txt, categories.json and the model file they belong to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import ConvertError

Json = Any
"""Whatever json.loads gives."""

_MAX_TEXT = 64 << 20  # bytes; the official tags.txt has 140 kB
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
    if not folder.is_dir():
        raise ConvertError(f"{folder} is no folder: give the DeepDanbooru project folder that holds project.json.")
    settings = _json(folder / "project.json")
    if not isinstance(settings, dict):
        raise ConvertError(f"{folder / 'project.json'} holds no JSON object: take the one of the model's release.")
    tags = _tags(folder / "tags.txt")
    starts = _category_starts(folder / "categories.json", len(tags))
    categories = _by_start(starts, len(tags)) if starts else _guessed(folder, tags)
    return Project(
        name=folder.resolve().name,
        model=_model_file(folder, settings),
        height=_side(folder, settings, "image_height"),
        width=_side(folder, settings, "image_width"),
        tags=tags,
        categories=categories,
        category_names=tuple(dict.fromkeys(categories)),
    )


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
    for suffix in (".h5", ".keras"):
        path = folder / f"model-{name}{suffix}"
        if path.is_file():
            return path
    raise ConvertError(f"{folder} holds neither model-{name}.h5 nor model-{name}.keras, which project.json asks for.")


def _tags(path: Path) -> tuple[str, ...]:
    # As the original reads it: lines end with LF or CRLF, blanks around a tag and empty lines do not count.
    tags = tuple(tag for tag in (line.strip() for line in _text(path).split("\n")) if tag)
    if not tags:
        raise ConvertError(f"{path} holds no tags: take the tags.txt of the model's release.")
    return tags


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
