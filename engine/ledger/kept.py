"""The ledger's tables of kept scores: of which model they are, what is written with a batch, and what is read later."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.scores import pack, pack_numbers
from engine.types import Entry, Tagged

PAGE = 5000
"""Media that are read at a time: some 4 MB of scores."""
TAGGED_WITHOUT = (
    "FROM media WHERE outcome IN ('done', 'outbox') "
    "AND NOT EXISTS (SELECT 1 FROM score WHERE media_id = media.id AND scorer_id = ?)"
)
JUDGED = (
    "SELECT m.id, s.kept, g.tags, o.entry FROM media m "
    "JOIN score s ON s.media_id = m.id AND s.scorer_id = ? JOIN given g ON g.media_id = m.id "
    "LEFT JOIN outbox o ON o.media_id = m.id AND o.sink = ? "
    "WHERE m.id > ? AND +m.outcome IN ('done', 'outbox') ORDER BY m.id LIMIT ?"
)


class Scorer(NamedTuple):
    """A model whose scores are kept.

    Attributes:
        id: its number in the ledger.
        name: its project, for people.
        sha256: of the model.
        tags_sha256: of its tags.
        tags: in its order.
        categories: of the tags.
        floor: all scores of at least this are kept, and of lower ones those of tags that count.
    """

    id: int
    name: str
    sha256: str
    tags_sha256: str
    tags: tuple[str, ...]
    categories: tuple[str, ...]
    floor: float


class Judged(NamedTuple):
    """A medium that was tagged.

    Attributes:
        kept: its scores, see `engine.scores`.
        given: the numbers of the tags that the media API has of it, or will have when the outbox is empty.
        waiting: what of it is in the outbox, if there is something.
    """

    media_id: int
    kept: bytes
    given: bytes
    waiting: Entry | None


class Change(NamedTuple):
    """What a medium is to have besides, or instead: an entry for the outbox, and what is given then."""

    media_id: int
    entry: Entry
    given: bytes


Judge = Callable[[Sequence[Judged]], Iterable[Change]]
"""Says of a page of media which of them change."""


def read_scorer(number: int, name: str, sha256: str, tags_sha256: str, tags: str, floor: float) -> Scorer:
    """A row of the table."""
    names, categories = zip(*json.loads(tags), strict=True)
    return Scorer(number, name, sha256, tags_sha256, names, categories, floor)


class Keeping:
    """Makes of what was tagged the rows that are kept."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._numbers = {tag: number for number, tag in enumerate(scorer.tags)}

    def rows(self, tagged: Sequence[Tagged]) -> list[tuple[int, bytes, bytes]]:
        """(media id, scores, tags) of a batch."""
        if not tagged:
            return []
        taken = [[self._numbers[tag.tag] for tag in item.tags] for item in tagged]
        blobs = pack(np.stack([item.scores for item in tagged]), taken, self._scorer.floor)
        size = len(self._numbers)
        return [
            (item.media.id, blob, pack_numbers(numbers, size))
            for item, blob, numbers in zip(tagged, blobs, taken, strict=True)
        ]

    def put(self, connection: sqlite3.Connection, rows: Sequence[tuple[int, bytes, bytes]]) -> None:
        number = self._scorer.id
        connection.executemany(
            "INSERT OR REPLACE INTO score VALUES (?, ?, ?)", [(media_id, number, blob) for media_id, blob, _ in rows]
        )
        connection.executemany(
            "INSERT OR REPLACE INTO given VALUES (?, ?)", [(media_id, tags) for media_id, _, tags in rows]
        )


def put_scorer(connection: sqlite3.Connection, scorer: Scorer) -> None:
    """Make its row, or raise the floor of the one that is there: below it not all scores are kept any more."""
    connection.execute(
        "INSERT INTO scorer (name, sha256, tags_sha256, tags, floor) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (sha256, tags_sha256) DO UPDATE SET floor = max(floor, excluded.floor)",
        (
            scorer.name,
            scorer.sha256,
            scorer.tags_sha256,
            json.dumps(list(zip(scorer.tags, scorer.categories, strict=True)), ensure_ascii=False),
            scorer.floor,
        ),
    )


def forget_scorer(connection: sqlite3.Connection, sha256: str) -> None:
    """All media are to be tagged again by this model: what it said before goes, and what was given with it."""
    connection.execute("DELETE FROM score WHERE scorer_id IN (SELECT id FROM scorer WHERE sha256 = ?)", (sha256,))
    connection.execute("DELETE FROM scorer WHERE sha256 = ?", (sha256,))
    connection.execute("DELETE FROM given")


def forget(connection: sqlite3.Connection, ids: str) -> None:
    """What was kept of these media (JSON) goes: their files may be others."""
    for table in ("score", "given"):
        connection.execute(
            f"DELETE FROM {table} WHERE media_id IN (SELECT value FROM json_each(?))",  # noqa: S608
            (ids,),
        )


def judge_again(
    connection: sqlite3.Connection,
    scorer: Scorer,
    judge: Judge,
    *,
    sink: str,
    meta: Mapping[str, str],
    now: float,
) -> int:
    """Put into the outbox what changes by the kept scores, and make media pending that have none; the number of these.

    Nothing may be emptying the outbox meanwhile.
    """
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))
    # The same records may go out as once before: a service that knows requests by their key must take them for new.
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('identity', lower(hex(randomblob(16))))")
    without = [(number,) for (number,) in connection.execute(f"SELECT id {TAGGED_WITHOUT}", (scorer.id,))]
    connection.executemany("DELETE FROM outbox WHERE media_id = ?", without)
    connection.executemany(
        "UPDATE media SET outcome = 'pending', reason = NULL, changed = ? WHERE id = ?",
        [(now, number) for (number,) in without],
    )
    after = -1
    while page := [Judged(*row) for row in connection.execute(JUDGED, (scorer.id, sink, after, PAGE))]:
        after = page[-1].media_id
        changes = list(judge(page))
        connection.executemany(
            "INSERT INTO outbox (sink, media_id, entry) VALUES (?, ?, ?) "
            "ON CONFLICT (media_id, sink) DO UPDATE SET entry = excluded.entry",
            [(sink, change.media_id, change.entry) for change in changes],
        )
        connection.executemany(
            "UPDATE given SET tags = ? WHERE media_id = ?", [(change.given, change.media_id) for change in changes]
        )
        connection.executemany(
            "UPDATE media SET outcome = 'outbox', reason = NULL, changed = ? WHERE id = ?",
            [(now, change.media_id) for change in changes],
        )
    return len(without)
