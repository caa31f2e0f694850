"""The page's queries: which pictures have these tags, and which tags match what is being typed."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Select, Subquery, and_, exists, func, literal, or_, select
from sqlalchemy.exc import OperationalError

from service.database import media, media_tag, tag
from service.errors import ServiceError

CARD_TAGS = 4
"""Tags shown under a picture in the grid."""
MAX_TAGS, MAX_WORDS = 20, 8
"""In one query. SQLite joins 64 tables at most; each word is a look at all tags."""
MAX_SECONDS = 10.0
"""A query that takes longer is ended."""
_STEPS = 20_000  # of SQLite's virtual machine between two looks at the clock: some 1 ms


class TooLong(ServiceError):
    """A query was ended because it took too long."""


@dataclass(frozen=True)
class Query:
    """What to look for; all of it must hold.

    Attributes:
        tags: whole tags the picture carries.
        words: each is part of one of its tags; `long` finds `long_hair`.
        category: the words are looked for in this category; without words, the picture has any tag of it.
    """

    tags: Sequence[str] = ()
    words: Sequence[str] = ()
    category: str | None = None


@contextmanager
def time_limit(connection: Connection, seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Ends what is asked of the connection in the block after so many seconds, by raising TooLong."""
    database = cast(Any, connection.connection.driver_connection)  # sqlite3.Connection
    end = time.monotonic() + seconds
    database.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield
    except OperationalError as error:
        if time.monotonic() <= end:
            raise
        raise TooLong(f"the search was ended after {seconds:g} s: write longer words, or fewer") from error
    finally:
        database.set_progress_handler(None, 0)


def summary(connection: Connection) -> dict[str, Any]:
    """How many pictures there are, how many of them have tags, how many tags are in use, and their categories."""
    tagged = exists().where(media_tag.c.media_id == media.c.id)
    used = exists().where(media_tag.c.tag_id == tag.c.id)
    counts = [
        select(func.count()).where(media.c.present).scalar_subquery(),
        select(func.count()).where(media.c.present, tagged).scalar_subquery(),
        select(func.count()).select_from(tag).where(used).scalar_subquery(),
    ]
    pictures, with_tags, tags = connection.execute(select(*counts)).one()
    categories = connection.execute(select(tag.c.category).distinct().where(used).order_by(tag.c.category)).scalars()
    return {"pictures": pictures, "tagged": with_tags, "tags": tags, "categories": list(categories)}


def find(connection: Connection, query: Query, offset: int, limit: int) -> dict[str, Any]:
    """One page of the matching pictures, and how many match in all. The best match comes first, equal ones go by id."""
    found = _matches(query).subquery()
    total = connection.execute(select(func.count()).select_from(found)).scalar_one()
    page = select(found.c.id, found.c.path).order_by(found.c.score.desc(), found.c.id).offset(offset).limit(limit)
    pictures = {row.id: {"id": row.id, "path": row.path} for row in connection.execute(page)}
    tags = _tags_of(connection, pictures)
    for media_id, card in pictures.items():
        own = sorted(tags[media_id], key=lambda entry: not _sought(entry["tag"], query))  # what was looked for first
        card["tags"] = [e for e in own if e["category"] != "System" or _sought(e["tag"], query)][:CARD_TAGS]
        card["rating"] = next((entry["tag"] for entry in own if entry["tag"].startswith("rating:")), None)
    return {"total": total, "pictures": list(pictures.values())}


def neighbour(connection: Connection, query: Query, media_id: int, *, after: bool) -> int | None:
    """The id of the picture after (or before) this one in the order of `find`; None at the end.

    A picture that does not match is taken as the worst match of all.
    """
    found = _matches(query).subquery()
    own = connection.execute(select(found.c.score).where(found.c.id == media_id)).scalar_one_or_none()
    score = literal(-1.0 if own is None else own)
    if after:
        further = or_(found.c.score < score, and_(found.c.score == score, found.c.id > media_id))
        nearest = select(found.c.id).where(further).order_by(found.c.score.desc(), found.c.id)
    else:
        further = or_(found.c.score > score, and_(found.c.score == score, found.c.id < media_id))
        nearest = select(found.c.id).where(further).order_by(found.c.score, found.c.id.desc())
    return connection.execute(nearest.limit(1)).scalar_one_or_none()


