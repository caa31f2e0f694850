"""One change of the dictionary: its rows before and after, its entry in the journal, and how it is undone.

An entry holds every row that it changed, as it was before and after. To undo it is to put back, in reverse order, each
row that is still as the entry left it; the others have been changed since and are told.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from service.dictionary import closure
from service.dictionary.concepts import Entry, Kind
from service.dictionary.database import ROWS, Database
from service.dictionary.errors import ConflictError, DictionaryError, UnknownError
from service.dictionary.fold import fold, words
from service.dictionary.readings import readings

_LONGEST_WHO = 100
_LONGEST_SUMMARY = 300
_KEYS = 5  # of the concepts that an entry changed, as many as a line shows
_LARGEST_NUMBER = 2**63 - 1  # that SQLite takes
_SHIPPED = ("import shipped", "import")
Row = list[Any] | None


@dataclass(frozen=True)
class Undone:
    """What an undo did. `entry`: its own, None if nothing was left to put back. `kept`: what was left, and why."""

    entry: int | None
    restored: int
    kept: tuple[str, ...]


@dataclass
class Change:
    """The rows that one edit or import changes."""

    connection: sqlite3.Connection
    log: list[tuple[str, list[Any], Row, Row]] = field(default_factory=list)
    concepts: dict[int, str] = field(default_factory=dict)
    implications: bool = False

    def get(self, table: str, key: tuple[Any, ...]) -> Row:
        """A row's values without its key, or None."""
        keys, columns = ROWS[table]
        where = " AND ".join(f"{column} = ?" for column in keys)
        row = self.connection.execute(f"SELECT {', '.join(columns) or '1'} FROM {table} WHERE {where}", key).fetchone()
        return None if row is None else list(row) if columns else []

    def insert(self, table: str, key: tuple[Any, ...], values: tuple[Any, ...]) -> None:
        """A row that is known not to be there."""
        self._write(table, key, None, list(values))

    def add(self, table: str, values: tuple[Any, ...]) -> int:
        """A new row of `concept` or `name`, which gets a number of its own."""
        number = self.connection.execute(
            f"INSERT INTO {table} ({', '.join(ROWS[table][1])}{', folded, words' if table == 'name' else ''}) "
            f"VALUES ({', '.join('?' * len(values))}{', ?, ?' if table == 'name' else ''})",
            (*values, *_spellings(values)) if table == "name" else values,
        ).lastrowid
        self._note(table, (number,), None, list(values))
        return int(number or 0)  # never 0: it answers an INSERT

    def update(self, table: str, key: tuple[Any, ...], /, **values: Any) -> None:  # noqa: ANN401 - a column's value
        """Other values for some columns of a row that is there; nothing happens if they are its own."""
        before = self.get(table, key)
        if before is None:
            raise UnknownError(f"no such {table}: {key}")
        after = [values.get(column, old) for column, old in zip(ROWS[table][1], before, strict=True)]
        if after != before:
            self._write(table, key, before, after)

    def put(self, table: str, key: tuple[Any, ...], *values: Any) -> None:  # noqa: ANN401 - a column's value
        """The row with these values, whether it is there or not."""
        before = self.get(table, key)
        if before != list(values):
            self._write(table, key, before, list(values))

    def remove(self, table: str, key: tuple[Any, ...]) -> None:
        """Take a row away, if it is there."""
        before = self.get(table, key)
        if before is not None:
            self._write(table, key, before, None)

    def _write(self, table: str, key: tuple[Any, ...], before: Row, after: Row) -> None:
        keys, columns = ROWS[table]
        where = " AND ".join(f"{column} = ?" for column in keys)
        if after is None:
            self.connection.execute(f"DELETE FROM {table} WHERE {where}", key)
        else:
            derived = dict(zip(("folded", "words"), _spellings(after), strict=True)) if table == "name" else {}
            named = [*columns, *derived]
            values = [*after, *derived.values()]
            if before is None:
                marks = ", ".join("?" * (len(key) + len(values)))
                self.connection.execute(
                    f"INSERT INTO {table} ({', '.join((*keys, *named))}) VALUES ({marks})", (*key, *values)
                )
            else:
                sets = ", ".join(f"{column} = ?" for column in named)
                self.connection.execute(f"UPDATE {table} SET {sets} WHERE {where}", (*values, *key))
        self._note(table, key, before, after)

    def _note(self, table: str, key: tuple[Any, ...], before: Row, after: Row) -> None:
        self.log.append((table, list(key), before, after))
        if table == "implies":
            self.implications = True
        if table == "name":
            self._renew_readings(key[0], before, after)
        self._touch(table, key, before, after)

    def _touch(self, table: str, key: tuple[Any, ...], before: Row, after: Row) -> None:
        for row in (before, after):
            if row is None or table == "browse":
                continue
            if table == "concept":
                self.concepts[key[0]] = row[0]
            else:
                self.concepts.setdefault(row[0] if table in ("name", "qualifier") else key[0], "")

    def _renew_readings(self, name: int, before: Row, after: Row) -> None:
        if before and after and before[1:3] == after[1:3]:
            return
        if before and after:  # those of a row that is gone went with it
            self.connection.execute("DELETE FROM reading WHERE name = ?", (name,))
        if after and after[3] not in (Kind.KEY, Kind.FORMER_KEY) and not after[1].isascii():
            self.connection.executemany(
                "INSERT OR IGNORE INTO reading (name, kind, text) VALUES (?, ?, ?)",
                [(name, str(kind), text) for kind, text in readings(after[1], after[2]) if text],
            )


