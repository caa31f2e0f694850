"""State files of earlier versions are brought up to date, with what they hold."""

import sqlite3
from pathlib import Path

import pytest

from engine.delivery.loop import SINK
from engine.errors import LedgerError
from engine.ledger.ledger import Ledger
from engine.ledger.schema import MIGRATIONS, LedgerView
from engine.types import Media, Outcome
from tests.support.ledgers import tags


@pytest.fixture
def first_version(tmp_path: Path) -> Path:
    """A state file of version 1: one sink, scores kept as text, a medium half delivered."""
    path = tmp_path / "s.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        MIGRATIONS[0]
        + """
        INSERT INTO media VALUES (3, '"3"', 'a/3.jpg', 'outbox', NULL, 0, NULL, NULL, 1.0);
        INSERT INTO media VALUES (4, '4', 'a/4.jpg', 'done', NULL, 0, NULL, NULL, 1.0);
        INSERT INTO outbox (seq, media_id, records, sent) VALUES (7, 3, '[["1girl","0.998"],["o_o","1.000"]]', 1);
        UPDATE meta SET value = 'the same' WHERE key = 'identity';
        PRAGMA user_version = 1;
        """
    )
    connection.close()
    return path


def test_what_waited_waits_for_the_media_api(first_version: Path) -> None:
    with Ledger(first_version) as ledger:
        [item] = ledger.outbox(SINK, 0, 10)
        assert (item.seq, item.sent, item.media) == (7, 1, Media(3, "a/3.jpg", "3"))
        assert tags(item) == (("1girl", 0.998), ("o_o", 1.0))
        assert (ledger.identity, ledger.in_outbox()) == ("the same", 1)
        ledger.delivered([7]).result()
        assert ledger.counts()[Outcome.DONE] == 2


def test_a_number_that_was_used_is_not_used_again(first_version: Path) -> None:
    """An answer to an old entry must never be taken for one to a new entry."""
    with Ledger(first_version) as ledger:
        ledger.delivered([7]).result()
    with Ledger(first_version) as ledger:
        ledger._writer.submit(
            lambda c: c.execute("INSERT INTO outbox (sink, media_id, entry) VALUES (?, 4, '[]')", (SINK,))
        ).result()
        assert [item.seq for item in ledger.outbox(SINK, 0, 10)] == [8]


def test_reading_alone_changes_nothing(first_version: Path) -> None:
    before = first_version.read_bytes()
    with pytest.raises(LedgerError, match="older engine"):
        LedgerView(first_version)
    assert first_version.read_bytes() == before