def picture(connection: Connection, media_id: int) -> dict[str, Any] | None:
    """One picture with all its tags, highest score first."""
    row = connection.execute(select(media.c.path).where(media.c.id == media_id, media.c.present)).one_or_none()
    if row is None:
        return None
    return {"id": media_id, "path": row.path, "tags": _tags_of(connection, [media_id])[media_id]}


def suggest(connection: Connection, query: Query, limit: int) -> list[dict[str, Any]]:
    """Tags that contain the last word, with the number of their pictures.

    Tags that begin with the word come first, then those with more pictures.
    """
    word = query.words[-1] if query.words else ""
    # All pictures are counted from the index, then the few vanished ones subtracted: joining media is 20 times slower.
    all_pictures = select(func.count()).where(media_tag.c.tag_id == tag.c.id).scalar_subquery()
    vanished = (
        select(media_tag.c.tag_id, func.count().label("pictures"))
        .where(media_tag.c.media_id.in_(select(media.c.id).where(~media.c.present)))
        .group_by(media_tag.c.tag_id)
        .subquery()
    )
    pictures = (all_pictures - func.coalesce(vanished.c.pictures, 0)).label("pictures")
    rows = (
        select(tag.c.key.label("tag"), tag.c.category, pictures)
        .outerjoin(vanished, vanished.c.tag_id == tag.c.id)
        .where(tag.c.key.not_in(query.tags), tag.c.key.contains(word, autoescape=True), pictures > 0)
        .order_by(tag.c.key.startswith(word, autoescape=True).desc(), pictures.desc(), tag.c.key)
        .limit(limit)
    )
    if query.category:
        rows = rows.where(tag.c.category == query.category)
    return [dict(row) for row in connection.execute(rows).mappings()]


def _sought(key: str, query: Query) -> bool:
    return key in query.tags or any(word.lower() in key.lower() for word in query.words)


def _matches(query: Query) -> Select[tuple[int, str, float]]:
    """(id, path, score) of every match. The score is the sum of the best similarity for each tag and word."""
    parts = [_carrying(select(tag.c.id).where(tag.c.key == key)) for key in query.tags]
    for word in query.words:
        holding = select(tag.c.id).where(tag.c.key.contains(word, autoescape=True))
        parts.append(_carrying(holding.where(tag.c.category == query.category) if query.category else holding))
    score = sum((part.c.similarity for part in parts), literal(0.0))
    rows = select(media.c.id, media.c.path, score.label("score")).where(media.c.present)
    for part in parts:
        rows = rows.join(part, part.c.media_id == media.c.id)
    if query.category and not query.words:
        own = exists().where(media_tag.c.media_id == media.c.id, media_tag.c.tag_id == tag.c.id)
        rows = rows.where(own.where(tag.c.category == query.category))
    return rows


def _carrying(tags: Select[tuple[int]]) -> Subquery:
    """The pictures with any of these tags, and their best similarity."""
    best = func.max(media_tag.c.similarity).label("similarity")
    rows = select(media_tag.c.media_id, best).where(media_tag.c.tag_id.in_(tags))
    return rows.group_by(media_tag.c.media_id).subquery()


def _tags_of(connection: Connection, ids: Sequence[int] | dict[int, Any]) -> dict[int, list[dict[str, Any]]]:
    rows = (
        select(media_tag.c.media_id, tag.c.key, tag.c.category, media_tag.c.similarity)
        .join(tag, tag.c.id == media_tag.c.tag_id)
        .where(media_tag.c.media_id.in_(list(ids)))
        .order_by(media_tag.c.similarity.desc(), tag.c.id)
    )
    tags: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for media_id, key, category, similarity in connection.execute(rows):
        tags[media_id].append({"tag": key, "category": category, "score": similarity})
    return tags
