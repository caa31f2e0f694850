"""docs/troubleshooting.md: its SQL runs on a ledger, and the sentences that it explains are said by the program."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.ledger.ledger import Ledger
from engine.types import FileState, Media, Outcome, TagScore
from tests.docs.pages import ROOT, Page, sources
from tests.support.ledgers import outbox, store, tagged

PAGE = Page.read(ROOT / "docs" / "troubleshooting.md")
QUERIES = [content for language, content in PAGE.blocks if language == "sql"]
SENTENCES = re.findall("“(.*?)”", PAGE.text)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ledger with a medium at each outcome, in use by a run."""
    path = tmp_path_factory.mktemp("state") / "ledger.db"
    media = [Media(number, f"{number}.jpg", number) for number in range(1, 8)]
    done, waiting, part, failed, rejected, skipped, _pending = media
    tags = (TagScore("1girl", 0.998), TagScore("long_hair", 0.987))
    with Ledger(path) as opened:
        opened.set_meta({"threshold": "0.5"})
        opened.admit(media)
        for _ in range(2):
            opened.fail(failed, Outcome.FAILED, "no such file: '4.jpg'", FileState(0, 0.0))
            opened.retry([failed])
        opened.fail(failed, Outcome.FAILED, "no such file: '4.jpg'")
        opened.fail(skipped, Outcome.SKIPPED, "a video")
        store(opened, [tagged(item, *tags) for item in (done, rejected, waiting, part)]).result(30)
        seqs = {item.media.id: item.seq for item in outbox(opened)}
        lost = [(seqs[done.id], "1girl", "locked"), (seqs[rejected.id], None, "unknown medium")]
        opened.delivered([seqs[done.id]], lost)
        opened.progress({seqs[part.id]: 1}).result(30)
        assert all(opened.counts().values())
        yield path


def run(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("sql", QUERIES, ids=range(len(QUERIES)))
def test_a_query_finds_what_it_looks_for(ledger: Path, sql: str) -> None:
    assert run(ledger, sql)


def test_what_the_queries_find(ledger: Path) -> None:
    found = {heading: run(ledger, sql) for heading, sql in zip(headings(), QUERIES, strict=True)}
    assert dict(found["How many media stand where:"])["outbox"] == 2
    assert [row[1:] for row in found["What failed and why, by the beginning of the reason, with an example:"]] == [
        (1, "4.jpg")
    ]
    assert {row[2] for row in found["The latest failures and rejections:"]} == {"failed", "rejected"}
    assert found["What failed again and again:"][0][:3] == (4, "4.jpg", 3)
    assert [row[:2] for row in found["What waits in the outbox, by the sink it goes to:"]] == [("media API", 2)]
    assert next(rows for heading, rows in found.items() if heading.startswith("What waits for")) == [(2, 4, 1)]
    assert [row[0] for row in found["What waits longest for it:"]] == [2, 3]
    assert ("threshold", "0.5") in next(
        rows for heading, rows in found.items() if heading.startswith("What the ledger")
    )


def headings() -> list[str]:
    """The line before each query."""
    return [before.strip().splitlines()[-1] for before in PAGE.text.split("```sql")[:-1]]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_that_is_explained_is_said(sentence: str) -> None:
    assert says(sentence)


def test_a_sentence_that_nobody_says_is_found_out() -> None:
    assert len(SENTENCES) > 12
    assert not says("another run works on the state life")


def says(sentence: str) -> bool:
    """Whether the program's source holds the sentence, also where it goes on in the next line of source."""
    return sentence in re.sub(r'"\n\s*f?"', "", sources())
