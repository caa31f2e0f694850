"""What names in a search mean, by the dictionary: it knows names in many languages, the library knows its tags.

A tag of the library that the dictionary does not know is found by its own key. If it is a character's and names a
series in brackets, it belongs to that series all the same, and it is the same character as one that another key of that
series names so: `shimakaze_(kantai_collection)` is `shimakaze_(kancolle)`.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from service.dictionary import Answer, Dictionary, DictionaryError
from service.dictionary.derive import series_of
from service.search.index import Index, keyed
from service.search.names import MAX_NEAR, Group, Keys, Meaning

CATEGORIES = {"series": "copyright"}
"""Of a query's prefixes those that the dictionary calls otherwise."""
_SHOWN = 50_000  # names that are remembered


@dataclass
class _Known:
    """What follows from one state of the dictionary and one set of tags.

    Attributes:
        state: the dictionary's revision, and how many tags the library had.
        own: of a concept, keys that the dictionary does not know but that are this very thing.
        narrower: of a series, keys of its characters that the dictionary does not know.
        shown: by (key, language), what a tag is called.
        groups: by path, the keys of the library's tags in a group; None: not asked yet.
    """

    state: tuple[int, int]
    own: Mapping[str, frozenset[str]] = field(default_factory=dict)
    narrower: Mapping[str, frozenset[str]] = field(default_factory=dict)
    shown: dict[tuple[str, str], str] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str]] | None = None


class DictionaryNames:
    """Answers a search's questions by a dictionary; see `search.names.Names`."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self._keys = Keys()
        self._lock = threading.Lock()
        self._known = _Known((-1, -1))

    def meanings(self, index: Index, text: str, category: str | None, language: str) -> Sequence[Meaning]:
        known = self._now(index)
        found = []
        for one in self._ask(text, language).found:
            concept = self.dictionary.concept(one.concept)
            if category and concept.category != CATEGORIES.get(category, category):
                continue
            own = {*self.dictionary.keys_of(one.concept, narrower=False), *known.own.get(one.concept, ())}
            every = {*self.dictionary.keys_of(one.concept), *known.narrower.get(one.concept, ())}
            for key in tuple(every):
                every |= known.own.get(key, frozenset())
            meaning = Meaning(one.concept, one.name, one.via, one.how, frozenset(own), frozenset(every - own))
            found.append(meaning)
        return found or self._keys.meanings(index, text, category, language)

    def near(self, index: Index, text: str, language: str) -> Sequence[str]:
        near = [one.name for one in self._ask(text, language).near]
        return (near or list(self._keys.near(index, text, language)))[:MAX_NEAR]

    def suggest(self, index: Index, text: str, language: str, limit: int) -> Sequence[Meaning]:
        known = self._now(index)

        def pictures(concept: str) -> int:
            tags = keyed(index.by_key, {*self.dictionary.keys_of(concept), *known.narrower.get(concept, ())})
            return sum(one.size for one in tags)

        try:
            answer = self.dictionary.suggest(text, language, 3 * limit, pictures)
        except DictionaryError:  # longer than any name
            return []
        meanings = []
        for one in answer.found or answer.near:
            own = {*self.dictionary.keys_of(one.concept, narrower=False), *known.own.get(one.concept, ())}
            every = {*self.dictionary.keys_of(one.concept), *known.narrower.get(one.concept, ())}
            if keyed(index.by_key, every | own):
                meanings.append(
                    Meaning(one.concept, one.name, one.via, one.how, frozenset(own), frozenset(every - own))
                )
        told = {key for one in meanings for key in one.keys}
        meanings += [m for m in self._keys.suggest(index, text, language, limit) if m.concept not in told]
        return meanings[:limit]

    def groups(self, index: Index, language: str) -> Sequence[Group]:
        known = self._now(index)
        if known.groups is None:
            known.groups = {one.path: self._keys_in(one.path, index) for one in self.dictionary.groups()}
        return [
            Group(one.path, _named(one.names, language) or one.path, known.groups[one.path])
            for one in self.dictionary.groups()
        ]

    def _keys_in(self, path: str, index: Index) -> frozenset[str]:
        keys: set[str] = set()
        after = ""
        while some := self.dictionary.concepts(after, 1_000, path):
            after = some[-1].key
            for concept in some:
                keys.update(key for key in self.dictionary.keys_of(concept.key, narrower=False) if key in index.by_key)
        return frozenset(keys)

    def shown(self, key: str, language: str) -> str:
        names = self._known.shown
        name = names.get((key, language))
        if name is None:
            if len(names) > _SHOWN:
                names.clear()
            name = names[key, language] = self.dictionary.name(key, language)
        return name

    def _ask(self, text: str, language: str) -> Answer:
        try:
            return self.dictionary.resolve(text, language)
        except DictionaryError:  # longer than any name, or no language
            return Answer(text, ())

    def _now(self, index: Index) -> _Known:
        state = (self.dictionary.revision(), len(index.tags))
        with self._lock:
            if self._known.state != state:
                own, narrower = self._derived(index.by_key)
                self._known = _Known(state, own, narrower)
            return self._known

    def _derived(self, keys: Iterable[str]) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
        """`_Known.own` and `narrower`."""
        concepts = self.dictionary.concept_keys()
        series_by_name: dict[str, str | None] = {}

        def parts(key: str) -> tuple[str, str] | None:
            """A character's name and its series."""
            numbers: list[str] = []

            def number(qualifier: str) -> int | None:
                if qualifier not in series_by_name:
                    series_by_name[qualifier] = self._series(qualifier)
                found = series_by_name[qualifier]
                if found is None:
                    return None
                numbers.append(found)
                return len(numbers) - 1

            found = series_of(key, number)
            return None if found is None else (found[0], numbers[found[1]])

        unknown = [(key, of) for key in keys if key not in concepts and (of := parts(key))]
        if not unknown:
            return {}, {}
        same = {of: named[0] for key, named in concepts.items() if (of := parts(key))}
        own: dict[str, set[str]] = defaultdict(set)
        narrower: dict[str, set[str]] = defaultdict(set)
        for key, of in unknown:
            narrower[of[1]].add(key)
            if concept := same.get(of):
                own[concept].add(key)
        frozen = [{concept: frozenset(found) for concept, found in one.items()} for one in (own, narrower)]
        return frozen[0], frozen[1]

    def _series(self, qualifier: str) -> str | None:
        """The series that has this name, if it is one alone."""
        found = [
            one.concept
            for one in self._ask(qualifier, "").found
            if one.how in ("key", "name") and self.dictionary.concept(one.concept).category == "copyright"
        ]
        return found[0] if len(found) == 1 else None


def _named(names: Mapping[str, str], language: str) -> str:
    """A group's name in a language, or the English one. `zh` is Simplified Chinese."""
    if language.lower().startswith("zh"):
        language = "zh-Hans"
    return names.get(language) or names.get(language.partition("-")[0]) or names.get("en", "")