def _spellings(values: Any) -> tuple[str, str]:  # noqa: ANN401 - a row
    return fold(values[1]), words(values[1])


@contextmanager
def changing(database: Database, who: str, action: str, summary: str) -> Iterator[Change]:
    """A change in a transaction: all of it is kept at the end, with its entry in the journal, or nothing.

    Raises:
        DictionaryError: nobody is named, or relations would form a circle.
    """
    who = " ".join(who.split())
    if not who or len(who) > _LONGEST_WHO or not who.isprintable():
        raise DictionaryError(f"say who changes the dictionary: a name of 1 to {_LONGEST_WHO} characters")
    with database.writing() as connection:
        change = Change(connection)
        yield change
        record(change, who, action, summary)


def record(change: Change, who: str, action: str, summary: str) -> int | None:
    """End a change: the closure, the entry in the journal; its number, or None if no row was changed."""
    if not change.log:
        return None
    connection = change.connection
    summary = "".join(c for c in summary if c.isprintable())[:_LONGEST_SUMMARY]
    if change.implications:
        closure.rebuild(connection)
    entry = connection.execute(
        "INSERT INTO journal (at, who, action, summary, changes) VALUES (?, ?, ?, ?, ?)",
        (
            datetime.now(UTC).isoformat(timespec="seconds"),
            who,
            action,
            summary,
            zlib.compress(json.dumps(change.log, ensure_ascii=False, separators=(",", ":")).encode("utf-8"), 1),
        ),
    ).lastrowid
    connection.executemany(
        "INSERT INTO touched (entry, concept, key) VALUES (?, ?, ?)",
        [(entry, concept, key or _key_of(connection, concept)) for concept, key in change.concepts.items()],
    )
    return entry


def entries(connection: sqlite3.Connection, limit: int = 100, before: int | None = None) -> list[Entry]:
    """The journal, the newest first; `before`: only entries older than this one."""
    rows = connection.execute(
        "SELECT id, at, who, action, summary, undone_by, "
        "(SELECT json_group_array(key) FROM (SELECT key FROM touched WHERE entry = journal.id LIMIT ?)), "
        "(SELECT count(*) FROM touched WHERE entry = journal.id) "
        "FROM journal WHERE id < coalesce(?, 1 << 62) ORDER BY id DESC LIMIT ?",
        (_KEYS, None if before is None else min(before, _LARGEST_NUMBER), limit),
    )
    return [
        Entry(number, at, who, action, summary, undone_by, tuple(json.loads(keys)), concepts)
        for number, at, who, action, summary, undone_by, keys, concepts in rows
    ]


