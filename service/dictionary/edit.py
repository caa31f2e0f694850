"""The edits that a person makes, each upon a `Change`. What a person decides is pinned: no import changes it again."""

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping

from service.dictionary.changes import Change
from service.dictionary.closure import edges, path_between
from service.dictionary.concepts import (
    CATEGORIES,
    KEYS,
    MOST_NAMES,
    WEIGHTS,
    Kind,
    Name,
    clean,
    clean_key,
    clean_language,
    shown,
)
from service.dictionary.errors import ConflictError, DictionaryError, UnknownError

PERSON = "person"
"""The source of what a person wrote."""
_HEAVIEST = 1000.0


def concept_of(connection: sqlite3.Connection, key: str) -> int:
    """The concept's number, by its key or a former one.

    Raises:
        UnknownError: there is none.
        ConflictError: the former key belongs to several concepts.
    """
    row = connection.execute("SELECT id FROM concept WHERE key = ?", (_plain(key),)).fetchone()
    if row:
        return int(row[0])
    found = connection.execute(
        "SELECT DISTINCT c.id, c.key FROM name n JOIN concept c ON c.id = n.concept "
        "WHERE n.text = ? AND n.kind IN ('key', 'former key', 'community key') ORDER BY c.key",
        (_plain(key),),
    ).fetchall()
    if not found:
        raise UnknownError(f"there is no concept {shown(key)}: `engine tags resolve` finds its key by any name")
    if len(found) > 1:
        raise ConflictError(f"{shown(key)} is a key of {' and of '.join(k for _, k in found)}: name one of these")
    return int(found[0][0])


def add_concept(change: Change, key: str, category: str, source: str, count: int = 0) -> int:
    """A new concept with its key alone; the key is clean. Raises ConflictError if there is one of this key."""
    if category not in CATEGORIES:
        raise DictionaryError(f"{shown(category)} is no category: choose one of {', '.join(CATEGORIES)}")
    if change.connection.execute("SELECT 1 FROM concept WHERE key = ?", (key,)).fetchone():
        raise ConflictError(f"there is a concept {key} already")
    concept = change.add("concept", (key, category, count, 0))
    change.add("name", (concept, key, "", str(Kind.KEY), source, 1.0))
    return concept


def add(
    change: Change, key: str, category: str | None, names: Iterable[Name], groups: Iterable[str], implies: Iterable[str]
) -> int:
    """A new concept, or more for the one that is there (`category` None: as it is, or general)."""
    key = clean_key(key)
    try:
        concept = concept_of(change.connection, key)
        if category:
            set_category(change, concept, category)
    except UnknownError:
        concept = add_concept(change, key, category or "general", PERSON)
    for name in names:
        add_name(change, concept, name)
    for path in groups:
        group(change, concept, path)
    for broader in implies:
        relate(change, concept, concept_of(change.connection, broader))
    return concept


def add_name(change: Change, concept: int, name: Name, pin: bool = True) -> None:
    """One more name. A name to show takes the place of the one in its language, which becomes a synonym.

    Raises DictionaryError: the name is none, or the concept has the most already.
    """
    lang = clean_language(name.lang)
    text = clean_key(name.text) if name.kind in KEYS else clean(name.text)
    if name.kind == Kind.KEY:
        raise DictionaryError("a concept has one key: `engine tags rename` changes it")
    row = change.connection.execute(
        "SELECT id, kind FROM name WHERE concept = ? AND text = ? AND lang = ?", (concept, text, lang)
    ).fetchone()
    if row is None:
        _check_room(change.connection, concept)
    if name.kind == Kind.DISPLAY:
        _demote(change, concept, lang, but=text)
    if row is None:
        change.add("name", (concept, text, lang, str(name.kind), name.source or PERSON, name.weight))
    elif row[1] != Kind.KEY:
        change.update("name", (row[0],), kind=str(name.kind), source=name.source or PERSON, weight=name.weight)
    if pin:
        change.put("pin", (concept, f"name:{lang}:{text}"))
        if name.kind == Kind.DISPLAY:
            change.put("pin", (concept, f"display:{lang}"))


def remove_name(change: Change, concept: int, text: str) -> None:
    """Take a name away, in every language it stands in. Raises UnknownError if the concept has none such."""
    rows = change.connection.execute(
        "SELECT id, lang, kind, text FROM name WHERE concept = ? AND text IN (?, ?)",
        (concept, _plain(text), _plain(text).replace(" ", "_")),
    ).fetchall()
    if not rows:
        raise UnknownError(f"{_key(change, concept)} has no name {shown(text)}")
    for number, lang, kind, name in rows:
        if kind == Kind.KEY:
            raise ConflictError(f"{name} is the concept's key: `engine tags rename` gives it another")
        change.remove("name", (number,))
        change.put("pin", (concept, f"name:{lang}:{name}"))


