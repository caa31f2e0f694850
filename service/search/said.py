"""What was said of pictures, by models and by people, and which tags they have therefore."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from service.database import model, opinion, tag, verdict
from service.opinions import unpack


@dataclass(frozen=True)
class TagOfPicture:
    """A tag of a picture.

    Attributes:
        score: the best that a model gave, in 0..1; None: no model gave it.
        verdict: what a person said; None: nothing.
        models: what each model gave.
        counts: whether the picture has this tag.
    """

    key: str
    category: str
    score: float | None
    verdict: bool | None
    models: Mapping[str, float]
    counts: bool


def tags_of(connection: Connection, media_ids: Sequence[int]) -> dict[int, list[TagOfPicture]]:
    """All that was said of these pictures: what counts first, then by score."""
    models = {row.id: row.name for row in connection.execute(select(model.c.id, model.c.name))}
    scores: dict[int, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in connection.execute(select(opinion).where(opinion.c.media_id.in_(media_ids))):
        for tag_id, score in unpack(row.tags).items():
            scores[row.media_id][tag_id][models[row.model_id]] = score
    verdicts: dict[int, dict[int, bool]] = defaultdict(dict)
    for row in connection.execute(select(verdict).where(verdict.c.media_id.in_(media_ids))):
        verdicts[row.media_id][row.tag_id] = row.yes
        scores[row.media_id].setdefault(row.tag_id, {})
    used = sorted({tag_id for tags in scores.values() for tag_id in tags})
    known: dict[int, Any] = {}
    for first in range(0, len(used), 10_000):  # SQLite limits the variables of a statement
        rows = connection.execute(select(tag).where(tag.c.id.in_(used[first : first + 10_000])))
        known.update((row.id, row) for row in rows)
    found: dict[int, list[TagOfPicture]] = defaultdict(list)
    for media_id, tags in scores.items():
        for tag_id, given in tags.items():
            row, said = known[tag_id], verdicts[media_id].get(tag_id)
            best = max(given.values()) if given else None
            counts = said if said is not None else best is not None and best >= (row.threshold or 0.0)
            found[media_id].append(TagOfPicture(row.key, row.category, best, said, given, counts))
        found[media_id].sort(key=lambda one: (not one.counts, -(1.0 if one.verdict else one.score or 0.0), one.key))
    return found
