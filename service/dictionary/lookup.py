"""Finding concepts by what people type; each answer says by which name, and how.

The order of answers: the very key or name, the beginning of one, a word in the middle, romaji and pinyin, the initials
of pinyin, and one typo only where nothing else was found. Within these: by the weight that a person set, by the
pictures that have it, by how often it is used in the world. Hidden concepts are not suggested.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.dictionary.concepts import KEYS, LONGEST_NAME, Answer, Found, clean_language, shown
from service.dictionary.database import Database
from service.dictionary.errors import DictionaryError
from service.dictionary.fold import alike, fold, is_han, is_kana, words
from service.dictionary.readings import Sound, romaji, typed
from service.dictionary.terms import Numbers, Rows, Terms, read

Pictures = Callable[[str], int]
"""How many pictures of a library have a concept, by its key."""
_MOST_FOUND = 100
_NEAR = 5
_RANKED = 300
"""Concepts of one tier, the best by weight and use, whose pictures are counted."""
_SOUNDS = {Sound.ROMAJI: 0, Sound.PINYIN: 1, Sound.INITIALS: 2}


@dataclass(frozen=True)
class _Hits:
    """What one tier found: rows of names by their numbers, and how. Concepts are places in the index's arrays."""

    names: Numbers
    concepts: Numbers
    how: str


class Index:
    """All names in memory, as they were at one moment of the file; never changed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        concepts = connection.execute(
            "SELECT c.id, c.hidden, c.count, coalesce(w.value, 1.0) FROM concept c "
            "LEFT JOIN weight w ON w.concept = c.id AND w.kind = 'rank' ORDER BY c.id"
        )
        table: NDArray[np.float64] = np.fromiter(concepts, dtype=np.dtype((np.float64, 4)))
        self.ids: Numbers = table[:, 0].astype(np.int64)
        self.hidden = table[:, 1] > 0
        self.ranks = table[:, 3]
        order = np.lexsort((self.ids, -table[:, 2], -self.ranks))
        self.order = np.empty(len(order), np.int64)
        self.order[order] = np.arange(len(order))
        self.names, self.words = read(
            connection.execute("SELECT folded, words, id, concept FROM name ORDER BY folded"), texts=2
        )
        (sounds,) = read(
            connection.execute(
                "SELECT text, name, CASE kind WHEN 'romaji' THEN 0 WHEN 'pinyin' THEN 1 ELSE 2 END FROM reading "
                "ORDER BY text"
            ),
            texts=1,
        )
        by_name = np.argsort(self.names.numbers[:, 0])  # joined here, which is faster than in the file
        places = np.searchsorted(self.names.numbers[:, 0], sounds.numbers[:, 0], sorter=by_name)
        concepts_of = self.names.numbers[by_name[places], 1]
        self.sounds = Terms(sounds.blob, np.stack((sounds.numbers[:, 0], concepts_of, sounds.numbers[:, 1]), axis=1))

    def hits(self, terms: Terms, rows: Rows, how: str, sound: Sound | None = None) -> _Hits:
        """What these rows name."""
        numbers = terms.numbers[rows]
        if sound is not None:
            numbers = numbers[numbers[:, 2] == _SOUNDS[sound]]
        return _Hits(numbers[:, 0], np.searchsorted(self.ids, numbers[:, 1]), how)


class Lookup:
    """Answers from the index, which is made anew when the dictionary has changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._current: tuple[int, Index] | None = None

    def index(self) -> Index:
        """The index of the dictionary as it is now."""
        connection = self._database.reading()
        (version,) = connection.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()
        current = self._current
        if current is None or current[0] != version:
            with self._lock:
                if self._current is None or self._current[0] != version:
                    self._current = (version, _read(connection))
                current = self._current
        return current[1]

    def resolve(self, text: str, lang: str = "") -> Answer:
        """The concepts that have this name, all of them where it is ambiguous.

        Raises:
            DictionaryError: the text is too long to be a name.
        """
        _check(text)
        asked = _Asked(self._database.reading(), self.index(), text, clean_language(lang))
        found = asked.answer(asked.exact, _MOST_FOUND)
        if found:
            return Answer(text, tuple(found))
        return Answer(text, (), tuple(asked.answer(asked.near, _NEAR)))

    def suggest(self, prefix: str, lang: str = "", limit: int = 10, pictures: Pictures | None = None) -> Answer:
        """What somebody who has typed this much may mean, the likeliest first; `near` where nothing but typos fits.

        Raises:
            DictionaryError: the text is too long to be a name.
        """
        _check(prefix)
        asked = _Asked(self._database.reading(), self.index(), prefix, clean_language(lang), pictures, hide=True)
        found = asked.answer(asked.suggestions, limit)
        if found:
            return Answer(prefix, tuple(found))
        return Answer(prefix, (), tuple(asked.answer(asked.typos, min(limit, _NEAR))))


