"""What every form of file is read into, and what is said of a file that is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from service.dictionary.concepts import Name, shown
from service.dictionary.errors import DictionaryError


@dataclass(frozen=True)
class Row:
    """What a file says of one tag.

    Attributes:
        place: file and line, for the report.
        category: None where the file does not say.
        keys: former keys and other spellings.
        groups: paths.
        creates: whether a tag that the dictionary does not know becomes a concept.
        weights, hidden, pinned: of the dictionary's own form alone.
    """

    key: str
    place: str
    category: str | None = None
    count: int | None = None
    names: tuple[Name, ...] = ()
    keys: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    qualifiers: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    hidden: bool | None = None
    pinned: tuple[str, ...] = ()
    creates: bool = True


@dataclass(frozen=True)
class GroupRow:
    """A group of the tree for browsing, with its names by language."""

    path: str
    names: dict[str, str]
    place: str


Rows = Iterator[Row | GroupRow]


def wrong(file: str, line: int, column: int, trouble: str) -> DictionaryError:
    """The sentence for a file that is not as its form wants it. `line` and `column` count from 1."""
    return DictionaryError(f"{file}, line {line}, column {column}: {trouble}; nothing was imported")


def number(text: str, file: str, line: int, column: int, what: str = "count") -> int:
    """A whole number; some copies of a list write it as 12.0. Raises DictionaryError for what is none."""
    try:
        value = float(text)
        if value != int(value) or not 0 <= value < 1 << 53:
            raise ValueError
        return int(value)
    except (ValueError, OverflowError):
        raise wrong(file, line, column, f"the {what} {shown(text)} is no whole number") from None