def rename_key(change: Change, concept: int, key: str) -> None:
    """Another key; the present one becomes a former key. Raises ConflictError if another concept has it."""
    key = clean_key(key)
    old = _key(change, concept)
    if key == old:
        return
    if change.connection.execute("SELECT 1 FROM concept WHERE key = ?", (key,)).fetchone():
        raise ConflictError(f"there is a concept {key} already: `engine tags merge {old} {key}` makes them one")
    change.update("name", (_key_row(change, concept),), kind=str(Kind.FORMER_KEY))
    _make_key(change, concept, key)
    change.update("concept", (concept,), key=key)
    change.put("pin", (concept, "key"))


def set_category(change: Change, concept: int, category: str) -> None:
    """Raises DictionaryError for what is no category."""
    if category not in CATEGORIES:
        raise DictionaryError(f"{shown(category)} is no category: choose one of {', '.join(CATEGORIES)}")
    change.update("concept", (concept,), category=category)
    change.put("pin", (concept, "category"))


def merge(change: Change, source: int, into: int) -> None:
    """Two concepts become one: names, relations, groups and weights move. Raises ConflictError for one and the same."""
    if source == into:
        raise ConflictError(f"{_key(change, into)} is one concept already")
    connection = change.connection
    _move_names(change, source, into, _rows(connection, "SELECT id FROM name WHERE concept = ? ORDER BY id", source))
    for broader, origin in _rows(connection, "SELECT broader, source FROM implies WHERE concept = ?", source):
        change.remove("implies", (source, broader))
        if broader != into and change.get("implies", (into, broader)) is None:
            change.insert("implies", (into, broader), (origin,))
    for narrower, origin in _rows(connection, "SELECT concept, source FROM implies WHERE broader = ?", source):
        change.remove("implies", (narrower, source))
        if narrower != into and change.get("implies", (narrower, into)) is None:
            change.insert("implies", (narrower, into), (origin,))
    for table, column in (("member", "path"), ("weight", "kind"), ("pin", "what")):
        for (second,) in _rows(connection, f"SELECT {column} FROM {table} WHERE concept = ?", source):
            values = change.get(table, (source, second)) or []
            change.remove(table, (source, second))
            if change.get(table, (into, second)) is None:
                change.insert(table, (into, second), tuple(values))
    for (text,) in _rows(connection, "SELECT text FROM qualifier WHERE concept = ?", source):
        change.put("qualifier", (text,), into)
    counts = [(change.get("concept", (concept,)) or ["", "", 0])[2] for concept in (source, into)]
    change.update("concept", (into,), count=max(counts))
    change.remove("concept", (source,))


def split(change: Change, concept: int, names: Iterable[str], key: str) -> int:
    """A new concept takes these names; category, groups and what it implies are those of the old one.

    Raises UnknownError for a name that the concept has not, ConflictError for a key that is another concept's.
    """
    key = clean_key(key)
    wanted = {_plain(name) for name in names} | {key}
    _, category, _, _ = change.get("concept", (concept,)) or ["", "", 0, 0]
    rows = change.connection.execute(
        "SELECT id, text FROM name WHERE concept = ? AND kind != 'key' ORDER BY id", (concept,)
    ).fetchall()
    missing = wanted - {text for _, text in rows} - {key}
    if missing:
        raise UnknownError(f"{_key(change, concept)} has no name {', '.join(shown(name) for name in sorted(missing))}")
    new = add_concept(change, key, category, PERSON)
    _move_names(change, concept, new, [(number,) for number, text in rows if text in wanted])
    for table, column in (("member", "path"), ("implies", "broader")):
        for (second,) in _rows(change.connection, f"SELECT {column} FROM {table} WHERE concept = ?", concept):
            change.insert(table, (new, second), (PERSON,))
    return new


def relate(change: Change, concept: int, broader: int, remove: bool = False) -> None:
    """Let a concept imply a broader one, or no longer. Raises ConflictError, with the path, if that is a circle."""
    if remove:
        if change.get("implies", (concept, broader)) is None:
            raise UnknownError(f"{_key(change, concept)} does not imply {_key(change, broader)} itself")
        change.remove("implies", (concept, broader))
    else:
        if path := path_between(edges(change.connection), broader, concept):
            keys = [_key(change, one) for one in [*path, broader]]
            raise ConflictError(
                f"{keys[-2]} cannot imply {keys[0]}, for then it would imply itself: {' -> '.join(keys)}"
            )
        change.put("implies", (concept, broader), PERSON)
    change.put("pin", (concept, f"implies:{broader}"))


