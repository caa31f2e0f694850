"""Lists as CSV: tagcomplete's, the WD taggers', and translations."""

import csv
import io
from collections.abc import Iterator

from service.dictionary.concepts import Kind, Name, shown
from service.dictionary.imports.rows import Row, Rows, number, wrong
from service.dictionary.imports.texts import guessed

_CATEGORIES = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta", 9: "rating"}
WD_HEADER = ["tag_id", "name", "category", "count"]


def tagcomplete(text: str, file: str) -> Rows:
    """`name,category,count,"alias,alias"` without a header; an alias that begins with / is an abbreviation."""
    for line, cells in _lines(text, file):
        if len(cells) not in (3, 4):
            raise wrong(file, line, min(len(cells) + 1, 5), f"{len(cells)} columns in place of 3 or 4")
        aliases = cells[3].split(",") if len(cells) == 4 else []
        yield Row(
            key=cells[0],
            place=f"{file}, line {line}",
            category=_category(cells[1], file, line, 2),
            count=number(cells[2], file, line, 3),
            keys=tuple(alias.strip() for alias in aliases if alias.strip()),
        )


def wd(text: str, file: str) -> Rows:
    """The WD taggers' `selected_tags.csv`. Its ratings are called like tags: their keys get `rating:` before them."""
    for line, cells in _lines(text, file):
        if line == 1:
            continue
        if len(cells) != len(WD_HEADER):
            raise wrong(file, line, min(len(cells) + 1, 5), f"{len(cells)} columns in place of {len(WD_HEADER)}")
        category = _category(cells[2], file, line, 3)
        rating = category == "rating"
        yield Row(
            key=f"rating:{cells[1]}" if rating else cells[1],
            place=f"{file}, line {line}",
            category=category,
            count=number(cells[3], file, line, 4),
            keys=(cells[1],) if rating else (),
        )


def translations(text: str, file: str) -> Rows:
    """`tag,name`, or as older lists have it `tag,0,name`; ` | ` divides several names."""
    for line, cells in _lines(text, file):
        if len(cells) not in (2, 3):
            raise wrong(file, line, min(len(cells) + 1, 4), f"{len(cells)} columns in place of 2 or 3")
        names = [name.strip() for name in cells[-1].split("|") if name.strip()]
        yield Row(
            key=cells[0],
            place=f"{file}, line {line}",
            names=tuple(Name(name, guessed(name), _kind(place, name)) for place, name in enumerate(names)),
        )


def _kind(place: int, name: str) -> str:
    return Kind.SYNONYM if place or not guessed(name) else Kind.DISPLAY


def _category(text: str, file: str, line: int, column: int) -> str:
    category = _CATEGORIES.get(number(text, file, line, column, "category"))
    if category is None:
        raise wrong(file, line, column, f"there is no category {shown(text)}")
    return category


def _lines(text: str, file: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                if not cells[0].strip():
                    raise wrong(file, line, 1, "the tag is missing")
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise wrong(file, line, 1, f"this is no CSV ({error})") from None