class _Asked:
    """One question."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        index: Index,
        text: str,
        lang: str,
        pictures: Pictures | None = None,
        hide: bool = False,
    ) -> None:
        self._connection = connection
        self._index = index
        self._alike = alike(text)
        self._folded = fold(text)
        self._lang = lang
        self._pictures = pictures
        self._hide = hide

    def answer(self, tiers: Callable[[], Iterator[_Hits]], limit: int) -> list[Found]:
        """The best of the tiers, each concept once, until there are enough."""
        answers: list[Found] = []
        seen: set[int] = set()
        for hits in tiers():
            for concept, key in self._ranked(hits, seen, limit - len(answers)):
                seen.add(concept)
                via, how = self._best_name(hits, concept)
                answers.append(
                    Found(key, display(self._connection, int(self._index.ids[concept]), self._lang), via, how)
                )
            if len(answers) >= limit:
                break
        return answers

    def exact(self) -> Iterator[_Hits]:
        """The first way in which anything has this very name."""
        index = self._index
        tiers = [*self._same()]
        if self._folded:
            tiers += self._sounding(index.sounds.exact, index.names.exact)
            tiers.append(index.hits(index.sounds, index.sounds.exact(typed(self._folded)), "initials", Sound.INITIALS))
        yield from [hits for hits in tiers if len(hits.names)][:1]

    def suggestions(self) -> Iterator[_Hits]:
        """All tiers but typos."""
        index = self._index
        yield from self._same()
        if not self._folded:
            return
        yield from self._beginning_and_within()
        if len(self._folded) > 1:
            rows = index.sounds.beginning(typed(self._folded))
            yield index.hits(index.sounds, rows, "initials", Sound.INITIALS)

    def near(self) -> Iterator[_Hits]:
        """What somebody may have meant whose text is no name."""
        if len(self._folded) < 2:
            return
        any_hits = False
        for hits in self._beginning_and_within():
            any_hits = any_hits or len(hits.names) > 0
            yield hits
        if not any_hits:
            yield from self.typos()

    def typos(self) -> Iterator[_Hits]:
        """Names that differ by one letter: left out, put in, another one, or two that changed places."""
        from rapidfuzz.distance import OSA

        text, names = self._folded, self._index.names
        size = len(text)
        if size < (4 if text.isascii() else 3) or size > LONGEST_NAME:
            return
        # One slip leaves the first half as it is, or what follows the letter after it.
        rows = np.union1d(names.beginning(text[: size // 2]), names.ending(text[size // 2 + 1 :]))
        lengths, length = names.lengths(rows), len(text.encode("utf-8"))
        rows = rows[np.abs(lengths - length) <= (1 if text.isascii() else 4)]
        close = [row for row in rows if OSA.distance(text, names.text(int(row)), score_cutoff=1) == 1]
        yield self._index.hits(names, np.array(close, dtype=np.intp), "typo")

    def _same(self) -> Iterator[_Hits]:
        index = self._index
        rows = index.names.exact(self._folded)
        numbers = index.names.numbers[rows, 0]
        texts = [self._name(int(number))[0] for number in numbers]
        with_signs = np.array([alike(text) == self._alike for text in texts], dtype=bool)
        if with_signs.any():
            yield index.hits(index.names, rows[with_signs], "name")
        elif self._folded:
            yield index.hits(index.names, rows, "name")

    def _beginning_and_within(self) -> Iterator[_Hits]:
        index = self._index
        yield index.hits(index.names, index.names.beginning(self._folded), "prefix")
        if any(is_han(c) or is_kana(c) for c in self._folded):
            yield index.hits(index.names, index.names.holding(self._folded), "word")
        else:
            spaced = words(f"x {self._alike}").removeprefix(" x")
            yield index.hits(index.words, index.words.holding(spaced), "word")
        yield from self._sounding(index.sounds.beginning, index.names.beginning)

    def _sounding(self, in_sounds: Callable[[str], Rows], in_names: Callable[[str], Rows]) -> Iterator[_Hits]:
        index, folded = self._index, typed(self._folded)
        if len(folded) < 2:
            return
        if all(is_kana(c) for c in folded):  # kana for a name that is written in Latin letters
            yield index.hits(index.names, in_names(romaji(folded)), "romaji")
            return
        rows = in_sounds(folded)
        yield index.hits(index.sounds, rows, "romaji", Sound.ROMAJI)
        yield index.hits(index.sounds, rows, "pinyin", Sound.PINYIN)

    def _ranked(self, hits: _Hits, seen: set[int], limit: int) -> list[tuple[int, str]]:
        """The best concepts of a tier that were not seen, with their keys."""
        index = self._index
        concepts = np.unique(hits.concepts)
        if self._hide:
            concepts = concepts[~index.hidden[concepts]]
        if seen:
            concepts = concepts[~np.isin(concepts, list(seen))]
        most = _RANKED if self._pictures else limit
        if len(concepts) > most:
            concepts = concepts[np.argpartition(index.order[concepts], most)[:most]]
        keyed = [
            (
                int(c),
                str(
                    self._connection.execute("SELECT key FROM concept WHERE id = ?", (int(index.ids[c]),)).fetchone()[0]
                ),
            )
            for c in concepts
        ]
        pictures = {c: self._pictures(key) for c, key in keyed} if self._pictures else {}
        keyed.sort(key=lambda one: (-index.ranks[one[0]], -pictures.get(one[0], 0), index.order[one[0]]))
        return keyed[:limit]

    def _best_name(self, hits: _Hits, concept: int) -> tuple[str, str]:
        """Of the concept's names that were found the one to tell, and how: a key is told from a name."""
        numbers = hits.names[hits.concepts == concept][:50]
        named = [self._name(int(number)) for number in numbers]
        text, _, kind = min(
            named,
            key=lambda name: (
                alike(name[0]) != self._alike,
                name[1] != self._lang,
                name[2] not in KEYS,
                len(name[0]),
                name[0],
            ),
        )
        return text, "key" if hits.how == "name" and kind in KEYS else hits.how

    def _name(self, number: int) -> tuple[str, str, str]:
        row = self._connection.execute("SELECT text, lang, kind FROM name WHERE id = ?", (number,)).fetchone()
        return row or ("", "", "")


