"""A query and an index -> the rows that match, and how well."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from service.search.index import Best, Index, Mask, Tag, Wanted, keyed
from service.search.names import Meaning, Names
from service.search.query import (
    All,
    Any_,
    Code,
    Everything,
    Ids,
    Mistake,
    Name,
    Not,
    Order,
    Pattern,
    Query,
    Rating,
    Score,
    Similar,
    Source,
    Tree,
    Untagged,
    names,
)

Neighbours = Callable[[int], Mapping[int, float] | None]
"""The pictures that look like one, by their id, with how much in 0..1; empty where that one has no vector.

None where the library keeps no vectors.
"""
NO_VECTORS = "no vectors are kept for this library: an `engine run` of it with a model that gives them keeps them"


@dataclass(frozen=True)
class Resolved:
    """A name of the query, and what it means; `near` was perhaps meant where it means nothing."""

    name: Name
    meanings: Sequence[Meaning]
    near: Sequence[str] = ()


@dataclass
class Answer:
    """Which pictures were found, before one page of them is looked at.

    Attributes:
        mask: the rows.
        score: [pictures], of the names that were asked for, summed; 0 where there are none.
        resolved: what the names meant, in their order.
        mistakes: of the query, those that only the meaning shows too.
    """

    text: str
    query: Query
    mask: Mask
    score: npt.NDArray[np.int64]
    resolved: list[Resolved] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, of: str, code: Code, reason: str) -> None:
        """Add one, about a word of the query."""
        at = self.text.lower().find(of.lower())
        self.mistakes.append(Mistake(max(at, 0), len(of) if at >= 0 else max(1, len(self.text)), reason, code))

    @property
    def order(self) -> Order:
        """As asked for, else the best match first, and the first picture first where nothing tells a better one."""
        return self.query.order or "best"


class Evaluation:
    """Turns a tree into the rows that match, and adds up the scores of the names that are asked for."""

    def __init__(self, index: Index, answer: Answer, vocabulary: Names, language: str, neighbours: Neighbours) -> None:
        self._index, self._answer, self._vocabulary = index, answer, vocabulary
        self._language, self._neighbours = language, neighbours
        self._meanings = {one.name: one.meanings for one in answer.resolved}

    def mask(self, tree: Tree, wanted: Wanted, *, positive: bool) -> Mask:
        index = self._index
        match tree:
            case All(parts):
                return self._all(parts, wanted, positive)
            case Any_(parts):
                return _any([self.mask(part, wanted, positive=positive) for part in parts])
            case Not(part):
                return ~self.mask(part, wanted, positive=not positive)
            case Name():
                return self._scored(self._name(self._meanings[tree], wanted), positive)
            case Pattern(text, category):
                return self._scored(index.best(self._matching(text, category), wanted), positive)
            case Rating(texts):
                return self._rating(texts, wanted)
            case Source() | Score():
                return index.tagged(self._narrowed(wanted, tree))
            case _:
                return self._not_by_tags(tree)

    def _not_by_tags(self, tree: Everything | Untagged | Ids | Similar) -> Mask:
        ids = self._index.ids
        match tree:
            case Everything():
                return np.ones(len(ids), np.bool_)
            case Untagged(untagged):
                return ~self._index.tagged() if untagged else self._index.tagged()
            case Ids(low, high):
                return (ids >= low) & (ids <= high)
            case Similar(media_id):
                return self._similar(media_id)

    def _all(self, parts: Sequence[Tree], wanted: Wanted, positive: bool) -> Mask:
        """Sources and scores restrict the names beside them; without a name beside them they stand for themselves."""
        conditions = [part for part in parts if isinstance(part, Source | Score)]
        others = [part for part in parts if not isinstance(part, Source | Score)]
        for condition in conditions:
            wanted = self._narrowed(wanted, condition)
        masks = [self.mask(part, wanted, positive=positive) for part in others]
        if conditions and not any(True for part in others for _ in names(part)):
            masks.append(self._index.tagged(wanted))
        return _all(masks)

    def _name(self, meanings: Sequence[Meaning], wanted: Wanted) -> Best:
        """A name that means several things means any of them."""
        index = self._index
        best = np.zeros(len(index.ids), np.uint16)
        for meaning in meanings:
            own = keyed(index.by_key, meaning.keys)
            one = index.best([*own, *keyed(index.by_key, meaning.narrower)], wanted)
            # A person's no beats an implication; a person's yes beats all.
            for key in own:
                one[key.no] = 0
            if wanted.source in (None, "human"):
                for key in own:
                    one[key.yes] = index.best([key], wanted)[key.yes]
            np.maximum(best, one, out=best)
        return best

    def _scored(self, best: Best, positive: bool) -> Mask:
        if positive:
            self._answer.score += best
        return best > 0

    def _matching(self, text: str, category: str | None) -> list[Tag]:
        pattern = re.compile(".*".join(re.escape(part) for part in text.split("*")), re.IGNORECASE | re.DOTALL)
        tags = self._index.matching(pattern)
        return [one for one in tags if category is None or one.category.lower() == category]

    def _rating(self, texts: Sequence[str], wanted: Wanted) -> Mask:
        masks = []
        for text in texts:
            if text.strip("*") != text:  # rating:* is any of them
                masks.append(self._index.best(self._matching(f"rating:{text}", None), wanted) > 0)
                continue
            meanings = self._vocabulary.meanings(self._index, text, "rating", self._language)
            if not meanings:
                self._answer.mistake(text, "rating unknown", f"no rating is called {text[:100]}")
            masks.append(self._name(meanings, wanted) > 0)
        return _any(masks)

    def _similar(self, media_id: int) -> Mask:
        mask = np.zeros(len(self._index.ids), np.bool_)
        neighbours = self._neighbours(media_id)
        if neighbours is None:
            self._answer.mistake(f"similar:{media_id}", "no vectors", NO_VECTORS)
            return mask
        if not neighbours:
            sentence = f"nothing like picture {media_id} is known: it has no vector yet, or no other picture is like it"
            self._answer.mistake(f"similar:{media_id}", "nothing similar", sentence)
        for one, likeness in neighbours.items():
            if (row := self._index.row(one)) is not None:
                mask[row] = True
                self._answer.score[row] += round(likeness * 65_535)
        return mask

    def _narrowed(self, wanted: Wanted, condition: Source | Score) -> Wanted:
        if isinstance(condition, Source):
            if condition.text not in ("human", "model") and condition.text not in self._index.models:
                sentence = f"no model is called {condition.text[:100]}: there is human, model, or a model's name"
                self._answer.mistake(condition.text, "model unknown", sentence)
            return wanted._replace(source=condition.text)
        half = 0.5 / 65_535  # of a step, for a score is kept in steps
        low = condition.low + (half if condition.sign == ">" else -half)
        high = condition.high + (-half if condition.sign == "<" else half)
        return wanted._replace(low=max(wanted.low, low), high=min(wanted.high, high))


def _all(masks: Sequence[Mask]) -> Mask:
    together = masks[0].copy()
    for mask in masks[1:]:
        together &= mask
    return together


def _any(masks: Sequence[Mask]) -> Mask:
    together = masks[0].copy()
    for mask in masks[1:]:
        together |= mask
    return together
