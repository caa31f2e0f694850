"""Stores what models say of pictures: one opinion a picture and model, which holds all tags that the model gives it.

A record that comes again changes nothing. What a person said is a verdict (`verdicts`), which nothing here touches.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from service.database import UNNAMED, Database, media, model, opinion, tag, touch
from service.opinions import pack, unpack

_put_tag = insert(tag).on_conflict_do_nothing()
_put_model = insert(model).on_conflict_do_nothing()
_put_opinion = insert(opinion)
_put_opinion = _put_opinion.on_conflict_do_update(
    index_elements=["media_id", "model_id"], set_={"tags": _put_opinion.excluded.tags}
)
_take_away = delete(opinion).where(opinion.c.media_id == bindparam("medium"), opinion.c.model_id == bindparam("giver"))


class Score(NamedTuple):
    """One tag of one picture; similarity in 0..1."""

    media_id: int
    tag: str
    similarity: float


class Opinion(NamedTuple):
    """All tags that one model gives one picture; similarity in 0..1."""

    media_id: int
    model: str
    tags: Mapping[str, float]


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
                    touch(connection, tags=True)

    def put(self, scores: Sequence[Score]) -> set[int]:
        """Adds the scores of all known pictures to what came without a model's name, in one transaction.

        Returns the media ids that are not known. Takes 30,000 at most, because SQLite limits the variables of a
        statement; guard.MAX_BODY allows fewer.
        """
        if not scores:
            return set()
        with self._database.writing() as connection:
            known = _known(connection, {score.media_id for score in scores})
            tag_ids = self.tag_ids(connection, {score.tag for score in scores if score.media_id in known})
            unnamed = _model_ids(connection, {UNNAMED})[UNNAMED]
            said: dict[int, dict[int, float]] = {media_id: {} for media_id in known}
            rows = select(opinion.c.media_id, opinion.c.tags).where(
                opinion.c.media_id.in_(known), opinion.c.model_id == unnamed
            )
            for row in connection.execute(rows):
                said[row.media_id] = unpack(row.tags)
            for score in scores:
                if score.media_id in known:
                    said[score.media_id][tag_ids[score.tag]] = score.similarity
            _write(connection, [(media_id, unnamed, tags) for media_id, tags in said.items()])
        self._tag_ids.update(tag_ids)  # not before the commit: a rollback would undo the new ids
        return {score.media_id for score in scores} - known

    def replace(self, opinions: Sequence[Opinion]) -> set[int]:
        """Stores what models say of pictures in place of what the same models said before, in one transaction.

        What came by a call that names no model is taken for an older opinion of whichever model speaks now. Of two
        opinions of one model on one picture the last one counts. Returns the media ids that are not known. Takes as
        much at once as `put`.
        """
        if not opinions:
            return set()
        with self._database.writing() as connection:
            asked = {opinion.media_id for opinion in opinions}
            known = _known(connection, asked)
            last = {(o.media_id, o.model): o for o in opinions if o.media_id in known}.values()
            models = _model_ids(connection, {opinion.model for opinion in last} | {UNNAMED})
            tag_ids = self.tag_ids(connection, {key for opinion in last for key in opinion.tags})
            gone = [{"medium": o.media_id, "giver": models[UNNAMED]} for o in last]
            gone += [{"medium": o.media_id, "giver": models[o.model]} for o in last if not o.tags]
            if gone:
                connection.execute(_take_away, gone)
            _write(
                connection,
                [(o.media_id, models[o.model], {tag_ids[key]: s for key, s in o.tags.items()}) for o in last],
            )
        self._tag_ids.update(tag_ids)
        return asked - known

    def tag_ids(self, connection: Connection, keys: set[str]) -> dict[str, int]:
        """The ids of tags by their keys; those that are new are made."""
        ids = {key: self._tag_ids[key] for key in keys if key in self._tag_ids}
        new = sorted(keys - ids.keys())
        if new:
            connection.execute(_put_tag, [{"key": key, "category": self._category(key)} for key in new])
            rows = connection.execute(select(tag.c.key, tag.c.id).where(tag.c.key.in_(new)))
            ids.update((row.key, row.id) for row in rows)
        return ids

    def _category(self, key: str) -> str:
        return self._categories.get(key) or ("System" if key.startswith("rating:") else "General")


def _write(connection: Connection, said: Sequence[tuple[int, int, Mapping[int, float]]]) -> None:
    """Opinions as (media id, model id, {tag id: score}), and that these media have changed."""
    rows = [{"media_id": m, "model_id": giver, "tags": pack(tags)} for m, giver, tags in said if tags]
    if rows:
        connection.execute(_put_opinion, rows)
    if said:
        touch(connection, {media_id for media_id, _, _ in said})


def _model_ids(connection: Connection, names: set[str]) -> dict[str, int]:
    if names:
        connection.execute(_put_model, [{"name": name} for name in sorted(names)])
    rows = connection.execute(select(model.c.name, model.c.id).where(model.c.name.in_(names)))
    return {row.name: row.id for row in rows}


def _known(connection: Connection, ids: set[int]) -> set[int]:
    return set(connection.execute(select(media.c.id).where(media.c.id.in_(ids))).scalars())
