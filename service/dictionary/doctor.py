"""How well a dictionary knows a model's keys."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.dictionary.dictionary import Dictionary
from service.dictionary.errors import DictionaryError
from service.dictionary.imports.texts import read_text


@dataclass
class Examined:
    """A model's keys: those without a concept, those that are called otherwise today, those of several concepts."""

    keys: int = 0
    known: int = 0
    missing: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


def examine(dictionary: Dictionary, keys: Iterable[str]) -> Examined:
    """Look each key of a model up."""
    known = dictionary.concept_keys()
    result = Examined()
    for key in keys:
        result.keys += 1
        concepts = known.get(key, ())
        if not concepts:
            result.missing.append(key)
            continue
        result.known += 1
        if len(concepts) > 1:
            result.ambiguous[key] = concepts
        elif concepts[0] != key:
            result.renamed[key] = concepts[0]
    return result


def model_keys(model: Path) -> list[str]:
    """The keys of a model folder's tags.csv, or of a list with one a line.

    Raises:
        DictionaryError: there is none, or it cannot be read.
    """
    if not model.is_dir():
        return [line.strip() for line in read_text(model).split("\n") if line.strip()]
    for name in ("tags.csv", "tags.txt"):
        file = model / name
        if file.is_file():
            text = read_text(file)
            if name == "tags.txt":
                return [line.strip() for line in text.split("\n") if line.strip()]
            rows = csv.DictReader(text.splitlines())
            if "tag" not in (rows.fieldnames or []):
                raise DictionaryError(f"{file} has no column `tag`: give the folder that `engine convert` wrote")
            return [row["tag"] for row in rows if row["tag"]]
    raise DictionaryError(f"{model} holds no tags.csv: give the folder that `engine convert` wrote")
