"""Writes the library's tags as JSON Lines, as CSV, or as a .txt beside each picture, as training tools expect."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TextIO

from sqlalchemy import select

from engine.output.beside import Sidecars, Unwritten
from engine.output.template import SEPARATOR
from engine.output.wording import Tag, Wording
from service.catalogue import Catalogue
from service.database import Database, media, tag
from service.errors import ServiceError
from service.formats import Order
from service.search.said import TagOfPicture, tags_of

_CATEGORIES = {"Character": 0, "General": 1, "System": 3}
_AT_ONCE = 500  # pictures whose tags are read together


@dataclass(frozen=True)
class Selection:
    """Which of a picture's tags are written, and in what order.

    Attributes:
        threshold: the lowest score; what a person said stands whatever its score.
        categories: only these; all when empty.
        wording: what is left out, and in which words the others are written.
        ratings: whether `rating:safe` and the like are written.
        maximum: the most tags of a picture; those with the highest scores.
        order: theirs.
    """

    threshold: float = 0.0
    categories: frozenset[str] = frozenset()
    wording: Wording = field(default_factory=Wording)
    ratings: bool = True
    maximum: int | None = None
    order: Order = Order.SCORE

    def of(self, tags: Sequence[Tag]) -> list[Tag]:
        """The chosen ones of a picture's tags, which come best first."""
        chosen = [
            one
            for one in tags
            if (not self.categories or one.category in self.categories) and (self.ratings or not one.is_rating)
        ]
        chosen = self.wording.of(chosen)[: self.maximum]
        if self.order is Order.NAME:
            chosen.sort(key=lambda one: one.key)
        elif self.order is Order.CATEGORY:
            chosen.sort(key=lambda one: (_CATEGORIES.get(one.category, 2), one.category))  # stable: by score within
        return chosen


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


def known_categories(database: Database, asked: Iterable[str]) -> frozenset[str]:
    """The categories as the library writes them, whatever their case. Raises ServiceError for one that no tag has."""
    with database.reading() as connection:
        known = {name.casefold(): name for name in connection.execute(select(tag.c.category).distinct()).scalars()}
    for category in asked:
        if category.casefold() not in known:
            there = ", ".join(sorted(known.values())) or "none"
            raise ServiceError(f"no tag is of the category {category}: there are {there}")
    return frozenset(known[category.casefold()] for category in asked)


def tagged(database: Database, selection: Selection = Selection()) -> Iterator[Tagged]:
    """Every present picture that has tags, by id, with those that are chosen."""
    with database.reading() as connection:
        listed = connection.execute(select(media.c.id, media.c.path).where(media.c.present).order_by(media.c.id)).all()
        for first in range(0, len(listed), _AT_ONCE):
            some = listed[first : first + _AT_ONCE]
            tags = tags_of(connection, [row.id for row in some])
            for media_id, path in some:
                if any(one.counts for one in tags[media_id]):
                    yield path, selection.of(chosen(tags[media_id], selection.threshold))


def chosen(tags: Sequence[TagOfPicture], threshold: float, *, verdicts_only: bool = False) -> list[Tag]:
    """The tags that a picture has: those that a person gave, and those that models give with so much of a score.

    `verdicts_only`: none that only models give.
    """
    return [
        Tag(one.key, 1.0 if one.score is None else one.score, one.category)
        for one in tags
        if one.counts and (one.verdict or (not verdicts_only and one.score is not None and one.score >= threshold))
    ]


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


def write_txt(pictures: Iterator[Tagged], catalogue: Catalogue, *, overwrite: bool) -> Written:
    """Writes a .txt beside each picture. One that exists is kept unless `overwrite`: somebody may have corrected it.

    Two pictures whose names differ only in the suffix would have the same .txt; it gets the tags of the first.

    Raises:
        ServiceError: a file cannot be written.
    """
    files = Sidecars(overwrite=overwrite)
    empty = gone = 0
    for path, tags in pictures:
        picture = catalogue.resolve(path)
        if picture is None:
            gone += 1
        elif not tags:
            empty += 1
        else:
            try:
                files.text(picture, SEPARATOR.join(one.key for one in tags) + "\n")
            except Unwritten as error:
                raise ServiceError(str(error)) from error
    return Written(files.written, files.kept, empty, gone + files.shared)
