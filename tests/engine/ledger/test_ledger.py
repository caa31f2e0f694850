"""The ledger on real SQLite files."""

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import LedgerError
from engine.ledger import schema as state
from engine.ledger.ledger import FileState, Ledger
from engine.ledger.schema import LedgerView
from engine.types import Media, Outcome, TagScore
from tests.support.ledgers import outbox, store, tagged, tags


def medium(number: int, url: str = "") -> Media:
    return Media(number, url or f"a/{number}.jpg", number)


RECORDS = (TagScore("1girl", 0.998), TagScore("long_hair", 0.987))


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "state.db") as opened:
        yield opened


def test_a_page_is_admitted_once_and_pending_until_stored(ledger: Ledger) -> None:
    page = [medium(1), medium(2)]
    assert ledger.admit(page) == page
    assert ledger.admit(page) == page  # still pending: the run that listed them died
    store(ledger, [tagged(page[0], *RECORDS)]).result()
    assert ledger.admit(page) == [page[1]]
    assert ledger.counts()[Outcome.OUTBOX] == 1


def test_results_leave_the_outbox_only_with_the_servers_yes(ledger: Ledger) -> None:
    ledger.admit([medium(1)])
    store(ledger, [tagged(medium(1), *RECORDS)]).result()
    [item] = outbox(ledger)
    assert (item.media, tags(item), item.sent) == (medium(1), RECORDS, 0)
    ledger.progress({item.seq: 1}).result()
    assert outbox(ledger)[0].sent == 1
    ledger.delivered([item.seq]).result()
    assert outbox(ledger) == []
    assert ledger.counts()[Outcome.DONE] == 1


def test_a_medium_without_tags_is_done_at_once(ledger: Ledger) -> None:
    ledger.admit([medium(1)])
    store(ledger, [tagged(medium(1))]).result()
    assert ledger.counts()[Outcome.DONE] == 1


def test_another_storage_url_is_another_file(ledger: Ledger) -> None:
    ledger.admit([medium(1)])
    store(ledger, [tagged(medium(1), *RECORDS)]).result()
    old = outbox(ledger)[0].seq
    moved = medium(1, "b/other.jpg")
    assert ledger.admit([moved]) == [moved]
    assert outbox(ledger) == []  # the old file's tags are not posted any more
    ledger.delivered([old]).result()  # an answer that was on its way changes nothing
    assert ledger.counts()[Outcome.PENDING] == 1


def test_ids_keep_their_type_on_the_wire(ledger: Ledger) -> None:
    text = Media(7, "x.jpg", "7")
    ledger.admit([text])
    store(ledger, [tagged(text, *RECORDS)]).result()
    assert outbox(ledger)[0].media.wire_id == "7"


def test_failures_keep_reason_attempts_and_file(ledger: Ledger) -> None:
    ledger.admit([medium(1)])
    ledger.fail(medium(1), Outcome.FAILED, "truncated", FileState(10, 2.5)).result()
    assert ledger.failed_media() == [(medium(1), FileState(10, 2.5))]
    assert ledger.reasons(Outcome.FAILED) == [(1, "a/1.jpg", "truncated")]
    assert ledger.admit([medium(1)]) == []
    ledger.retry([medium(1)]).result()
    assert ledger.admit([medium(1)]) == [medium(1)]


def test_a_rejected_record_and_a_rejected_medium(ledger: Ledger) -> None:
    ledger.admit([medium(1), medium(2)])
    store(ledger, [tagged(medium(1), *RECORDS), tagged(medium(2), *RECORDS)]).result()
    first, second = (item.seq for item in outbox(ledger))
    ledger.delivered([first], [(first, "1girl", "unknown tag"), (second, None, "no such medium")]).result()
    counts = ledger.counts()
    assert (counts[Outcome.DONE], counts[Outcome.REJECTED], counts[Outcome.OUTBOX]) == (1, 1, 0)


def test_a_second_run_is_refused_while_status_may_read(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="another run"):
        Ledger(ledger.path)
    with LedgerView(ledger.path) as view:
        assert view.counts()[Outcome.PENDING] == 0


@pytest.mark.skipif(os.name == "nt", reason="making a link asks for rights there")
def test_a_second_run_by_another_way_to_the_same_file_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(ledger.path)
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    for way in (tmp_path / "link.db", tmp_path / "elsewhere" / ledger.path.name):
        with pytest.raises(LedgerError, match="another run"):
            Ledger(way)


@pytest.mark.skipif(os.name == "nt", reason="a file that is open cannot be deleted there")
@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_a_file_that_vanishes_under_a_run_is_noticed(ledger: Ledger, what: str) -> None:
    assert ledger.is_there()
    ledger.path.unlink()
    if what == "replaced":
        ledger.path.write_bytes(b"")
    ledger.admit([medium(1)])
    assert not ledger.is_there()


