"""Laying rows into the dictionary: what is new is added, what a person decided stays, and a report says all of it."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.dictionary import edit
from service.dictionary.changes import Change
from service.dictionary.closure import edges, path_between
from service.dictionary.concepts import CATEGORIES, KEYS, MOST_NAMES, WEIGHTS, Kind, Name, clean, clean_key, shown
from service.dictionary.derive import series_of
from service.dictionary.errors import DictionaryError
from service.dictionary.fold import alike
from service.dictionary.imports.rows import GroupRow, Row

_EXAMPLES = 10
"""Lines of a report for each kind; the counts are whole."""


@dataclass
class Report:
    """What an import did, or with a dry run would do.

    Attributes:
        counts: by new, changed, unchanged, conflicting, ambiguous, skipped.
        lines: the first of each kind, with place and reason.
        entry: its number in the journal, None if nothing changed.
    """

    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    entry: int | None = None

    def tell(self, kind: str, line: str) -> None:
        self.counts[kind] += 1
        if len(self.lines[kind]) < _EXAMPLES:
            self.lines[kind].append(line)


class Import:
    """One import into an open change.

    `exact`: the rows are the dictionary's own form: names stay as they are, and nothing is derived.
    """

    def __init__(self, change: Change, source: str, exact: bool = False) -> None:
        self.report = Report()
        self._change = change
        self._source = source
        self._exact = exact
        self._keys: dict[str, int] = {}
        self._former: dict[str, set[int]] = defaultdict(set)
        self._categories: dict[int, str] = {}
        self._series: dict[str, set[int]] = defaultdict(set)
        self._bases: dict[tuple[str, int], int] = {}
        self._broader = edges(change.connection)
        self._pins = set(change.connection.execute("SELECT concept, what FROM pin"))
        self._in_file: set[str] = set()
        self._read()

    def apply(self, rows: Iterable[Row | GroupRow]) -> Report:
        """Lay all rows into the dictionary. Raises DictionaryError, and then the change must be given up."""
        tags: list[Row] = []
        for row in rows:
            if isinstance(row, GroupRow):
                self._group(row)
            else:
                tags.append(row)
        self._in_file = {row.key for row in tags if row.creates}
        tags.sort(key=lambda row: row.category == "character" and not self._exact)  # by then their series are known
        placed = [(row, self._place(row)) for row in tags]
        for row, (concept, became) in placed:
            if concept is None:
                continue
            before = len(self._change.log)
            if concept in self._categories:
                self._relate(row, concept)
            related = became == "unchanged" and len(self._change.log) > before
            self.report.counts["changed" if related else became] += 1
        if not self._exact:
            self._derive()
        return self.report

    def _read(self) -> None:
        connection = self._change.connection
        for concept, key, category in connection.execute("SELECT id, key, category FROM concept"):
            self._know(concept, key, category)
        for concept, text in connection.execute(
            "SELECT concept, text FROM name WHERE kind IN ('former key', 'community key')"
        ):
            self._former[text].add(concept)
        for concept, text in connection.execute(
            "SELECT n.concept, n.text FROM name n JOIN concept c ON c.id = n.concept WHERE c.category = 'copyright'"
        ):
            self._series[alike(text)].add(concept)
        for text, concept in connection.execute("SELECT text, concept FROM qualifier"):
            self._series[text] = {concept}
        for text, concept in self._character_keys():
            if (found := series_of(text, self._series_named)) is not None:
                self._bases.setdefault(found, concept)

    def _know(self, concept: int, key: str, category: str) -> None:
        self._keys[key] = concept
        self._categories[concept] = category

    def _character_keys(self) -> list[tuple[str, int]]:
        keys = [(key, concept) for key, concept in self._keys.items()]
        keys += [(key, concept) for key, concepts in self._former.items() for concept in concepts]
        return [(key, concept) for key, concept in keys if self._categories.get(concept) == "character"]

    def _series_named(self, qualifier: str) -> int | None:
        found = self._series.get(alike(qualifier), set())
        if len(found) == 1:
            return next(iter(found))
        own = self._keys.get(qualifier)
        return own if own in found else None

    def _group(self, row: GroupRow) -> None:
        before = len(self._change.log)
        known = self._change.get("browse", (row.path,))
        names = json.loads(known[0]) if known else {}
        try:
            edit.add_group(self._change, row.path, row.names | names)
        except DictionaryError as error:
            self.report.tell("skipped", f"{row.place}: {error}")
            return
        if len(self._change.log) > before:
            self.report.tell("changed" if known else "new", f"{row.place}: the group {row.path}")

    def _place(self, row: Row) -> tuple[int | None, str]:
        """The concept of a row, made if need be, with the row's names, and what it became; None if it is skipped."""
        before = len(self._change.log)
        try:
            key = clean_key(row.key)
            _check_category(row.category)
        except DictionaryError as error:
            self.report.tell("skipped", f"{row.place}: {error}")
            return None, "skipped"
        concept, ambiguous = self._find(key, row.category)
        if concept is None and not row.creates:  # the tag's new key, where only the old one is known
            concept = next((found for old in row.keys if (found := self._find(old, row.category)[0])), None)
        if ambiguous:
            self.report.tell("ambiguous", f"{row.place}: {key} is a former key of several tags")
            return None, "skipped"
        if concept is None and not row.creates:
            self.report.tell("skipped", f"{row.place}: there is no tag {shown(key)}")
            return None, "skipped"
        made = concept is None
        if concept is None:
            concept = self._make(key, row)
        else:
            self._renew(row, key, concept)
        self._names(row, concept)
        if made:
            return concept, "new"
        return concept, "changed" if len(self._change.log) > before else "unchanged"

    def _names(self, row: Row, concept: int) -> None:
        for name in row.names:
            self._name(row, concept, name)
        for former in row.keys:
            kind = Kind.ABBREVIATION if former.startswith("/") else Kind.FORMER_KEY
            self._name(row, concept, Name(former, "", kind, self._source))
        for qualifier in row.qualifiers:
            self._qualify(row, concept, qualifier)

    def _find(self, key: str, category: str | None) -> tuple[int | None, bool]:
        """The concept that has this key, and whether there are several."""
        if (concept := self._keys.get(key)) is not None:
            return concept, False
        if self._exact:
            return None, False
        if former := self._former.get(key):
            return (next(iter(former)), False) if len(former) == 1 else (None, True)
        if category in ("character", None) and (found := series_of(key, self._series_named)):
            return self._bases.get(found), False
        return None, False

    def _make(self, key: str, row: Row) -> int:
        category = row.category or ""
        concept = self._change.add("concept", (key, category, row.count or 0, int(row.hidden or False)))
        source = next((name.source for name in row.names if name.kind == Kind.KEY), self._source)
        self._change.add("name", (concept, key, "", str(Kind.KEY), source, 1.0))
        self._know(concept, key, category)
        self._learn_series(concept, key)
        if category == "character" and (found := series_of(key, self._series_named)):
            self._bases.setdefault(found, concept)
        for kind, value in row.weights.items():
            if kind in WEIGHTS:
                self._change.insert("weight", (concept, kind), (float(value),))
        return concept

    def _renew(self, row: Row, key: str, concept: int) -> None:
        """What a row says of a concept that is there, besides its names."""
        if row.count and row.count > (self._change.get("concept", (concept,)) or ["", "", 0])[2]:
            self._change.update("concept", (concept,), count=row.count)
        known = self._categories[concept]
        if row.category and not known and (concept, "category") not in self._pins:
            self._change.update("concept", (concept,), category=row.category)
            self._categories[concept] = row.category
        elif row.category and known and row.category != known:
            self.report.tell("conflicting", f"{row.place}: {key} stays {known}, the file has {row.category}")
        if row.hidden is not None and (concept, "hidden") not in self._pins:
            self._change.update("concept", (concept,), hidden=int(row.hidden))
        for kind, value in row.weights.items():
            if kind in WEIGHTS and (concept, f"weight:{kind}") not in self._pins:
                self._change.put("weight", (concept, kind), float(value))
        if self._keys.get(key) != concept:  # found by a former key, or as the same character under another qualifier
            self._name(row, concept, Name(key, "", Kind.FORMER_KEY, self._source))

    def _name(self, row: Row, concept: int, name: Name) -> None:
        if name.kind == Kind.KEY:
            return
        try:
            text = clean_key(name.text) if name.kind in KEYS else clean(name.text)
        except DictionaryError as error:
            self.report.tell("skipped", f"{row.place}: {error}")
            return
        connection = self._change.connection
        if connection.execute(
            "SELECT 1 FROM name WHERE concept = ? AND text = ? AND lang = ?", (concept, text, name.lang)
        ).fetchone():
            return
        if (concept, f"name:{name.lang}:{text}") in self._pins:
            self.report.tell("conflicting", f"{row.place}: a person took the name {shown(text)} away")
            return
        kind = self._kind(row, concept, text, name)
        if kind is None:
            return
        (count,) = connection.execute("SELECT count(*) FROM name WHERE concept = ?", (concept,)).fetchone()
        if count >= MOST_NAMES:
            self.report.tell("skipped", f"{row.place}: {shown(text)}, for the tag has {MOST_NAMES} names already")
            return
        self._change.add("name", (concept, text, name.lang, str(kind), name.source or self._source, name.weight))
        self._learn_series(concept, text)

    def _kind(self, row: Row, concept: int, text: str, name: Name) -> str | None:
        """What the name becomes; None if it must not be added."""
        kind = name.kind
        if self._exact:
            if kind in KEYS:
                self._former[text].add(concept)
            return kind
        if kind in KEYS:
            other = self._keys.get(text)
            if other == concept:
                return None  # the concept's own key
            if other is not None and not self._give_way(text, other, concept):
                self.report.tell("ambiguous", f"{row.place}: {text} is a tag of its own and no other name of {row.key}")
                return None
            if other is not None:
                return None  # it came with the concept that gave way
            if others := self._former[text] - {concept}:
                self.report.tell("ambiguous", f"{row.place}: {text} leads to several tags, {row.key} is one of them")
                return Kind.SYNONYM if others else kind
            self._former[text].add(concept)
        elif kind == Kind.DISPLAY:
            shown_already = self._change.connection.execute(
                "SELECT 1 FROM name WHERE concept = ? AND lang = ? AND kind = 'display'", (concept, name.lang)
            ).fetchone()
            return Kind.SYNONYM if shown_already else kind
        return kind

    def _give_way(self, key: str, other: int, concept: int) -> bool:
        """Merge a concept, which only an import made and which this file does not list, into the one that it is now."""
        if key in self._in_file or any((other, what) in self._pins for what in self._pinned(other)):
            return False
        (source,) = self._change.connection.execute(
            "SELECT source FROM name WHERE concept = ? AND kind = 'key'", (other,)
        ).fetchone()
        if source in ("shipped", edit.PERSON) or path_between(self._broader, concept, other):
            return False
        edit.merge(self._change, other, concept)
        for text, owner in list(self._keys.items()):
            if owner == other:
                del self._keys[text]
                self._former[text].add(concept)
        for holders in (*self._former.values(), *self._series.values()):
            if other in holders:
                holders.discard(other)
                holders.add(concept)
        self._bases = {base: concept if owner == other else owner for base, owner in self._bases.items()}
        self._categories.pop(other)
        self._broader = edges(self._change.connection)
        return True

    def _pinned(self, concept: int) -> list[str]:
        return [w for (w,) in self._change.connection.execute("SELECT what FROM pin WHERE concept = ?", (concept,))]

    def _learn_series(self, concept: int, text: str) -> None:
        if self._categories[concept] == "copyright":
            self._series[alike(text)].add(concept)

    def _qualify(self, row: Row, concept: int, qualifier: str) -> None:
        known = self._change.get("qualifier", (qualifier,))
        if known is None:
            self._change.insert("qualifier", (qualifier,), (concept,))
            self._series[qualifier] = {concept}
        elif known[0] != concept:
            self.report.tell("conflicting", f"{row.place}: the qualifier {shown(qualifier)} is another series'")

    def _relate(self, row: Row, concept: int) -> None:
        for key in row.implies:
            broader, _ = self._find(key, "general")
            if broader is None:
                self.report.tell("skipped", f"{row.place}: {row.key} implies {shown(key)}, which is no tag")
            elif broader != concept:
                self._imply(concept, broader, self._source, f"{row.place}: {row.key} implies {key}")
        for path in row.groups:
            if self._change.get("browse", (path,)) is None:
                self.report.tell("skipped", f"{row.place}: there is no group {shown(path)}")
            elif (concept, f"group:{path}") not in self._pins and self._change.get("member", (concept, path)) is None:
                self._change.insert("member", (concept, path), (self._source,))

        for what in row.pinned:
            kind, _, rest = what.partition(":")
            broader = self._keys.get(rest) if kind == "implies" else None
            self._change.put("pin", (concept, what if broader is None else f"implies:{broader}"))

    def _imply(self, concept: int, broader: int, source: str, told: str) -> None:
        if broader in self._broader.get(concept, ()):
            return
        if (concept, f"implies:{broader}") in self._pins:
            self.report.tell("conflicting", f"{told}, which a person took away")
        elif path_between(self._broader, broader, concept):
            self.report.tell("conflicting", f"{told}, but the other way round is so already")
        else:
            self._change.insert("implies", (concept, broader), (source,))
            self._broader.setdefault(concept, []).append(broader)

    def _derive(self) -> None:
        """Let characters imply their series."""
        for key, concept in self._character_keys():
            if found := series_of(key, self._series_named):
                series = found[1]
                pinned = (concept, f"implies:{series}") in self._pins
                if not pinned and not path_between(self._broader, concept, series):
                    self._imply(concept, series, "derived", key)


def _check_category(category: str | None) -> None:
    if category and category not in CATEGORIES:
        raise DictionaryError(f"{shown(category)} is no category")
