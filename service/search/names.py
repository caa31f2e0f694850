"""What the names in a query mean: the keys of tags. A dictionary knows more of them than the library's own keys."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from service.search.index import Index, Tag

MAX_NEAR = 5
"""Names that are offered for one that is not known."""


class Meaning(NamedTuple):
    """One thing that a name may mean.

    Attributes:
        concept: its English key.
        name: what it is called in the language that was asked for.
        via: the name by which it was found.
        how: why it was found by that: `key`, `name`, ...
        keys: of tags that are this very thing, former ones too.
        narrower: keys of tags that imply it.
    """

    concept: str
    name: str
    via: str
    how: str
    keys: frozenset[str]
    narrower: frozenset[str] = frozenset()


class Group(NamedTuple):
    """A group of tags for browsing; `keys`: of all tags in it and in the groups within it."""

    path: str
    name: str
    keys: frozenset[str]


class Names(Protocol):
    """Knows what names mean."""

    def meanings(self, index: Index, text: str, category: str | None, language: str) -> Sequence[Meaning]:
        """All that the name means, best first; a name that is ambiguous means several things.

        `category`: only of this one, as `query.CATEGORIES` has them, or `rating`.
        """
        ...

    def near(self, index: Index, text: str, language: str) -> Sequence[str]:
        """Names that were perhaps meant by one that means nothing."""
        ...

    def suggest(self, index: Index, text: str, language: str, limit: int) -> Sequence[Meaning]:
        """What begins with the text or holds it, best first; only what some picture has."""
        ...

    def groups(self, index: Index, language: str) -> Sequence[Group]:
        """The tree for browsing, each group behind the one that it lies in; none where nothing is known."""
        ...

    def shown(self, key: str, language: str) -> str:
        """What a tag is called in a language; its key where nothing is known."""
        ...


class Keys:
    """The library's own keys, without a dictionary. Blanks and underscores are the same, and so is the case."""

    def meanings(self, index: Index, text: str, category: str | None, language: str) -> Sequence[Meaning]:
        exact = index.by_key.get(text)
        wanted = folded(text)
        tags = [exact] if exact else [one for one in index.tags.values() if wanted and folded(one.key) == wanted]
        if category == "rating":
            tags = [one for key in (f"rating:{text}", text) if (one := index.by_key.get(key))]
        elif category:
            tags = [one for one in tags if one.category.lower() == category]
        return [_meaning(one, "key") for one in tags]

    def near(self, index: Index, text: str, language: str) -> Sequence[str]:
        return [one.concept for one in self.suggest(index, text, language, MAX_NEAR)]

    def suggest(self, index: Index, text: str, language: str, limit: int) -> Sequence[Meaning]:
        wanted = folded(text)
        if not wanted:
            return []
        inside = [one for one in index.tags.values() if one.size and wanted in folded(one.key)]
        inside.sort(key=lambda one: (not folded(one.key).startswith(wanted), -one.size, one.key))
        return [_meaning(one, "part") for one in inside[:limit]]

    def groups(self, index: Index, language: str) -> Sequence[Group]:
        return []

    def shown(self, key: str, language: str) -> str:
        return key


def _meaning(one: Tag, how: str) -> Meaning:
    return Meaning(one.key, one.key, one.key, how, frozenset({one.key}))


def folded(text: str) -> str:
    """The text without what makes no difference between keys: case, blanks, underscores, hyphens."""
    return unicodedata.normalize("NFKC", text).casefold().replace("_", "").replace(" ", "").replace("-", "")
