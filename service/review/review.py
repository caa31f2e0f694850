"""One tag at a time: which pictures a person is asked about next, and what the verdicts tell of the tag."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, func, select, update

from service.database import Database, edit, media, tag, touch, verdict
from service.errors import ServiceError
from service.review.estimate import LEAST, Estimate, Point, Share, best_point, estimate, wilson
from service.review.order import Groups, Ids, Steps, in_order, one_of_each, seed_of
from service.search.find import Search
from service.search.index import YES, Index, Mask, Tag
from service.similar import Similar
from service.verdicts import Judged, Verdicts

OrderName = Literal["uncertain", "suspicious"]
Why = Literal["uncertain", "sample", "unscored"]
WHY: tuple[Why, ...] = ("uncertain", "sample", "unscored")
"""By the numbers of order.py."""
EXAMINED = 300
"""Pictures whose neighbours are looked at, those with the lowest scores."""
_NEIGHBOURS = 10
_DOUBTED = 0.5  # from so large a share of neighbours without the tag, it is suspicious
_SHOWN = 24  # pictures that a new threshold would change


class NoSuchTag(ServiceError):
    """A name that means no tag of the library, or several."""


class Asked(NamedTuple):
    """A picture that is to be judged; `score` None: no model gave the tag. `doubt`: neighbours without it, 0..1."""

    media_id: int
    path: str
    score: float | None
    why: Why
    doubt: float | None


@dataclass(frozen=True)
class Queue:
    """What is to be judged of one tag.

    Attributes:
        key: the tag's.
        left: pictures of this order that nobody has judged.
        judged: pictures of the library with a verdict on this tag.
        scored: pictures to which a model gave the tag, one of each group of copies.
        threshold: the one in use; None: whatever a model gave counts.
        asked: some of those that are left, in order.
    """

    key: str
    name: str
    category: str
    left: int
    judged: int
    scored: int
    threshold: float | None
    asked: Sequence[Asked]


class Change(NamedTuple):
    """What a threshold would change: how many pictures, and the ids of some whose scores are nearest to it."""

    pictures: int
    some: Sequence[int]


@dataclass(frozen=True)
class Told:
    """What the verdicts tell of a tag.

    Attributes:
        verdicts, yes: those that the estimate learns from.
        judged: all verdicts.
        needed: how many are missing until there is an estimate.
        best: the estimate; None while verdicts are missing, or none is a yes.
        now: with the threshold in use.
        unscored: pictures without a score, one of each group of copies.
        looked: how many of those were judged, and `missed`: the share of them that has the tag.
        lose, gain: what the best threshold would change in the library.
    """

    key: str
    threshold: float | None
    verdicts: int
    yes: int
    judged: int
    needed: int
    best: Estimate | None
    now: Point | None
    unscored: int
    looked: int
    missed: Share
    lose: Change
    gain: Change


class Reviewed(NamedTuple):
    """A tag that people have judged; `best` None: not enough verdicts."""

    key: str
    name: str
    verdicts: int
    yes: int
    threshold: float | None
    best: Point | None


@dataclass(frozen=True)
class _Seen:
    """All pictures that are there, as one tag sees them: [N] each.

    Attributes:
        said: 1 yes, 0 no, -1 nothing.
        sampled: whether the verdict was given because of the score alone.
        chosen: of copies the one that is asked about.
        least: the step of the score from which the tag counts; 0: any.
    """

    key: str
    category: str
    ids: Ids
    scores: Steps
    said: npt.NDArray[np.int8]
    sampled: Mask
    chosen: Mask
    least: int

    @property
    def threshold(self) -> float | None:
        return _score(self.least) if self.least else None

    @property
    def scored(self) -> Mask:
        return self.chosen & (self.scores > 0)

    @property
    def learned(self) -> Mask:
        return self.chosen & self.sampled & (self.said >= 0)

    def of_scored(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], Mask]:
        """What an estimate takes."""
        rows = self.scored
        return self.scores[rows] / float(YES), self.said[rows], self.sampled[rows]

    def best(self) -> Point | None:
        """None while verdicts are missing, or none is a yes."""
        return best_point(*self.of_scored()) if np.count_nonzero(self.learned) >= LEAST else None

    def centre(self) -> int | None:
        """The step at which a model is least sure: the best threshold that is known, or the one in use."""
        best = self.best()
        return _step(best.threshold) if best else self.least or None


class Review:
    """The review of one library. Its methods may be called by any thread."""

    def __init__(self, database: Database, search: Search, verdicts: Verdicts, similar: Similar) -> None:
        self._database, self._search, self._verdicts, self._similar = database, search, verdicts, similar
        self._groups: tuple[Sequence[Sequence[int]], Groups] = ((), Groups.of(()))

    def queue(self, name: str, order: OrderName, *, offset: int, limit: int, language: str = "en") -> Queue:
        """Pictures that nobody has judged, from the place `offset` on; the same state gives the same ones.

        Raises NoSuchTag.
        """
        seen = self._see(name, language)
        if order == "suspicious":
            rows, doubts = self._suspicious(seen)
            why = np.zeros(len(rows), np.uint8)
        else:
            seed = seed_of(self._database.identity, seen.key)
            pool = np.flatnonzero(seen.chosen)
            placed = in_order(seen.ids[pool], seen.scores[pool], seen.centre(), seed)
            rows, why, doubts = pool[placed.rows], placed.why, np.full(len(placed.rows), -1.0)
        left = seen.said[rows] < 0
        rows, why, doubts = rows[left], why[left], doubts[left]
        number_left = len(rows)
        page = slice(offset, offset + limit)
        rows, why, doubts = rows[page], why[page], doubts[page].round(3)
        paths = self._paths(seen.ids[rows].tolist())
        asked = [
            Asked(media_id, paths[media_id], _score(step) if step else None, WHY[kind], doubt if doubt >= 0 else None)
            for media_id, step, kind, doubt in zip(
                seen.ids[rows].tolist(), seen.scores[rows].tolist(), why.tolist(), doubts.tolist(), strict=True
            )
            if media_id in paths  # it vanished just now
        ]
        return Queue(
            key=seen.key,
            name=self._search.vocabulary.shown(seen.key, language),
            category=seen.category,
            left=number_left,
            judged=int(np.count_nonzero(seen.said >= 0)),
            scored=int(np.count_nonzero(seen.scored)),
            threshold=seen.threshold,
            asked=asked,
        )

    def judge(self, name: str, said: Mapping[int, bool], order: OrderName, *, who: str) -> Judged:
        """Keep verdicts on pictures of a queue; those on pictures that were judged already are told and change nothing.

        Verdicts by the suspicious order are of pictures chosen by their neighbours, so no estimate learns from them.
        Raises NoSuchTag.
        """
        with self._search.index.fresh() as index:
            key = self._tag(index, name, "en").key
        return self._verdicts.judge(key, said, who=who, sampled=order == "uncertain")

    def told(self, name: str, language: str = "en") -> Told:
        """What the verdicts on a tag tell. Raises NoSuchTag."""
        seen = self._see(name, language)
        verdicts = int(np.count_nonzero(seen.learned))
        best = None
        if verdicts >= LEAST and seen.scored.any():
            best = estimate(*seen.of_scored(), seed=seed_of(self._database.identity, seen.key))
        now = None
        if best:
            now = [point for point in best.curve if _step(point.threshold) <= max(seen.least, 1)] or best.curve[:1]
        looked = seen.learned & (seen.scores == 0)
        looks, missed = int(np.count_nonzero(looked)), int(np.count_nonzero(looked & (seen.said == 1)))
        after = seen.least if best is None else 0 if best.lowest else _step(best.threshold)
        return Told(
            key=seen.key,
            threshold=seen.threshold,
            verdicts=verdicts,
            yes=int(np.count_nonzero(seen.learned & (seen.said == 1))),
            judged=int(np.count_nonzero(seen.said >= 0)),
            needed=max(0, LEAST - verdicts),
            best=best,
            now=now[-1] if now else None,
            unscored=int(np.count_nonzero(seen.chosen & (seen.scores == 0))),
            looked=looks,
            missed=wilson(missed / max(looks, 1), looks),
            lose=_between(seen, seen.least, after),
            gain=_between(seen, after, seen.least),
        )

    def use(self, name: str, threshold: float | None) -> float | None:
        """From now on a tag counts from this score on; None: whatever a model gave. Returns the threshold before.

        Verdicts stand whatever the threshold is. Raises NoSuchTag.
        """
        with self._search.index.fresh() as index:
            key = self._tag(index, name, "en").key
        with self._database.writing() as connection:
            own = tag.c.key == key
            before = connection.execute(select(tag.c.threshold).where(own)).scalar_one()
            if before != threshold:
                connection.execute(update(tag).where(own).values(threshold=threshold))
                touch(connection, tags=True)
        return None if before is None else float(before)

    def reviewed(self, limit: int, language: str = "en") -> list[Reviewed]:
        """The tags on which there are most verdicts."""
        number = func.count().label("number")
        rows = (
            select(tag.c.key, number, func.sum(verdict.c.yes).label("yes"))
            .join(verdict, verdict.c.tag_id == tag.c.id)
            .group_by(tag.c.id)
            .order_by(number.desc(), tag.c.key)
            .limit(limit)
        )
        with self._database.reading() as connection:
            found = connection.execute(rows).all()
        shown = self._search.vocabulary.shown
        reviewed = []
        for row in found:
            seen = self._see(row.key, language)
            name = shown(row.key, language)
            reviewed.append(Reviewed(row.key, name, row.number, int(row.yes), seen.threshold, seen.best()))
        return reviewed

    def _see(self, name: str, language: str) -> _Seen:
        copies = self._similar.copies()
        if copies is not self._groups[0]:  # the same list as long as nothing changed
            self._groups = copies, Groups.of(copies)
        groups = self._groups[1]
        with self._search.index.fresh() as index:
            one = self._tag(index, name, language)
            scores = np.zeros(len(index.ids), np.uint16)
            for rows, given in one.told.values():
                scores[rows] = np.maximum(scores[rows], given)
            there = index.present.copy()
            ids, scores, least = index.ids[there], scores[there], one.threshold
        said, sampled = np.full(len(ids), -1, np.int8), np.zeros(len(ids), np.bool_)
        with self._database.reading() as connection:
            judged = _judged(connection, one.id)
        if len(judged) and len(ids):
            at = np.minimum(np.searchsorted(ids, judged[:, 0]), len(ids) - 1)
            present = ids[at] == judged[:, 0]
            said[at[present]], sampled[at[present]] = judged[present, 1], judged[present, 2] != 0
        chosen = one_of_each(ids, scores, said >= 0, groups)
        return _Seen(one.key, one.category, ids, scores, said, sampled, chosen, least)

    def _tag(self, index: Index, name: str, language: str) -> Tag:
        """The library's tag that is called so."""
        if exact := index.by_key.get(name):
            return exact
        meanings = self._search.vocabulary.meanings(index, name, None, language)
        keys = sorted({key for meaning in meanings for key in meaning.keys if key in index.by_key})
        if len(keys) == 1:
            return index.by_key[keys[0]]
        if keys:
            raise NoSuchTag(f"{name[:100]} means several tags: name one of {', '.join(keys[:20])}")
        raise NoSuchTag(f"no picture has a tag {name[:100]}")

    def _suspicious(self, seen: _Seen) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Rows whose nearest neighbours lack the tag, those with most doubt first, and that doubt."""
        has = (seen.said == 1) | ((seen.said < 0) & (seen.scores > 0) & (seen.scores >= seen.least))
        rows = np.flatnonzero(seen.chosen & has & (seen.said < 0))
        rows = rows[np.argsort(seen.scores[rows], kind="stable")][:EXAMINED]
        doubts = np.zeros(len(rows))
        number = min(_NEIGHBOURS, max(1, int(np.count_nonzero(has)) - 1))
        for at, media_id in enumerate(seen.ids[rows].tolist()):
            around = np.array(self._similar.around(media_id, number), np.int64)
            near = np.minimum(np.searchsorted(seen.ids, around), len(seen.ids) - 1)
            near = near[seen.ids[near] == around]  # some may have vanished
            doubts[at] = np.count_nonzero(~has[near]) / len(near) if len(near) else 0.0
        doubted = doubts >= _DOUBTED
        rows, doubts = rows[doubted], doubts[doubted]
        order = np.argsort(-doubts, kind="stable")
        return rows[order], doubts[order]

    def _paths(self, media_ids: Sequence[int]) -> dict[int, str]:
        rows = select(media.c.id, media.c.path).where(media.c.id.in_(media_ids), media.c.present)
        with self._database.reading() as connection:
            return {row.id: row.path for row in connection.execute(rows)}


def _judged(connection: Connection, tag_id: int) -> npt.NDArray[np.int64]:
    """[M, 3] of media id, yes, sampled."""
    rows: Any = connection.execute(
        select(verdict.c.media_id, verdict.c.yes, edit.c.sampled)
        .join(edit, edit.c.id == verdict.c.edit_id)
        .where(verdict.c.tag_id == tag_id)
    ).all()
    return np.array([tuple(row) for row in rows], np.int64).reshape(-1, 3)


def _between(seen: _Seen, low: int, high: int) -> Change:
    """Pictures that nobody judged, with scores from the step `low` to below `high`."""
    rows = np.flatnonzero((seen.said < 0) & (seen.scores > 0) & (seen.scores >= low) & (seen.scores < high))
    rows = rows[np.argsort(-seen.scores[rows].astype(np.int64), kind="stable")]
    return Change(len(rows), seen.ids[rows[:_SHOWN]].tolist())


def _score(step: int) -> float:
    return round(step / int(YES), 4)


def _step(score: float) -> int:
    return round(score * int(YES))