def undo(database: Database, number: int, who: str) -> Undone:
    """Put back what an entry changed, as an entry of its own, so that an undo can be undone.

    Raises:
        UnknownError: there is no such entry.
        ConflictError: it has been undone already, is the shipped dictionary that this one began as, or relations would
            form a circle.
    """
    reading = database.reading()
    found = reading.execute(
        "SELECT summary, action FROM journal WHERE id = ?", (min(number, _LARGEST_NUMBER),)
    ).fetchone()
    if found is None:
        raise UnknownError(f"the journal has no entry {number}: it lists those that there are")
    if number == 1 and found == _SHIPPED:
        raise ConflictError(
            "entry 1 is the dictionary that came with the engine, and without it there would be none: undo a later "
            "entry, or hide the tags that you do not want"
        )
    with database.writing() as connection:
        changes, undone_by = connection.execute(
            "SELECT changes, undone_by FROM journal WHERE id = ?", (number,)
        ).fetchone()
        if undone_by:
            raise ConflictError(f"entry {number} has been undone already, by entry {undone_by}")
        log = json.loads(zlib.decompress(changes))
        change = Change(connection)
        kept = _put_back(change, log)
        restored = len(change.log)
        entry = record(change, who, "undo", f"undo {number}: {found[0]}")
        if entry:
            connection.execute("UPDATE journal SET undone_by = ? WHERE id = ?", (entry, number))
            connection.execute("UPDATE journal SET undone_by = NULL WHERE undone_by = ?", (number,))
    return Undone(entry, restored, tuple(kept))


def _put_back(change: Change, log: list[list[Any]]) -> list[str]:
    kept: list[str] = []
    for table, key_list, before, after in reversed(log):
        key = tuple(key_list)
        if change.get(table, key) != after:
            kept.append(f"{_told(change, table, key, after or before)} was changed since")
            if table == "concept":
                _name_by_key(change, key[0])
            continue
        if table == "concept" and before is None and _in_use(change.connection, key[0]):
            kept.append(f"{after[0]} was given more since")
            _name_by_key(change, key[0])
            continue
        mark = len(change.log)
        try:
            change._write(table, key, after, before)
        except sqlite3.IntegrityError:
            del change.log[mark:]
            kept.append(f"{_told(change, table, key, before or after)} stands against what was changed since")
    return kept


def _name_by_key(change: Change, concept: int) -> None:
    """Of a concept that stays: its key is one of its names again, should that have been put back already."""
    row = change.get("concept", (concept,))
    own = "SELECT 1 FROM name WHERE concept = ? AND kind = ?"
    if row and not change.connection.execute(own, (concept, Kind.KEY)).fetchone():
        change.add("name", (concept, row[0], "", str(Kind.KEY), "", 1.0))


def _in_use(connection: sqlite3.Connection, concept: int) -> bool:
    tables = ("name", "implies", "member", "weight", "qualifier", "pin")
    used = any(connection.execute(f"SELECT 1 FROM {t} WHERE concept = ?", (concept,)).fetchone() for t in tables)
    return used or bool(connection.execute("SELECT 1 FROM implies WHERE broader = ?", (concept,)).fetchone())


def _told(change: Change, table: str, key: tuple[Any, ...], row: Row) -> str:
    """A row in words."""
    if table == "concept":
        return str((row or key)[0])
    if table == "browse":
        return f"the group {key[0]}"
    concept = row[0] if row and table in ("name", "qualifier") else key[0]
    of = _key_of(change.connection, concept)
    what = {"name": row and row[1], "implies": "what it implies", "member": "its group", "weight": "its weight"}
    return f"{of}: {what.get(table) or table}"


def _key_of(connection: sqlite3.Connection, concept: int) -> str:
    row = connection.execute("SELECT key FROM concept WHERE id = ?", (concept,)).fetchone()
    return row[0] if row else f"concept {concept}"
