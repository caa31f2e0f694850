"""The tags of an ONNX tagger: `selected_tags.csv` as the WD family has it, other CSV files, or a tag a line."""

import csv
import io
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

from convert.errors import ConvertError

_MAX_TEXT = 64 << 20  # bytes; the WD family's has 300 kB
_CATEGORIES = {
    "0": "General",
    "1": "Artist",
    "3": "Copyright",
    "4": "Character",
    "5": "Meta",
    "9": "Rating",
}
"""Danbooru's numbers, and the 9 that the WD family has for ratings."""
RATING = "rating:"
"""Ratings begin so in the model folder, as DeepDanbooru's do: a tag `general` or `explicit` would say nothing alone."""
_DISORDER = 0.05  # of neighbours whose counts ascend; the published file has 0.0004


class Tags(NamedTuple):
    """In the order of the model's outputs: the names, and the category of each."""

    names: tuple[str, ...]
    categories: tuple[str, ...]


def read_tags(path: Path, *, published: bool) -> Tags:
    """Reads a list of tags.

    Args:
        path: a CSV file with a column `name` or `tag`, and perhaps `category`; or a text file with a tag a line.
        published: it is the family's own file and must be in the order it was published in.

    Raises:
        ConvertError: it cannot be read, holds a tag twice, or was sorted in another way.
    """
    lines = _text(path).splitlines()
    header = lines[0].split(",") if lines else []
    if not published and not {"name", "tag"} & {column.strip().strip('"') for column in header}:
        names = tuple(tag for tag in (line.strip() for line in lines) if tag)
        return _checked(path, Tags(names, tuple("Rating" if n.startswith(RATING) else "General" for n in names)))
    try:
        rows = list(csv.DictReader(io.StringIO("\n".join(lines)), strict=True))
        column = "name" if "name" in header else "tag"
        categories = tuple(_category(row.get("category") or "0") for row in rows)
        names = tuple(_name(row[column], category) for row, category in zip(rows, categories, strict=True))
        counts = [int(float(row["count"])) for row in rows] if published else []
    except (csv.Error, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConvertError(
            f"{path} is no list of tags ({type(error).__name__}: {error}): it needs the columns name, category and "
            "count, take it from the model's release."
        ) from error
    if published:
        _check_order(path, categories, counts)
    return _checked(path, Tags(names, categories))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_TEXT:
            raise ConvertError(f"{path} is larger than {_MAX_TEXT >> 20} MB, so it is no list of tags.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConvertError(
            f"{path} is missing: take it from the model's release, or name the tags by --tags."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConvertError(f"{path} cannot be read as UTF-8 text ({error}).") from error


def _category(text: str) -> str:
    number = text.strip().removesuffix(".0")
    return _CATEGORIES.get(number, f"Category {number}" if number.isdecimal() else text.strip())


def _name(text: str, category: str) -> str:
    name = text.strip()
    return RATING + name if category == "Rating" and not name.startswith(RATING) else name


def _checked(path: Path, tags: Tags) -> Tags:
    seen: set[str] = set()
    for name in tags.names:
        if not name or name in seen:
            raise ConvertError(
                f"{path} holds {'an empty tag' if not name else f'the tag {name} twice'}: take it from the model's "
                "release."
            )
        seen.add(name)
    if not seen:
        raise ConvertError(f"{path} holds no tags: take it from the model's release.")
    return tags


def _check_order(path: Path, categories: tuple[str, ...], counts: list[int]) -> None:
    """Each category stands together, and within it the frequent tags come first, but for ratings."""
    blocks = [name for name, _ in groupby(categories)]
    ascending = neighbours = 0
    for name, group in groupby(zip(categories, counts, strict=True), key=lambda one: one[0]):
        block = [count for _, count in group]
        if name != "Rating":
            ascending += sum(a < b for a, b in pairwise(block))
            neighbours += len(block) - 1
    if len(blocks) != len(set(blocks)) or ascending > _DISORDER * neighbours:
        raise ConvertError(
            f"{path} is not in the order in which it was published, so the scores would get other names: take it from "
            "the model's release again, or give it by --tags if this is the model's order."
        )
