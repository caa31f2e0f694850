"""The dictionary that the package brings: tables written by hand. The folder `shipped` has their form."""

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from itertools import count

from service.dictionary.concepts import Kind, Name
from service.dictionary.imports.rows import GroupRow, Row, Rows, wrong

SOURCE = "shipped"
_FILES = {
    "groups.tsv": ("path", "zh", "ja", "en"),
    "ratings.tsv": ("key", "group", "zh", "ja", "en", "implies", "keys"),
    "general.tsv": ("key", "group", "zh", "ja", "en", "implies", "keys"),
    "series.tsv": ("key", "zh", "ja", "en", "implies", "keys", "qualifiers"),
    "characters.tsv": ("key", "series", "zh", "ja", "en", "keys"),
}
_CATEGORIES = {
    "ratings.tsv": "rating",
    "general.tsv": "general",
    "series.tsv": "copyright",
    "characters.tsv": "character",
}
_LANGUAGES = {"zh": "zh-Hans", "ja": "ja", "en": "en"}
Tables = dict[str, str]
"""The texts of the tables by the files' names; one that is not there is empty."""


def tables() -> Tables:
    """The package's own tables."""
    folder = files("service.dictionary") / "shipped"
    return {name: (folder / name).read_text("utf-8") for name in _FILES if (folder / name).is_file()}


def digest(tables: Tables) -> str:
    """What tells one state of the tables from another."""
    whole = "\0".join(f"{name}\0{text}" for name, text in sorted(tables.items()))
    return hashlib.sha256(whole.encode("utf-8")).hexdigest()[:16]


def rows(tables: Tables) -> Rows:
    """The tables as rows for an import. Raises DictionaryError, with line and column, for a table that is wrong."""
    for file, columns in _FILES.items():
        for line, cells in _cells(file, tables.get(file, ""), columns):
            yield _row(file, line, cells)


def _cells(file: str, text: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    numbers = count(1)
    header = False
    for line, row in zip(numbers, text.removeprefix("\ufeff").split("\n"), strict=False):
        row = row.rstrip("\r")
        if not row.strip() or row.startswith("# "):
            continue
        cells = row.split("\t")
        if not header:
            if tuple(cells) != columns:
                raise wrong(file, line, 1, f"the first line must be {' '.join(columns)}, divided by tabs")
            header = True
            continue
        if len(cells) != len(columns):
            raise wrong(file, line, min(len(cells), len(columns)), f"{len(cells)} columns in place of {len(columns)}")
        yield line, {column: "" if cell == "-" else cell.strip() for column, cell in zip(columns, cells, strict=True)}


def _row(file: str, line: int, cells: dict[str, str]) -> Row | GroupRow:
    place = f"{file}, line {line}"
    if file == "groups.tsv":
        return GroupRow(cells["path"], {lang: cells[c] for c, lang in _LANGUAGES.items() if cells[c]}, place)
    if not cells["key"]:
        raise wrong(file, line, 1, "the key is missing")
    return Row(
        key=cells["key"],
        place=place,
        category=_CATEGORIES[file],
        names=tuple(_names(cells)),
        keys=tuple(cells["keys"].split()),
        implies=tuple(cells["series"].split() if file == "characters.tsv" else cells["implies"].split()),
        groups=("rating",) if file == "ratings.tsv" and not cells["group"] else tuple(cells.get("group", "").split()),
        qualifiers=tuple(cells.get("qualifiers", "").split()),
    )


def _names(cells: dict[str, str]) -> Iterator[Name]:
    for column, lang in _LANGUAGES.items():
        for place, text in enumerate(name for name in cells[column].split(" | ") if name.strip()):
            yield Name(text, lang, Kind.SYNONYM if place else Kind.DISPLAY, SOURCE)
