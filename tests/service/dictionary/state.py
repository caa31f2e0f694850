"""The whole state of a dictionary, to compare two."""

from typing import Any

from service.dictionary import Dictionary
from service.dictionary.database import ROWS


def state(tags: Dictionary) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that people and imports change, and what follows from them."""
    connection = tags._database.reading()
    tables = [*ROWS, "closure", "reading"]
    return {table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall()) for table in tables}
