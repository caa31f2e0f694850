"""Writes the library's tags as JSON Lines, as CSV, or as a .txt beside each picture, as training tools expect."""

import csv
import json
from collections.abc import Iterator
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TextIO

from sqlalchemy import select

from service.catalogue import Catalogue
from service.database import Database, media, media_tag, tag
from service.errors import ServiceError


class Format(StrEnum):
    """How tags are written."""

    JSONL = "jsonl"  # {"path": ..., "tags": [{"tag": ..., "score": ...}]}
    CSV = "csv"  # path,tag,score
    TXT = "txt"  # tag, tag, tag: in a file beside each picture


class Written(NamedTuple):
    """What became of the .txt files.

    Attributes:
        written: how many were written.
        kept: how many were left as they were.
        impossible: pictures that are gone, and those whose .txt was already written for another picture.
    """

    written: int
    kept: int
    impossible: int


Tagged = tuple[str, list[tuple[str, float]]]
"""A picture's path and its (tag, score), best first."""


def tagged(database: Database) -> Iterator[Tagged]:
    """Every present picture that has tags, by id."""
    rows = (
        select(media.c.path, tag.c.key, media_tag.c.similarity)
        .join(media_tag, media_tag.c.media_id == media.c.id)
        .join(tag, tag.c.id == media_tag.c.tag_id)
        .where(media.c.present)
        .order_by(media.c.id, media_tag.c.similarity.desc(), tag.c.id)
        .execution_options(yield_per=10_000)
    )
    with database.reading() as connection:
        for path, group in groupby(connection.execute(rows), key=attrgetter("path")):
            yield path, [(row.key, row.similarity) for row in group]


def write_jsonl(pictures: Iterator[Tagged], out: TextIO) -> int:
    """Writes one JSON object a picture, each on its line. Returns the number of pictures."""
    count = 0
    for path, tags in pictures:
        count += 1
        entry = {"path": path, "tags": [{"tag": key, "score": score} for key, score in tags]}
        out.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return count


def write_csv(pictures: Iterator[Tagged], out: TextIO) -> int:
    """Writes a header and one row a tag. Returns the number of pictures."""
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("path", "tag", "score"))
    count = 0
    for path, tags in pictures:
        count += 1
        table.writerows((path, key, score) for key, score in tags)
    return count


def write_txt(pictures: Iterator[Tagged], catalogue: Catalogue, *, overwrite: bool) -> Written:
    """Writes a .txt beside each picture. One that exists is kept unless `overwrite`: somebody may have corrected it.

    Two pictures whose names differ only in the suffix would have the same .txt; it gets the tags of the first.

    Raises:
        ServiceError: a file cannot be written.
    """
    done: set[Path] = set()
    kept = impossible = 0
    for path, tags in pictures:
        picture = catalogue.resolve(path)
        text = picture.with_suffix(".txt") if picture else None
        if text is None or text in done:
            impossible += 1
        elif text.is_symlink() or (text.exists() and not overwrite):  # a link may lead out of the library
            kept += 1
        else:
            try:
                text.write_text(", ".join(key for key, _ in tags) + "\n", encoding="utf-8", newline="\n")
            except OSError as error:
                raise ServiceError(f"cannot write {text}: {error.strerror}") from error
            done.add(text)
    return Written(len(done), kept, impossible)
