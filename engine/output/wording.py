"""Which of a picture's tags are written, and in which words.

What is stored and posted are always the model's own tags; here is what becomes of them in a file or a line for people.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from engine.errors import ConfigError

RATING = "rating:"
"""How a rating's tag begins in every model folder."""
_WORD = re.compile(r"[^\W_]{2}")  # what a kaomoji (^_^, o_o, (o)_(o)) does not hold
_LONGEST = 16 << 20  # bytes of a list of tags


class Tag(NamedTuple):
    """One tag of a picture; score in 0..1."""

    key: str
    score: float
    category: str

    @property
    def is_rating(self) -> bool:
        """By the category, so that it stays one in other words."""
        return self.category in ("System", "Rating") or self.key.startswith(RATING)


@dataclass(frozen=True)
class Wording:
    """What is left out and what is written in other words.

    Attributes:
        blacklist: tags that are left out, written with underscores.
        replacements: what is written in place of a tag, exactly as it stands there; by the tag with underscores.
        underscores: tags as the model has them; else with spaces, but for kaomoji and for what was replaced.
    """

    blacklist: frozenset[str] = frozenset()
    replacements: Mapping[str, str] = field(default_factory=dict)
    underscores: bool = True

    def of(self, tags: Iterable[Tag]) -> list[Tag]:
        """The tags as they are written, in their order. Where two become the same, the higher score is kept."""
        best: dict[str, Tag] = {}
        for tag in tags:
            key = underscored(tag.key)
            if key in self.blacklist:
                continue
            text = self.replacements.get(key) or (tag.key if self.underscores else spaced(tag.key))
            if text not in best or tag.score > best[text].score:
                best.pop(text, None)
                best[text] = tag._replace(key=text)
        return list(best.values())


def read_wording(blacklist: Path | None, replacements: Path | None, *, underscores: bool) -> Wording:
    """The wording of two files, where they are given. Raises as `read_blacklist` and `read_replacements`."""
    return Wording(
        blacklist=read_blacklist(blacklist) if blacklist else frozenset(),
        replacements=read_replacements(replacements) if replacements else {},
        underscores=underscores,
    )


def read_blacklist(file: Path) -> frozenset[str]:
    """The tags in a file, one a line, with spaces or underscores; empty lines do not count.

    Raises:
        ConfigError: it cannot be read as text.
    """
    return frozenset(underscored(line) for line in _lines(file, "blacklist") if line.strip())


def read_replacements(file: Path) -> dict[str, str]:
    """What is written for each tag, from lines `tag,what is written`; what holds a comma stands in "quotes".

    Empty lines do not count. The tag has spaces or underscores.

    Raises:
        ConfigError: it cannot be read, or a line is of another form or says something else of a tag than one before.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(_lines(file, "table of replacements"), start=1):
        if not line.strip():
            continue
        try:
            parts = [part.strip() for part in next(csv.reader([line], strict=True, skipinitialspace=True))]
        except csv.Error as error:
            raise ConfigError(f"line {number} of {file} is no CSV ({error}): {_FORM}") from None
        if len(parts) != 2 or not all(parts):
            raise ConfigError(f"line {number} of {file} does not name a tag and what is written for it: {_FORM}")
        tag, text = underscored(parts[0]), parts[1]
        if found.setdefault(tag, text) != text:
            raise ConfigError(f"line {number} of {file} replaces {parts[0]} a second time: {found[tag]!r} stands above")
    return found


_FORM = 'write it as long_hair,lange Haare and put what holds a comma in "quotes"'


def underscored(tag: str) -> str:
    """The form in which tags of files and of models are compared."""
    return tag.strip().replace(" ", "_")


def spaced(key: str) -> str:
    """The tag with spaces for underscores, but for kaomoji, which are made of them (`^_^`, `o_o`)."""
    return key.replace("_", " ") if _WORD.search(key) else key


def best_first(tags: Iterable[Tag]) -> list[Tag]:
    """By score, equal ones as they came."""
    return sorted(tags, key=lambda tag: -tag.score)


def _lines(file: Path, what: str) -> list[str]:
    try:
        if file.stat().st_size > _LONGEST:
            raise ConfigError(f"the {what} {file} is larger than {_LONGEST >> 20} MB: it is no list of tags")
        return file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"the {what} {file} is not UTF-8 text: save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"the {what} {file} cannot be read: {error.strerror}") from None
