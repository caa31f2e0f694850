"""Writes the library's tags as JSON Lines, as CSV, or as a .txt beside each picture, as training tools expect."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from sqlalchemy import select

from service.catalogue import Catalogue
from service.database import Database, media, tag
from service.errors import ServiceError
from service.formats import Order
from service.search.said import tags_of

_CATEGORIES = {"Character": 0, "General": 1, "System": 3}
_RATING = "rating:"
_AT_ONCE = 500  # pictures whose tags are read together
_WORD = re.compile(r"[^\W_]{2}")  # what a kaomoji (^_^, o_o, (o)_(o)) does not hold


class Tag(NamedTuple):
    """One tag of a picture; score in 0..1."""

    key: str
    score: float
    category: str


@dataclass(frozen=True)
class Selection:
    """Which of a picture's tags are written, and in what order.

    Attributes:
        threshold: the lowest score.
        categories: only these; all when empty.
        blacklist: keys that are left out, written with underscores.
        ratings: whether `rating:safe` and the like are written.
        maximum: the most tags of a picture; those with the highest scores.
        order: theirs.
    """

    threshold: float = 0.0
    categories: frozenset[str] = frozenset()
    blacklist: frozenset[str] = frozenset()
    ratings: bool = True
    maximum: int | None = None
    order: Order = Order.SCORE

    def of(self, tags: Sequence[Tag]) -> list[Tag]:
        """The chosen ones of a picture's tags, which come best first."""
        chosen = [
            one
            for one in tags
            if one.score >= self.threshold
            and (not self.categories or one.category in self.categories)
            and one.key.replace(" ", "_") not in self.blacklist
            and (self.ratings or not one.key.startswith(_RATING))
        ][: self.maximum]
        if self.order is Order.NAME:
            chosen.sort(key=lambda one: one.key)
        elif self.order is Order.CATEGORY:
            chosen.sort(key=lambda one: (_CATEGORIES.get(one.category, 2), one.category))  # stable: by score within
        return chosen


def read_blacklist(file: Path) -> frozenset[str]:
    """The tags in a file, one a line, with spaces or underscores. Raises ServiceError if it cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"the blacklist {file} cannot be read: {error}") from error
    return frozenset(line.strip().replace(" ", "_") for line in lines if line.strip())


class Written(NamedTuple):
    """What became of the .txt files.

    Attributes:
        written: how many were written.
        kept: how many were left as they were.
        empty: pictures of whose tags none is chosen.
        impossible: pictures that are gone, and those whose .txt was already written for another picture.
    """

    written: int
    kept: int
    empty: int
    impossible: int


Tagged = tuple[str, list[Tag]]
"""A picture's path and its tags, best first unless another order was asked for."""


def check_categories(database: Database, categories: Iterable[str]) -> None:
    """Raises ServiceError for a category that no tag has, with those that there are."""
    with database.reading() as connection:
        known = sorted(connection.execute(select(tag.c.category).distinct()).scalars())
    for category in categories:
        if category not in known:
            raise ServiceError(f"no tag is of the category {category}: there are {', '.join(known) or 'none'}")


def tagged(database: Database, selection: Selection = Selection()) -> Iterator[Tagged]:
    """Every present picture that has tags, by id, with those that are chosen."""
    with database.reading() as connection:
        listed = connection.execute(select(media.c.id, media.c.path).where(media.c.present).order_by(media.c.id)).all()
        for first in range(0, len(listed), _AT_ONCE):
            some = listed[first : first + _AT_ONCE]
            tags = tags_of(connection, [row.id for row in some])
            for media_id, path in some:
                own = [
                    Tag(one.key, 1.0 if one.score is None else one.score, one.category)
                    for one in tags[media_id]
                    if one.counts
                ]
                if own:
                    yield path, selection.of(own)


def write_jsonl(pictures: Iterator[Tagged], out: TextIO) -> int:
    """Writes one JSON object a picture, each on its line. Returns the number of pictures."""
    count = 0
    for path, tags in pictures:
        count += 1
        entry = {"path": path, "tags": [{"tag": one.key, "score": one.score} for one in tags]}
        out.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return count


def write_csv(pictures: Iterator[Tagged], out: TextIO) -> int:
    """Writes a header and one row a tag. Returns the number of pictures."""
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("path", "tag", "score"))
    count = 0
    for path, tags in pictures:
        count += 1
        table.writerows((path, one.key, one.score) for one in tags)
    return count


def spaced(key: str) -> str:
    """The tag with spaces for underscores, but for kaomoji, which are made of them (`^_^`, `o_o`)."""
    return key.replace("_", " ") if _WORD.search(key) else key


def write_txt(
    pictures: Iterator[Tagged], catalogue: Catalogue, *, overwrite: bool, underscores: bool = True
) -> Written:
    """Writes a .txt beside each picture. One that exists is kept unless `overwrite`: somebody may have corrected it.

    Two pictures whose names differ only in the suffix would have the same .txt; it gets the tags of the first.
    `underscores`: tags as they are; else with spaces.

    Raises:
        ServiceError: a file cannot be written.
    """
    done: set[Path] = set()
    kept = empty = impossible = 0
    for path, tags in pictures:
        picture = catalogue.resolve(path)
        text = picture.with_suffix(".txt") if picture else None
        if text is None or text in done:
            impossible += 1
        elif not tags:
            empty += 1
        elif text.is_symlink() or (text.exists() and not overwrite):  # a link may lead out of the library
            kept += 1
        else:
            try:
                line = ", ".join(one.key if underscores else spaced(one.key) for one in tags)
                text.write_text(line + "\n", encoding="utf-8", newline="\n")
            except OSError as error:
                raise ServiceError(f"cannot write {text}: {error.strerror}") from error
            done.add(text)
    return Written(len(done), kept, empty, impossible)