def group(change: Change, concept: int, path: str, remove: bool = False) -> None:
    """Lay a concept into a group, or take it out. Raises UnknownError if there is no such group."""
    path = _plain(path.strip("/ "))
    if change.get("browse", (path,)) is None:
        raise UnknownError(f"there is no group {shown(path)}: `engine tags group --list` shows them")
    if remove:
        if change.get("member", (concept, path)) is None:
            raise UnknownError(f"{_key(change, concept)} does not lie in {path}")
        change.remove("member", (concept, path))
    else:
        change.put("member", (concept, path), PERSON)
    change.put("pin", (concept, f"group:{path}"))


def add_group(change: Change, path: str, names: Mapping[str, str]) -> None:
    """A group, and those that it lies in; or other names for one. Raises DictionaryError for a name that is none."""
    parts = [clean(part, "group") for part in path.strip("/ ").split("/")]
    cleaned = {clean_language(lang): clean(name) for lang, name in names.items()}
    (last,) = change.connection.execute("SELECT coalesce(max(place), 0) FROM browse").fetchone()
    for depth in range(1, len(parts) + 1):
        one = "/".join(parts[:depth])
        old = change.get("browse", (one,))
        if old is None:
            last += 1
        named = (json.loads(old[0]) if old else {}) | (cleaned if depth == len(parts) else {})
        text = json.dumps(named, ensure_ascii=False, sort_keys=True)
        change.put("browse", (one,), text, old[1] if old else last)


def weigh(change: Change, concept: int, kind: str, value: float | None) -> None:
    """Set one of a concept's weights; None takes it back. Raises DictionaryError for a kind or value that is none."""
    if kind not in WEIGHTS:
        raise DictionaryError(f"{shown(kind)} is no weight: choose one of {', '.join(WEIGHTS)}")
    if value is None:
        change.remove("weight", (concept, kind))
    elif math.isfinite(value) and 0 <= value <= _HEAVIEST:
        change.put("weight", (concept, kind), float(value))
    else:
        raise DictionaryError(f"the weight {value} is out of range: give 0 to {_HEAVIEST:g}")
    change.put("pin", (concept, f"weight:{kind}"))


def hide(change: Change, concept: int, hidden: bool) -> None:
    """Leave a concept out of suggestions, or let it in again."""
    change.update("concept", (concept,), hidden=int(hidden))
    change.put("pin", (concept, "hidden"))


def _check_room(connection: sqlite3.Connection, concept: int) -> None:
    (count,) = connection.execute("SELECT count(*) FROM name WHERE concept = ?", (concept,)).fetchone()
    if count >= MOST_NAMES:
        raise DictionaryError(f"the concept has {count} names, the most of one: take some away first")


def _demote(change: Change, concept: int, lang: str, but: str) -> None:
    """The name to show in this language becomes a synonym, if it is another one."""
    for (number,) in _rows(
        change.connection,
        "SELECT id FROM name WHERE concept = ? AND lang = ? AND kind = 'display' AND text != ?",
        concept,
        lang,
        but,
    ):
        change.update("name", (number,), kind=str(Kind.SYNONYM))


def _move_names(change: Change, source: int, into: int, names: Iterable[tuple[int]]) -> None:
    shown_in = {lang for (lang,) in _rows(change.connection, _SHOWN_IN, into)}
    held = set(_rows(change.connection, "SELECT text, lang FROM name WHERE concept = ?", into))
    for (number,) in names:
        _, text, lang, kind, _, _ = change.get("name", (number,)) or [0, "", "", "", "", 0]
        if (text, lang) in held:
            change.remove("name", (number,))
            continue
        if kind == Kind.KEY:
            kind = str(Kind.FORMER_KEY)
        elif kind == Kind.DISPLAY and lang in shown_in:
            kind = str(Kind.SYNONYM)
        change.update("name", (number,), concept=into, kind=kind)


def _make_key(change: Change, concept: int, key: str) -> None:
    row = change.connection.execute(
        "SELECT id FROM name WHERE concept = ? AND text = ? AND lang = ''", (concept, key)
    ).fetchone()
    if row:
        change.update("name", (row[0],), kind=str(Kind.KEY))
    else:
        change.add("name", (concept, key, "", str(Kind.KEY), PERSON, 1.0))


def _key_row(change: Change, concept: int) -> int:
    row = change.connection.execute("SELECT id FROM name WHERE concept = ? AND kind = 'key'", (concept,)).fetchone()
    return int(row[0])


def _key(change: Change, concept: int) -> str:
    return str((change.get("concept", (concept,)) or ["?"])[0])


def _plain(text: str) -> str:
    """A text that SQLite can be asked for."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _rows(connection: sqlite3.Connection, statement: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
    return connection.execute(statement, values).fetchall()


_SHOWN_IN = "SELECT lang FROM name WHERE concept = ? AND kind = 'display'"
