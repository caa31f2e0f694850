"""Stores the tags of the pictures, one row for each (mediaId, tagKey). A record that comes again changes nothing."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from service.database import Database, media, media_tag, tag

_put_tag = insert(tag).on_conflict_do_nothing()
_put_score = insert(media_tag)
_put_score = _put_score.on_conflict_do_update(
    index_elements=["media_id", "tag_id"], set_={"similarity": _put_score.excluded.similarity}
)


class Score(NamedTuple):
    """One tag of one picture; similarity in 0..1."""

    media_id: int
    tag: str
    similarity: float


class Store:
    """Writes records into the database."""

    def __init__(self, database: Database, categories: dict[str, str] | None = None) -> None:
        """`categories`: those of the tags, from a model folder; the contract's records do not name them."""
        self._database = database
        self._categories = categories or {}
        self._tag_ids: dict[str, int] = {}
        if self._categories:
            with database.writing() as connection:
                known = {row.key: row.category for row in connection.execute(select(tag.c.key, tag.c.category))}
                changed = [
                    {"tag_key": key, "told": self._categories[key]}
                    for key, category in known.items()
                    if self._categories.get(key, category) != category
                ]
                if changed:
                    statement = update(tag).where(tag.c.key == bindparam("tag_key"))
                    connection.execute(statement.values(category=bindparam("told")), changed)

    def put(self, scores: Sequence[Score]) -> set[int]:
        """Stores the scores of all known pictures in one transaction. Returns the media ids that are not known.

        Takes 30,000 at most, because SQLite limits the variables of a statement; guard.MAX_BODY allows fewer.
        """
        if not scores:
            return set()
        with self._database.writing() as connection:
            known = _known(connection, {score.media_id for score in scores})
            tag_ids = self._ids(connection, {score.tag for score in scores if score.media_id in known})
            rows = [
                {"media_id": score.media_id, "tag_id": tag_ids[score.tag], "similarity": score.similarity}
                for score in scores
                if score.media_id in known
            ]
            if rows:
                connection.execute(_put_score, rows)
        self._tag_ids.update(tag_ids)  # not before the commit: a rollback would undo the new ids
        return {score.media_id for score in scores} - known

    def _ids(self, connection: Connection, keys: set[str]) -> dict[str, int]:
        ids = {key: self._tag_ids[key] for key in keys if key in self._tag_ids}
        new = sorted(keys - ids.keys())
        if new:
            connection.execute(_put_tag, [{"key": key, "category": self._category(key)} for key in new])
            rows = connection.execute(select(tag.c.key, tag.c.id).where(tag.c.key.in_(new)))
            ids.update((row.key, row.id) for row in rows)
        return ids

    def _category(self, key: str) -> str:
        return self._categories.get(key) or ("System" if key.startswith("rating:") else "General")


def _known(connection: Connection, ids: set[int]) -> set[int]:
    return set(connection.execute(select(media.c.id).where(media.c.id.in_(ids))).scalars())
