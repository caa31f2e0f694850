"""The ledger on real SQLite files."""

import sqlite3
from pathlib import Path

import pytest

from engine.errors import LedgerError
from engine.ledger import FileState, Ledger
from engine.state import LedgerView
from engine.types import Media, Outcome, Record, Tagged


def medium(number: int, url: str = "") -> Media:
    return Media(number, url or f"a/{number}.jpg", number)


RECORDS = (Record("1girl", "0.998"), Record("long_hair", "0.987"))


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "state.db") as opened:
        yield opened


def test_a_page_is_admitted_once_and_pending_until_stored(ledger: Ledger) -> None:
    page = [medium(1), medium(2)]
    assert ledger.admit(page) == page
    assert ledger.admit(page) == page  # still pending: the run that listed them died
    ledger.store([Tagged(page[0], RECORDS)]).result()
    assert ledger.admit(page) == [page[1]]
    assert ledger.counts()[Outcome.OUTBOX] == 1


def test_results_leave_the_outbox_only_with_the_servers_yes(ledger: Ledger) -> None:
    ledger.admit([medium(1)])
    ledger.store([Tagged(medium(1), RECORDS)]).result()
    [item] = ledger.outbox(after=0, limit=10)
    assert (item.media, item.records, item.sent) == (medium(1), RECORDS, 0)
    ledger.progress(item.seq, 1).result()
    assert ledger.outbox(0, 10)[0].sent == 1
    ledger.delivered([item.seq]).result()
    assert ledger.outbox(0, 10) == []
    assert ledger.counts()[Outcome.DONE] == 1


def test_a_medium_without_tags_is_done_at_once(ledger: Ledger) -> None:
    ledger.admit([medium(1)])
    ledger.store([Tagged(medium(1), ())]).result()
    assert ledger.counts()[Outcome.DONE] == 1


def test_another_storage_url_is_another_file(ledger: Ledger) -> None:
    ledger.admit([medium(1)])
    ledger.store([Tagged(medium(1), RECORDS)]).result()
    old = ledger.outbox(0, 10)[0].seq
    moved = medium(1, "b/other.jpg")
    assert ledger.admit([moved]) == [moved]
    assert ledger.outbox(0, 10) == []  # the old file's tags are not posted any more
    ledger.delivered([old]).result()  # an answer that was on its way changes nothing
    assert ledger.counts()[Outcome.PENDING] == 1


def test_ids_keep_their_type_on_the_wire(ledger: Ledger) -> None:
    text = Media(7, "x.jpg", "7")
    ledger.admit([text])
    ledger.store([Tagged(text, RECORDS)]).result()
    assert ledger.outbox(0, 10)[0].media.wire_id == "7"


def test_failures_keep_reason_attempts_and_file(ledger: Ledger) -> None:
    ledger.admit([medium(1)])
    ledger.fail(medium(1), Outcome.FAILED, "truncated", FileState(10, 2.5)).result()
    assert ledger.failed() == [(medium(1), FileState(10, 2.5))]
    assert ledger.reasons(Outcome.FAILED) == [(1, "a/1.jpg", "truncated")]
    assert ledger.admit([medium(1)]) == []
    ledger.retry([medium(1)]).result()
    assert ledger.admit([medium(1)]) == [medium(1)]


def test_a_rejected_record_and_a_rejected_medium(ledger: Ledger) -> None:
    ledger.admit([medium(1), medium(2)])
    ledger.store([Tagged(medium(1), RECORDS), Tagged(medium(2), RECORDS)]).result()
    first, second = (item.seq for item in ledger.outbox(0, 10))
    ledger.delivered([first], [(first, "1girl", "unknown tag"), (second, None, "no such medium")]).result()
    counts = ledger.counts()
    assert (counts[Outcome.DONE], counts[Outcome.REJECTED], counts[Outcome.OUTBOX]) == (1, 1, 0)


def test_a_second_run_is_refused_while_status_may_read(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="another run"):
        Ledger(ledger.path)
    with LedgerView(ledger.path) as view:
        assert view.counts()[Outcome.PENDING] == 0


def test_identity_survives_reopening(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.db") as ledger:
        identity = ledger.identity
    with Ledger(tmp_path / "s.db") as ledger:
        assert ledger.identity == identity != ""


@pytest.mark.parametrize(
    "content", [b"this is no database at all, but long enough" * 30, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.db").write_bytes(content)
    with pytest.raises(LedgerError, match="damaged"):
        Ledger(tmp_path / "s.db")


def test_a_file_from_the_future_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "s.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="newer engine"):
        Ledger(tmp_path / "s.db")


def test_an_error_while_writing_reaches_the_run(tmp_path: Path) -> None:
    seen: list[LedgerError] = []
    with Ledger(tmp_path / "s.db", on_error=seen.append) as ledger:
        ledger._writer.submit(lambda c: c.execute("PRAGMA max_page_count = 1") and None).result()
        many = [medium(i, "x" * 500) for i in range(200)]
        with pytest.raises(LedgerError, match="full"):
            ledger.admit(many)
        with pytest.raises(LedgerError, match="full"):  # nothing after it may pretend to be written
            ledger.store([Tagged(many[0], RECORDS)]).result()
    assert len(seen) == 1