def test_a_file_without_its_identity_is_damaged(tmp_path: Path) -> None:
    """Without one, another ledger's requests would carry the same keys."""
    with Ledger(tmp_path / "s.db") as ledger:
        ledger._writer.submit(lambda c: c.execute("DELETE FROM meta")).result()
    with pytest.raises(LedgerError, match="damaged"):
        Ledger(tmp_path / "s.db")


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
            store(ledger, [tagged(many[0], *RECORDS)]).result()
    assert len(seen) == 1


def test_a_change_that_python_cannot_hand_to_sqlite_ends_the_run_and_not_the_writer_alone(tmp_path: Path) -> None:
    seen: list[LedgerError] = []
    with Ledger(tmp_path / "s.db", on_error=seen.append) as ledger:
        ledger.admit([medium(1)])
        with pytest.raises(LedgerError, match="surrogates"):
            ledger.fail(medium(1), Outcome.FAILED, "half a pair: \ud800").result(10)
    assert len(seen) == 1


def test_a_page_of_any_size_is_admitted(ledger: Ledger) -> None:
    """A service may answer with more than it was asked for, and SQLite takes 32,766 parameters at most."""
    page = [medium(2**62 + i) for i in range(40_000)]
    assert ledger.admit(page) == page
    assert ledger.admit(page) == page
    assert len(ledger.find(item.id for item in page)) == len(page)


def test_what_a_killed_process_committed_is_there(tmp_path: Path) -> None:
    """Killed with its files open, the log not yet written back (WAL)."""
    script = """
import os, sys
from pathlib import Path
from engine.ledger.ledger import Ledger
from engine.types import Media, TagScore
from tests.support.ledgers import store, tagged
media = [Media(i, f"{i}.jpg", i) for i in range(50)]
ledger = Ledger(Path(sys.argv[1]))
ledger.admit(media)
store(ledger, [tagged(item, TagScore("a", 0.9)) for item in media[:20]]).result()
store(ledger, [tagged(item, TagScore("a", 0.9)) for item in media[20:]])  # on its way, or not
os._exit(9)
"""
    path = tmp_path / "s.db"
    result = subprocess.run([sys.executable, "-c", script, str(path)], cwd=Path(__file__).parents[3], timeout=60)
    assert result.returncode == 9
    assert Path(f"{path}-wal").stat().st_size > 0
    with Ledger(path) as ledger:
        counts = ledger.counts()
        assert (counts[Outcome.OUTBOX], counts[Outcome.PENDING]) in [(20, 30), (50, 0)]  # whole transactions only
        assert len(outbox(ledger)) == counts[Outcome.OUTBOX]


def test_an_older_version_is_brought_up_to_date(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "s.db"
    with Ledger(path) as ledger:
        ledger.admit([medium(1)])
    version = state.SCHEMA_VERSION
    monkeypatch.setattr(state, "MIGRATIONS", (*state.MIGRATIONS, "ALTER TABLE media ADD COLUMN colour TEXT"))
    monkeypatch.setattr(state, "SCHEMA_VERSION", version + 1)
    with pytest.raises(LedgerError, match="older engine"):
        LedgerView(path)
    for _ in range(2):
        with Ledger(path) as ledger:
            assert ledger.counts()[Outcome.PENDING] == 1
            assert ledger._read("SELECT colour FROM media", (), str) == ["None"]


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "s.db"
    Ledger(path).close()
    version = state.SCHEMA_VERSION
    monkeypatch.setattr(state, "MIGRATIONS", (*state.MIGRATIONS, "DROP TABLE refused; SELECT no_such_column"))
    monkeypatch.setattr(state, "SCHEMA_VERSION", version + 1)
    with pytest.raises(LedgerError, match="no_such_column"):
        Ledger(path)
    monkeypatch.undo()
    with Ledger(path) as ledger:
        assert ledger._read("SELECT count(*) FROM refused", (), int) == [0]


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="another program"):
        Ledger(path)
    assert path.read_bytes() == before