def display(connection: sqlite3.Connection, concept: int, lang: str) -> str:
    """The name to show in a language: its own, another name in it, the English one, the key."""
    rows = connection.execute(
        "SELECT lang, kind, text FROM name WHERE concept = ? AND kind IN ('display', 'synonym', 'key') "
        "ORDER BY kind, weight DESC, id",
        (concept,),
    ).fetchall()
    for wanted in _fallbacks(lang):
        for of, _, text in rows:  # 'display' stands before 'synonym'
            if of == wanted:
                return str(text)
    return next((str(text) for _, kind, text in rows if kind == "key"), "")


def _fallbacks(lang: str) -> list[str]:
    chain = [lang] if lang else []
    if lang.startswith("zh"):
        chain += [other for other in ("zh-Hans", "zh-Hant") if other != lang]
    elif "-" in lang:
        chain.append(lang.partition("-")[0])
    return [*chain, "en"] if "en" not in chain else chain


def _read(connection: sqlite3.Connection) -> Index:
    """The index as of one moment."""
    if connection.in_transaction:
        return Index(connection)
    connection.execute("BEGIN")
    try:
        return Index(connection)
    finally:
        connection.execute("COMMIT")


def _check(text: str) -> None:
    if len(text) > LONGEST_NAME:
        raise DictionaryError(
            f"{shown(text)} has {len(text):,} characters, no name is longer than {LONGEST_NAME}: give less of it"
        )
