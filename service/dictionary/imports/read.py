"""Telling the form of a file by what is in it, and reading it into rows."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from service.dictionary.errors import DictionaryError
from service.dictionary.imports import danbooru, ehtag, lines, own, prompts, tables
from service.dictionary.imports.rows import GroupRow, Row, Rows, wrong
from service.dictionary.imports.texts import parsed, read_text

FORMS: dict[str, Callable[[str, str], Rows]] = {
    "dictionary": own.concepts,
    "tagcomplete": tables.tagcomplete,
    "wd": tables.wd,
    "translations": tables.translations,
    "aliases": danbooru.aliases,
    "implications": danbooru.implications,
    "wiki": danbooru.wiki_pages,
    "wiki-lines": danbooru.wiki_lines,
    "ehtag": ehtag.translations,
    "prompts": prompts.groups,
    "siblings": lines.siblings,
    "parents": lines.parents,
    "tags": lines.tags,
}
"""The forms by the names that `--form` takes."""
_CATEGORIES = "categories"


@dataclass(frozen=True)
class Files:
    """Files that were read together.

    Attributes:
        source: their names, for the journal.
        exact: all of them are the dictionary's own form.
    """

    rows: list[Row | GroupRow]
    source: str
    exact: bool


def read(files: list[Path], form: str | None = None) -> Files:
    """Files of any known form as rows. DeepDanbooru's categories.json goes with its tags.txt.

    Raises:
        DictionaryError: a file cannot be read, its form is unknown, or something in it is wrong, with line and column.
    """
    texts = [(file.name, read_text(file)) for file in files]
    forms = [form or _form(name, text) for name, text in texts]
    categories = None
    for (name, text), one in zip(texts, forms, strict=True):
        if one == _CATEGORIES:
            categories = lines.categories(text, name)
            if "tags" not in forms:
                raise DictionaryError(f"{name} holds the categories of a tags.txt: give that file with it")
    parts = [
        lines.tags(text, name, categories) if one == "tags" else FORMS[one](text, name)
        for (name, text), one in zip(texts, forms, strict=True)
        if one != _CATEGORIES
    ]
    source = ", ".join(name for name, _ in texts)
    return Files(list(chain.from_iterable(parts)), source[:200], all(one == "dictionary" for one in forms))


def _form(name: str, text: str) -> str:
    start = text.lstrip()[:1]
    if not start:
        raise wrong(name, 1, 1, "the file is empty")
    suffix = Path(name).suffix.lower()
    if suffix in (".yaml", ".yml"):
        return "prompts"
    if suffix in (".json", ".jsonl", ".ndjson"):
        return _json_form(name, text)
    if suffix == ".txt":
        return next(
            (form for form, word in (("siblings", "sibling"), ("parents", "parent")) if word in name.lower()), "tags"
        )
    if suffix == ".csv":
        return _csv_form(name, text)
    raise DictionaryError(f"{name} has no known form: name it with --form, one of {', '.join(FORMS)}")


def _csv_form(name: str, text: str) -> str:
    line = next(line for line in text.split("\n") if line.strip())
    cells = line.strip().split(",")
    if [cell.strip() for cell in cells[:4]] == tables.WD_HEADER:
        return "wd"
    if len(cells) >= 3 and cells[1].strip().isdecimal() and cells[2].strip().replace(".", "", 1).isdecimal():
        return "tagcomplete"
    if len(cells) == 2 or (len(cells) == 3 and cells[1].strip().isdecimal()):
        return "translations"
    raise wrong(name, 1, 1, "this is neither name,category,count,aliases nor tag,name nor tag_id,name,category,count")


def _json_form(name: str, text: str) -> str:
    first = _first(name, text)
    keys = set(first)
    if "antecedent_name" in keys:
        if "implication" in name.lower():
            return "implications"
        if "alias" in name.lower():
            return "aliases"
        raise DictionaryError(f"{name} holds aliases or implications, which look alike: name it with --form")
    for form, needed in (
        ("dictionary", {"group"}),
        ("dictionary", {"key", "names"}),
        ("wiki", {"title", "other_names"}),
        (_CATEGORIES, {"name", "start_index"}),
        ("ehtag", {"head", "data"}),
    ):
        if needed <= keys:
            return form
    if first and all(isinstance(value, list) for value in first.values()):
        return "wiki-lines"
    raise wrong(name, 1, 1, "this JSON has no known form")


def _first(name: str, text: str) -> dict[str, object]:
    """The first object of an array, of lines, or the whole."""
    if text.lstrip().startswith("["):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        except (ValueError, RecursionError):
            value = parsed(text, name)
    else:
        line = text.lstrip().split("\n", 1)[0]
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = parsed(text, name)
    if not isinstance(value, dict):
        raise wrong(name, 1, 1, "this JSON has no known form")
    return value