def test_any_damage_is_one_sentence_or_unnoticed(tmp_path: Path) -> None:
    """Bytes flipped all over a real state file: a `LedgerError`, a value that differs, but never another exception."""
    path = tmp_path / "s.db"
    with Ledger(path) as ledger:
        media = [medium(i) for i in range(200)]
        ledger.admit(media)
        store(ledger, [tagged(item, *RECORDS) for item in media[:150]]).result()
        for item in media[150:]:
            ledger.fail(item, Outcome.FAILED, "truncated", FileState(10, 2.5))
    good = path.read_bytes()
    chance = random.Random(5)
    noticed = 0
    for _ in range(60):
        data = bytearray(good)
        for _ in range(chance.choice((1, 10, 100))):
            data[chance.randrange(100, len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        for rest in ("-wal", "-shm"):
            Path(f"{path}{rest}").unlink(missing_ok=True)
        try:
            with Ledger(path) as ledger:
                ledger.counts(), outbox(ledger), ledger.failed_media(), ledger.find(range(200))
                ledger.admit([medium(i, "new.jpg") for i in range(0, 300, 3)])
        except LedgerError as error:
            noticed += 1
            assert str(path) in str(error)
    assert noticed > 10


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that nobody may write in, not even root")
def test_a_place_that_cannot_be_written_is_one_sentence() -> None:
    with pytest.raises(LedgerError, match=r"/proc/engine\.db cannot be"):
        Ledger(Path("/proc/engine.db"))


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write everything")
def test_a_read_only_state_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Ledger(path).close()
    path.chmod(0o400)
    try:
        with pytest.raises(LedgerError, match="cannot be written"):
            Ledger(path).admit([medium(1)])
    finally:
        path.chmod(0o600)


def versioned(number: int, version: str | None) -> Media:
    return Media(number, f"a/{number}.jpg", number, version)


def test_another_version_is_another_file_and_the_first_that_is_told_is_not(ledger: Ledger) -> None:
    ledger.admit([versioned(1, None), versioned(2, "v1")])
    store(ledger, [tagged(medium(1), *RECORDS), tagged(versioned(2, "v1"), *RECORDS)]).result()
    assert ledger.admit([versioned(1, "v1"), versioned(2, None)]) == []  # a service that learns, or ceases, to tell
    assert ledger.admit([versioned(1, "v1"), versioned(2, "v1")]) == []
    assert ledger.admit([versioned(1, "v2"), versioned(2, "v2")]) == [versioned(1, "v2"), versioned(2, "v2")]
    assert outbox(ledger) == []  # the old files' tags are not posted any more
    store(ledger, [tagged(versioned(1, "v2"), *RECORDS)]).result()
    assert ledger.admit([versioned(1, "v2")]) == []


def test_a_file_that_was_replaced_while_it_was_tagged_is_tagged_again(ledger: Ledger) -> None:
    settled: list[int] = []
    ledger.on_settled(settled.append)
    ledger.admit([versioned(i, "v1") for i in (1, 2, 3)])
    ledger.admit([versioned(i, "v2") for i in (1, 2)])
    settled.clear()
    store(ledger, [tagged(versioned(i, "v1"), *RECORDS) for i in (1, 3)]).result()
    ledger.fail(versioned(2, "v1"), Outcome.FAILED, "truncated").result()
    ledger.retry([]).result()
    assert [item.media.id for item in outbox(ledger)] == [3]
    assert sum(settled) == 2  # their places in the outbox are free
    again = [versioned(1, "v2"), versioned(2, "v2")]
    assert ledger.admit(again) == again


def test_what_is_tried_again_leaves_the_outbox(ledger: Ledger) -> None:
    settled: list[int] = []
    ledger.admit([medium(1), medium(2)])
    store(ledger, [tagged(medium(1), *RECORDS), tagged(medium(2), *RECORDS)]).result()
    ledger.on_settled(settled.append)
    ledger.retry([medium(1)]).result()
    assert [item.media.id for item in outbox(ledger)] == [2]
    ledger.retry([]).result()
    assert sum(settled) == 1


def test_models_are_remembered_in_order(ledger: Ledger) -> None:
    assert ledger.models() == ()
    for name in ("one", "two", "two", "three", "one"):
        ledger.name_model(name)
    assert ledger.models() == ("two", "three", "one")
    ledger.begin_again({"threshold": "0.9"}, "four")
    assert ledger.models() == ("two", "three", "one", "four") and ledger.meta("threshold") == "0.9"
    ledger.set_meta({"models": "no JSON"})
    with pytest.raises(LedgerError, match="damaged"):
        ledger.models()


def test_a_file_that_was_moved_keeps_its_version_and_is_not_tagged_again(ledger: Ledger) -> None:
    ledger.admit([versioned(i, "v1") for i in (1, 2, 3)])
    store(ledger, [tagged(versioned(1, "v1"), *RECORDS)]).result()
    ledger.fail(versioned(2, "v1"), Outcome.FAILED, "not found").result()
    moved = [Media(i, f"b/{i}.jpg", i, "v1") for i in (1, 2, 3)]
    assert ledger.admit(moved) == moved[1:]  # what failed where it was is tried where it is
    assert ledger.find([1])[1].storage_url == "b/1.jpg"
    [item] = outbox(ledger)
    assert item.media.storage_url == "b/1.jpg" and tags(item) == RECORDS
    assert ledger.admit([Media(1, "c/1.jpg", 1, "v2")]) == [Media(1, "c/1.jpg", 1, "v2")]
