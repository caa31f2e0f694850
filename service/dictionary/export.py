"""Writing a dictionary as JSON Lines: first the groups, then a line a concept, in the order in which they came.

Importing that into an empty file gives the same bytes again.
"""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from service.dictionary.database import Database

_SOURCE = "source"


def lines(database: Database) -> Iterator[str]:
    """The lines, each with its line feed, of one moment of the dictionary."""
    connection = database.reading()
    connection.execute("BEGIN")
    try:
        for path, names in connection.execute("SELECT path, names FROM browse ORDER BY place, path"):
            yield _line({"group": path, "names": json.loads(names)})
        for row in connection.execute("SELECT id, key, category, count, hidden FROM concept ORDER BY id"):
            yield _line(_concept(connection, *row))
    finally:
        connection.execute("COMMIT")


def _concept(
    connection: sqlite3.Connection, number: int, key: str, category: str, count: int, hidden: int
) -> dict[str, Any]:
    def column(statement: str) -> list[Any]:
        return [value for (value,) in connection.execute(statement, (number,))]

    names = [
        {"text": text, "lang": lang, "kind": kind, "source": source, "weight": weight}
        for text, lang, kind, source, weight in connection.execute(
            "SELECT text, lang, kind, source, weight FROM name WHERE concept = ? "
            "ORDER BY lang, kind, weight DESC, text",
            (number,),
        )
    ]
    record: dict[str, Any] = {"key": key, "category": category, "count": count, "names": names}
    optional = {
        "implies": column(
            "SELECT c.key FROM implies i JOIN concept c ON c.id = i.broader WHERE i.concept = ? ORDER BY c.key"
        ),
        "groups": column("SELECT path FROM member WHERE concept = ? ORDER BY path"),
        "weights": dict(
            connection.execute("SELECT kind, value FROM weight WHERE concept = ? ORDER BY kind", (number,)).fetchall()
        ),
        "qualifiers": column("SELECT text FROM qualifier WHERE concept = ? ORDER BY text"),
        "pinned": sorted(_pin(connection, what) for what in column("SELECT what FROM pin WHERE concept = ?")),
        "hidden": bool(hidden),
    }
    return record | {name: value for name, value in optional.items() if value}


def _pin(connection: sqlite3.Connection, what: str) -> str:
    """What is pinned, with a concept's key in place of its number."""
    kind, _, rest = what.partition(":")
    if kind != "implies":
        return what
    row = connection.execute("SELECT key FROM concept WHERE id = ?", (int(rest),)).fetchone()
    return f"implies:{row[0]}" if row else what


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
