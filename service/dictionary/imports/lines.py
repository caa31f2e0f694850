"""Lists with one tag a line: DeepDanbooru's tags.txt, and Hydrus' siblings and parents, whose lines come in pairs."""

from bisect import bisect_right
from collections.abc import Iterator

from service.dictionary.concepts import LONGEST_NAME, shown
from service.dictionary.imports.rows import Row, Rows, wrong
from service.dictionary.imports.texts import items, text_of

_SPACES = {"character": "character", "creator": "artist", "series": "copyright", "meta": "meta"}
"""Hydrus' namespaces."""
_DEEPDANBOORU = {"General": "general", "Character": "character", "System": "rating", "Copyright": "copyright"}


def tags(text: str, file: str, categories: list[tuple[int, str]] | None = None) -> Rows:
    """A model's tags. `categories`: the first index of each; without them the file's name says characters or not."""
    by_name = "character" if "character" in file.lower() else "general"
    starts = [start for start, _ in categories or []]
    for line, tag in _lines(text, file):
        category = by_name
        if categories and (place := bisect_right(starts, line - 1)):
            category = categories[place - 1][1]
        yield Row(tag, f"{file}, line {line}", category="rating" if tag.startswith("rating:") else category)


def categories(text: str, file: str) -> list[tuple[int, str]]:
    """DeepDanbooru's categories.json: [{name, start_index}]. Raises DictionaryError with the place of what is wrong."""
    found = []
    for line, column, item in items(text, file):
        name = text_of(item, "name", file, line, column)
        start = item.get("start_index")
        if name not in _DEEPDANBOORU or not isinstance(start, int):
            raise wrong(file, line, column, f"{shown(name)} is no category with a start_index")
        found.append((start, _DEEPDANBOORU[name]))
    return sorted(found)


def siblings(text: str, file: str) -> Rows:
    """Hydrus: a line with the worse tag, a line with the better one, in turns."""
    for line, worse, better in _pairs(text, file):
        key, category = _plain(better)
        yield Row(key, f"{file}, line {line}", category=category, keys=(_plain(worse)[0],))


def parents(text: str, file: str) -> Rows:
    """Hydrus: a line with the child, a line with its parent, in turns."""
    for line, child, parent in _pairs(text, file):
        key, category = _plain(child)
        broad, of = _plain(parent)
        yield Row(broad, f"{file}, line {line + 1}", category=of)
        yield Row(key, f"{file}, line {line}", category=category, implies=(broad,))


def _pairs(text: str, file: str) -> Iterator[tuple[int, str, str]]:
    found = list(_lines(text, file))
    if len(found) % 2:
        raise wrong(file, found[-1][0], 1, f"{len(found)} lines make no pairs, one is missing and shifts the others")
    for (line, first), (_, second) in zip(found[::2], found[1::2], strict=True):
        yield line, first, second


def _plain(tag: str) -> tuple[str, str | None]:
    """A tag of Hydrus without its namespace, and the category that this says."""
    space, colon, rest = tag.partition(":")
    return (rest.strip(), _SPACES[space]) if colon and space in _SPACES and rest.strip() else (tag, None)


def _lines(text: str, file: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        tag = line.strip()
        if len(tag) > LONGEST_NAME:
            raise wrong(file, number, LONGEST_NAME + 1, f"{len(tag):,} characters are no tag")
        bad = next((place for place, c in enumerate(tag) if not c.isprintable() and not c.isspace()), None)
        if bad is not None:
            raise wrong(file, number, bad + 1, f"U+{ord(tag[bad]):04X} is no character of a tag")
        if tag:
            yield number, tag
