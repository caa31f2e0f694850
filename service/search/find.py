"""The answer to a query: which pictures, in what order, how many, and what the names in it meant."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from service.database import Database, media
from service.search.evaluate import Answer, Evaluation, Neighbours, Resolved
from service.search.index import ANY, Count, Index, keyed
from service.search.names import Names, folded
from service.search.query import All, Any_, Everything, Name, Not, names, parse
from service.search.said import TagOfPicture, tags_of

RATING = "rating:"
"""Keys of ratings begin so."""
CARD_TAGS = 4
"""Tags shown under a picture in the grid."""
FACETS = 12
"""Tags of a category that are offered beside the results."""


class MistakenQuery(ValueError):
    """Part of a query cannot be read; the text is a whole sentence."""


class Search:
    """Answers queries of one library."""

    def __init__(self, database: Database, vocabulary: Names, neighbours: Neighbours = lambda _: None) -> None:
        self.index = Index(database)
        self._database = database
        self.vocabulary = vocabulary
        self._neighbours = neighbours

    def find(self, text: str, *, offset: int, limit: int, language: str = "en") -> dict[str, Any]:
        """One page of what matches, with how many match in all, what the names meant and what was wrong."""
        with self.index.fresh() as index:
            answer = self._answer(index, text, language)
            keys = _order_keys(index, answer)
            page = _page(keys, offset, limit)
            total = len(keys)
            media_ids = index.ids[page].tolist()
        wanted = {key for one in answer.resolved for m in one.meanings for key in (*m.keys, *m.narrower)}
        return {
            "total": total,
            "pictures": self._cards(media_ids, wanted, language),
            "query": str(answer.query),
            "parts": self._parts(answer),
            "names": [_shown(one) for one in answer.resolved],
            "mistakes": [one.__dict__ for one in answer.mistakes],
        }

    def ids(self, text: str, language: str = "en") -> list[int]:
        """The ids of all that match, in the query's order.

        Raises MistakenQuery where part of it cannot be read: `find` leaves that out and says so, but what is done to
        all that were found must be done to those that were meant.
        """
        with self.index.fresh() as index:
            answer = self._answer(index, text, language)
            if answer.mistakes:
                first = answer.mistakes[0]
                raise MistakenQuery(f"the query cannot be read at character {first.at + 1}: {first.reason}")
            keys = _order_keys(index, answer)
            found: list[int] = index.ids[_page(keys, 0, len(keys))].tolist()
            return found

    def neighbour(self, text: str, media_id: int, *, after: bool, language: str = "en") -> int | None:
        """The picture after (or before) this one in the order of `find`; None at the end.

        A picture that does not match stands behind all that do.
        """
        with self.index.fresh() as index:
            row = index.row(media_id)
            keys = _order_keys(index, self._answer(index, text, language))
            if not len(keys):
                return None
            own = keys[keys & _ROW == row] if row is not None else keys[:0]
            if len(own):
                further = keys[keys > own[0]] if after else keys[keys < own[0]]
            else:
                further = keys[:0] if after else keys
            if not len(further):
                return None
            return int(index.ids[int(further.min() if after else further.max()) & _ROW])

    def facets(self, text: str, language: str = "en") -> dict[str, Any]:
        """What the found pictures have: the tags of each category that most of them have, and how many each group."""
        with self.index.fresh() as index:
            answer = self._answer(index, text, language)
            categories = [
                {"category": category, "tags": self._counted(index.most(answer.mask, category, FACETS), language)}
                for category in index.categories()
            ]
            groups = []
            for group in self.vocabulary.groups(index, language):
                best = index.best(keyed(index.by_key, group.keys))
                if pictures := int(np.count_nonzero((best > 0) & answer.mask)):
                    groups.append({"path": group.path, "name": group.name, "pictures": pictures})
            return {"total": int(np.count_nonzero(answer.mask)), "categories": categories, "groups": groups}

    def browse(self, group: str, limit: int, language: str = "en") -> list[dict[str, Any]]:
        """The tags of a group that most pictures have, with how many."""
        with self.index.fresh() as index:
            keys = next((one.keys for one in self.vocabulary.groups(index, language) if one.path == group), frozenset())
            counts = [Count(one, index.count([one])) for one in keyed(index.by_key, keys)]
            counts.sort(key=lambda count: (-count.pictures, count.tag.key))
            return self._counted([one for one in counts if one.pictures][:limit], language)

    def _counted(self, counts: Sequence[Count], language: str) -> list[dict[str, Any]]:
        shown = self.vocabulary.shown
        return [{"tag": tag.key, "name": shown(tag.key, language), "pictures": pictures} for tag, pictures in counts]

    def suggest(self, text: str, limit: int, language: str = "en") -> list[dict[str, Any]]:
        """What may be meant by what is being typed, with the number of pictures; nothing that no picture has.

        What is called so as a whole (`whole`) stands first.
        """
        with self.index.fresh() as index:
            found = []
            for meaning in self.vocabulary.suggest(index, text, language, limit):
                tags = keyed(index.by_key, [*meaning.keys, *meaning.narrower])
                if tags and (pictures := index.count(tags)):
                    entry = {"tag": meaning.concept, "name": meaning.name, "via": meaning.via, "how": meaning.how}
                    whole = folded(text) in {folded(one) for one in (meaning.via, meaning.name, meaning.concept)}
                    found.append({**entry, "category": tags[0].category, "pictures": pictures, "whole": whole})
            return sorted(found, key=lambda one: not one["whole"])

    def summary(self, language: str = "en") -> dict[str, Any]:
        """How many pictures there are, how many have tags; how many tags are in use, their categories, the ratings."""
        with self.index.fresh() as index:
            return {
                "pictures": int(np.count_nonzero(index.present)),
                "tagged": int(np.count_nonzero(index.tagged() & index.present)),
                "tags": sum(1 for one in index.tags.values() if one.size),
                "categories": index.categories(),
                "ratings": [
                    {"tag": one.key, "name": self.vocabulary.shown(one.key, language)}
                    for one in index.tags.values()
                    if one.key.startswith(RATING) and one.size
                ],
            }

    def picture(self, media_id: int, language: str = "en") -> dict[str, Any] | None:
        """One picture with all its tags: those that count first, highest score first, and who said what."""
        with self._database.reading() as connection:
            row = connection.execute(select(media.c.path).where(media.c.id == media_id, media.c.present)).one_or_none()
            if row is None:
                return None
            tags = tags_of(connection, [media_id])[media_id]
        return {"id": media_id, "path": row.path, "tags": [self._entry(one, language) for one in tags]}

    def _parts(self, answer: Answer) -> list[dict[str, Any]]:
        """What must all hold: each as it is written in a query, and what it means if it is a name."""
        tree = answer.query.tree
        resolved = {one.name: one for one in answer.resolved}
        found = []
        for part in () if isinstance(tree, Everything) else tree.parts if isinstance(tree, All) else (tree,):
            inner = part.part if isinstance(part, Not) else part
            name = resolved.get(inner) if isinstance(inner, Name) else None
            tags = keyed(self.index.by_key, name.meanings[0].keys) if name and name.meanings else []
            text = f"({part})" if isinstance(part, Any_) else str(part)
            found.append(
                {
                    "text": text,
                    "negative": isinstance(part, Not),
                    "category": tags[0].category if tags else None,
                    "name": _shown(name) if name else None,
                }
            )
        return found

    def _cards(self, media_ids: Sequence[int], wanted: set[str], language: str) -> list[dict[str, Any]]:
        with self._database.reading() as connection:
            rows = connection.execute(select(media.c.id, media.c.path).where(media.c.id.in_(media_ids)))
            paths = {row.id: row.path for row in rows}
            tags = tags_of(connection, media_ids)
        cards = []
        for media_id in media_ids:
            own = [one for one in tags[media_id] if one.counts]
            own.sort(key=lambda one: one.key not in wanted)  # what was looked for first
            shown = [one for one in own if not _is_rating(one) or one.key in wanted][:CARD_TAGS]
            rating = next((one.key for one in own if _is_rating(one)), None)
            card = {"id": media_id, "path": paths[media_id], "rating": rating}
            card["ratingName"] = rating and self.vocabulary.shown(rating, language)
            cards.append({**card, "tags": [self._entry(one, language) for one in shown]})
        return cards

    def _entry(self, one: TagOfPicture, language: str) -> dict[str, Any]:
        return {
            "tag": one.key,
            "name": self.vocabulary.shown(one.key, language),
            "category": one.category,
            "score": one.score,
            "verdict": one.verdict,
            "counts": one.counts,
            "models": one.models,
        }

    def _answer(self, index: Index, text: str, language: str) -> Answer:
        query = parse(text)
        answer = Answer(text, query, np.empty(0, np.bool_), np.zeros(len(index.ids), np.int64))
        answer.mistakes.extend(query.mistakes)
        answer.resolved = [self._resolve(index, one, language) for one in dict.fromkeys(names(query.tree))]
        evaluation = Evaluation(index, answer, self.vocabulary, language, self._neighbours)
        answer.mask = evaluation.mask(query.tree, ANY, positive=True) & index.present
        return answer

    def _resolve(self, index: Index, name: Name, language: str) -> Resolved:
        meanings = self.vocabulary.meanings(index, name.text, name.category, language)
        return Resolved(name, meanings, () if meanings else self.vocabulary.near(index, name.text, language))


_ROW = np.int64(2**32 - 1)
_MOST = np.int64(2**30)  # more than any sum of scores


def _order_keys(index: Index, answer: Answer) -> npt.NDArray[np.int64]:
    """A number for each row that was found: ascending numbers are the order, and the lower half is the row."""
    rows = np.flatnonzero(answer.mask).astype(np.int64)
    match answer.order:
        case "new":
            first = len(index.ids) - rows
        case "random":  # another order than the ids', the same each time
            first = (index.ids[rows] * 2_654_435_761 % 2**31 * 40_503) % 2**31
        case "old":
            return rows
        case _:
            first = _MOST - np.minimum(answer.score[rows], _MOST - 1)
    return (first << np.int64(32)) | rows


def _page(keys: npt.NDArray[np.int64], offset: int, limit: int) -> npt.NDArray[np.int64]:
    """The rows at these places of the order."""
    end = offset + limit
    if end < len(keys):
        keys = np.partition(keys, end)[:end]
    return np.sort(keys)[offset:end] & _ROW


def _shown(one: Resolved) -> dict[str, Any]:
    meanings = [
        {"concept": m.concept, "name": m.name, "via": m.via, "how": m.how, "keys": sorted(m.keys)} for m in one.meanings
    ]
    return {"text": one.name.text, "category": one.name.category, "found": meanings, "near": list(one.near)}


def _is_rating(one: TagOfPicture) -> bool:
    return one.key.startswith(RATING)
