"""A few dozen hand-written concepts, in the form of the shipped tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.dictionary import Dictionary, shipped

TABLES = Path(__file__).parent / "tables"


def tables() -> shipped.Tables:
    return {file.name: file.read_text("utf-8") for file in TABLES.glob("*.tsv")}


@pytest.fixture
def tags(tmp_path: Path) -> Iterator[Dictionary]:
    """A dictionary of its own for each test, made of the tables beside this file."""
    with Dictionary.open_empty(tmp_path / "tags.db") as opened:
        opened.load(shipped.rows(tables()), shipped.SOURCE, "engine")
        yield opened
