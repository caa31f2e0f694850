"""The ledger: which medium stands where, and the outbox of records that the API has not yet said yes to.

SQLite in WAL mode on a local disk. One thread writes (writer.py); any thread reads. A medium's records enter the outbox
in the same transaction that ends its tagging, and leave it only after the API's answer, so a kill at any moment loses
nothing that was computed and repeats at most the batches in flight.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from engine.errors import LedgerError
from engine.ledger.schema import LedgerView, OutboxItem, create, explained
from engine.ledger.writer import Writer
from engine.types import FileState, Media, Outcome, Tagged

__all__ = ["FileState", "Ledger", "OutboxItem"]


class Ledger(LedgerView):
    """One state file, made if need be. Opening it locks it against a second run; use it as a context manager.

    Errors: `LedgerError` when the file is locked, damaged, read-only, or of another version. An error while writing
    also reaches `on_error`, for the futures of most changes are not waited for.
    """

    def __init__(self, path: Path, on_error: Callable[[LedgerError], None] = lambda _: None) -> None:
        self._on_outbox: Callable[[], None] = lambda: None
        self._on_room: Callable[[int], None] = lambda _: None
        with ExitStack() as undo, explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = _lock(path)
            undo.callback(self._lock_file.close)
            create(path)
            super().__init__(path)
            undo.callback(super().close)
            self._writer = Writer(path, lambda: self._on_outbox(), on_error)
            undo.pop_all()
        self.identity = self.meta("identity") or ""

    def close(self) -> None:
        """Commit what is queued and release the file."""
        self._writer.close()
        super().close()
        self._lock_file.close()

    def on_outbox(self, wake: Callable[[], None]) -> None:
        """Call `wake` (from the writer's thread) after each commit: there may be something to deliver."""
        self._on_outbox = wake

    def on_room(self, give_back: Callable[[int], None]) -> None:
        """Call `give_back` with the number of media that a commit settled without, or out of, the outbox."""
        self._on_room = give_back

    # What the ledger is for: settings that must not change between runs.

    def set_meta(self, values: Mapping[str, str]) -> None:
        rows = list(values.items())
        self._writer.submit(lambda c: _many(c, "INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)).result()

    # The catalogue side.

    def admit(self, page: Sequence[Media], again: Collection[Outcome] = ()) -> list[Media]:
        """Take in a page of the catalogue; return those of it that are still to be tagged, in order.

        Media at one of the outcomes `again` are tagged once more. An id with another storageUrl than before is another
        file: it becomes pending again, and records of the old file that were not yet posted are dropped.
        """
        known = self.find(media.id for media in page)
        new = [media for media in page if media.id not in known or known[media.id][0] != media.storage_url]
        if new:
            now = time.time()
            dropped = 0

            def change(connection: sqlite3.Connection) -> None:
                nonlocal dropped
                dropped = _admit(connection, new, now)

            self._settle(change, lambda: dropped).result()
        fresh = {media.id for media in new}
        once_more = [m for m in page if m.id not in fresh and known[m.id][1] in again]
        if once_more:
            self.retry(once_more).result()
            fresh |= {media.id for media in once_more}
        return [m for m in page if m.id in fresh or known[m.id][1] is Outcome.PENDING]

    def retry(self, media: Sequence[Media]) -> Future[None]:
        """Make these media pending again."""
        rows = [(time.time(), item.id) for item in media]
        return self._writer.submit(
            lambda c: _many(c, "UPDATE media SET outcome = 'pending', reason = NULL, changed = ? WHERE id = ?", rows)
        )

    def begin_again(self, fingerprint: Mapping[str, str]) -> int:
        """Make all media pending but those that are no pictures, under a new fingerprint. How many there are."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM outbox")
            connection.execute("DELETE FROM refused")
            _many(connection, "INSERT OR REPLACE INTO meta VALUES (?, ?)", list(fingerprint.items()))
            connection.execute("UPDATE media SET outcome = 'pending', reason = NULL WHERE outcome <> 'skipped'")

        self._writer.submit(change).result()
        return self.counts()[Outcome.PENDING]

    # The tagging side.

    def store(self, tagged: Sequence[Tagged]) -> Future[None]:
        """A batch's results into the outbox, in one transaction. Media without records have nothing to wait for."""
        now = time.time()
        rows = [(t.media.id, json.dumps(t.records, ensure_ascii=False, separators=(",", ":"))) for t in tagged]
        outcomes = [(Outcome.OUTBOX if t.records else Outcome.DONE, now, t.media.id) for t in tagged]

        def change(connection: sqlite3.Connection) -> None:
            _many(connection, "UPDATE media SET outcome = ?, reason = NULL, changed = ? WHERE id = ?", outcomes)
            _many(
                connection,
                "INSERT OR REPLACE INTO outbox (media_id, records) VALUES (?, ?)",
                [row for row, item in zip(rows, tagged, strict=True) if item.records],
            )

        return self._settle(change, lambda: sum(not item.records for item in tagged))

    def fail(self, media: Media, outcome: Outcome, reason: str, file: FileState | None = None) -> Future[None]:
        """A medium that was not tagged: failed or skipped, with the reason for the user."""
        row = (outcome, reason, *(file or (None, None)), time.time(), media.id)
        return self._settle(
            lambda c: _many(
                c,
                "UPDATE media SET outcome = ?, reason = ?, file_size = ?, file_time = ?, changed = ?, "
                "attempts = attempts + 1 WHERE id = ?",
                [row],
            ),
            lambda: 1,
        )

    # The delivery side.

    def delivered(self, seqs: Sequence[int], rejected: Sequence[tuple[int, str | None, str]] = ()) -> Future[None]:
        """The API's yes: these media leave the outbox.

        `rejected` names what the yes left out: (seq, tag, reason), tag None for all of a medium's records.
        """
        now = time.time()
        whole = {seq: reason for seq, tag, reason in rejected if tag is None}
        left = 0

        def change(connection: sqlite3.Connection) -> None:
            nonlocal left
            _many(
                connection,
                "INSERT OR REPLACE INTO refused SELECT media_id, ?, ? FROM outbox WHERE seq = ?",
                [(tag, reason, seq) for seq, tag, reason in rejected if tag is not None],
            )
            _many(
                connection,
                "UPDATE media SET outcome = ?, reason = ?, changed = ? "
                "WHERE id = (SELECT media_id FROM outbox WHERE seq = ?)",
                [
                    (Outcome.REJECTED if seq in whole else Outcome.DONE, whole.get(seq), now, seq)
                    for seq in {*seqs, *whole}
                ],
            )
            left = _many(connection, "DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in {*seqs, *whole}])

        return self._settle(change, lambda: left)

    def progress(self, seq: int, sent: int) -> Future[None]:
        """Single mode: the API has answered the first `sent` records of this medium."""
        return self._writer.submit(lambda c: _many(c, "UPDATE outbox SET sent = ? WHERE seq = ?", [(sent, seq)]))

    def _settle(self, change: Callable[[sqlite3.Connection], object], count: Callable[[], int]) -> Future[None]:
        """Submit a change after whose commit `count` media need no room in the outbox any more."""
        future = self._writer.submit(change)
        future.add_done_callback(lambda done: None if done.exception() else self._on_room(count()))
        return future


def _lock(path: Path) -> sqlite3.Connection:
    """Hold the file for this process; the operating system lets go when the process dies, however it dies.

    A second SQLite file carries the lock, for an exclusive lock on the ledger itself would shut out `engine status`.
    """
    connection = sqlite3.connect(path.with_name(path.name + ".lock"), timeout=0, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        if "locked" not in str(error):
            raise
        raise LedgerError(
            f"another run works on the state file {path}: let it end, or give this one a file of its own with --state"
        ) from None
    return connection


def _many(connection: sqlite3.Connection, sql: str, rows: Sequence[tuple[object, ...]]) -> int:
    """Run a statement for each of the rows; the number of rows it changed in all."""
    return connection.executemany(sql, rows).rowcount


def _admit(connection: sqlite3.Connection, media: Sequence[Media], now: float) -> int:
    """Make these media pending; the number of those whose old records left the outbox with it."""
    dropped = _many(connection, "DELETE FROM outbox WHERE media_id = ?", [(item.id,) for item in media])
    _many(
        connection,
        "INSERT INTO media (id, wire_id, storage_url, outcome, changed) VALUES (?, ?, ?, 'pending', ?) "
        "ON CONFLICT (id) DO UPDATE SET wire_id = excluded.wire_id, storage_url = excluded.storage_url, "
        "outcome = 'pending', reason = NULL, attempts = 0, changed = excluded.changed",
        [(item.id, json.dumps(item.wire_id), item.storage_url, now) for item in media],
    )
    return dropped
