"""The ledger: which medium stands where, and the outbox of results that have not yet arrived where they go.

SQLite in WAL mode on a local disk. One thread writes (writer.py); any thread reads. A medium's results enter the outbox
in the same transaction that ends its tagging, one entry a sink, and leave it only after the sink's yes. So a kill at
any moment loses nothing that was computed and repeats at most the batches in flight.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from engine.errors import LedgerError
from engine.files import make_private
from engine.ledger.deaths import ALONE_FROM, UnderDecoding
from engine.ledger.kept import Judge, Keeping, Scorer, forget, forget_scorer, judge_again, put_scorer
from engine.ledger.schema import Known, LedgerView, OutboxItem, create, damaged, explained
from engine.ledger.writer import Writer
from engine.types import Entry, FileState, Media, Outcome, Tagged

__all__ = ["FileState", "Ledger", "OutboxItem"]

_LIST = "(SELECT value FROM json_each(?))"
"""A list as one parameter: the number of parameters is limited, the size of a page is not."""


class Ledger(LedgerView):
    """One state file, made if need be. Opening it locks it against a second run; use it as a context manager.

    Errors: `LedgerError` when the file is locked, damaged, read-only, or of another version. An error while writing
    also reaches `on_error`, for the futures of most changes are not waited for.
    """

    def __init__(self, path: Path, on_error: Callable[[LedgerError], None] = lambda _: None) -> None:
        self._on_commit: list[Callable[[], None]] = []
        self._on_settled: Callable[[int], None] = lambda _: None
        self._replaced: set[int] = set()  # media that became another file while this ledger is open
        self._keeping: Keeping | None = None  # what is kept of scores, if any are
        self._entered = False  # whether something entered the outbox since the last commit
        self.ended: Counter[Outcome] = Counter()  # media that became done or rejected while this ledger is open
        with ExitStack() as undo, explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path = path.resolve()  # by whatever links it is reached, the lock is the same
            self._lock_file = _lock(path)
            undo.callback(self._lock_file.close)
            make_private(path)
            create(path)
            super().__init__(path)
            undo.callback(super().close)
            self.identity = self.meta("identity") or ""
            if not self.identity:
                raise damaged(path, "it has no identity")
            self._under_decoding = UnderDecoding(path.with_name(path.name + ".decoding"))
            undo.callback(self._under_decoding.close)
            self._writer = Writer(path, self._committed, on_error)
            undo.callback(self._writer.close)
            self._deaths = self._count_deaths()
            self._file = path.stat()
            undo.pop_all()

    def close(self) -> None:
        """Commit what is queued and release the file."""
        self._writer.close()
        self._under_decoding.close()
        super().close()
        self._lock_file.close()

    def is_there(self) -> bool:
        """Whether the file that is open is still the one at its path: somebody may have deleted or replaced it."""
        try:
            return os.path.samestat(self._file, self.path.stat())
        except OSError:
            return False

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Call `wake` too, from the writer's thread, after each commit that put something into the outbox."""
        self._on_commit.append(wake)

    def on_settled(self, settled: Callable[[int], None]) -> None:
        """Call `settled` with the number of media whose place a commit freed, from the writer's thread.

        Nothing of them entered the outbox, or the last of it has left.
        """
        self._on_settled = settled

    def _committed(self) -> None:
        if self._entered:
            self._entered = False
            for wake in self._on_commit:
                wake()

    # What the ledger is for: settings that must not change between runs.

    def set_meta(self, values: Mapping[str, str]) -> None:
        rows = list(values.items())
        self._writer.submit(lambda c: _many(c, "INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)).result()

    # What the client of the media API asks of its `AddressBook`.

    def has_said_yes(self, address: str) -> bool:
        """Whether this address has ever said yes to this ledger."""
        return self.meta(_said_yes(address)) is not None

    def note_yes(self, address: str) -> None:
        """It has; nobody waits for this to be on the disk."""
        row = (_said_yes(address), "yes")
        self._writer.submit(lambda c: _many(c, "INSERT OR REPLACE INTO meta VALUES (?, ?)", [row]))

    # The catalogue side.

    def admit(self, page: Sequence[Media], again: Collection[Outcome] = ()) -> list[Media]:
        """Take in a page of the catalogue; return those of it that are still to be tagged, in order.

        Media at one of the outcomes `again` are tagged once more. An id with another version than before, or without
        versions another storageUrl, is another file: it becomes pending again, and records of the old file that were
        not yet posted are dropped. Another storageUrl with the same version is a file that was moved.
        """
        known = self.find(media.id for media in page)
        new = [media for media in page if media.id not in known or known[media.id].is_other_file(media)]
        told = [
            (m.version or known[m.id].version, m.storage_url, m.id)
            for m in page
            if m.id in known
            and not known[m.id].is_other_file(m)
            # An older engine did not keep the version, or the service is new to telling it; or the file was moved.
            and ((m.version and known[m.id].version is None) or known[m.id].storage_url != m.storage_url)
        ]
        if told:
            sql = "UPDATE media SET version = ?, storage_url = ? WHERE id = ?"
            self._writer.submit(lambda c: _many(c, sql, told)).result()
        if new:
            self._replaced.update(media.id for media in new if media.id in known)
            now = time.time()
            dropped = 0

            def change(connection: sqlite3.Connection) -> None:
                nonlocal dropped
                dropped = _admit(connection, new, now)

            self._settle(change, lambda: dropped).result()
        fresh = {media.id for media in new}
        once_more = [m for m in page if m.id not in fresh and known[m.id].outcome in again]
        if once_more:
            self.retry(once_more).result()
            fresh |= {media.id for media in once_more}
        return [m for m in page if m.id in fresh or known[m.id].outcome is Outcome.PENDING]

    def retry(self, media: Sequence[Media]) -> Future[None]:
        """Make these media pending again; what of them is in the outbox is dropped."""
        rows = [(time.time(), item.id) for item in media]
        dropped = 0

        def change(connection: sqlite3.Connection) -> None:
            nonlocal dropped
            dropped = _drop(connection, media)
            _many(connection, "UPDATE media SET outcome = 'pending', reason = NULL, changed = ? WHERE id = ?", rows)

        return self._settle(change, lambda: dropped)

    def name_model(self, name: str) -> None:
        """From here on this model gives the tags."""
        if self.models()[-1:] != (name,):
            self.set_meta(self._naming(name))

    def _naming(self, model: str) -> dict[str, str]:
        former = [name for name in self.models() if name != model]
        return {"models": json.dumps([*former, model], ensure_ascii=False)}

    def begin_again(self, fingerprint: Mapping[str, str], model: str) -> int:
        """Make all media pending but those that are no pictures, under a new fingerprint. How many there are.

        `model`: the name of the model that will give the tags.
        """
        meta = [*fingerprint.items(), *self._naming(model).items()]

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM outbox")
            connection.execute("DELETE FROM refused")
            forget_scorer(connection, fingerprint.get("model", ""))
            _many(connection, "INSERT OR REPLACE INTO meta VALUES (?, ?)", meta)
            connection.execute("UPDATE media SET outcome = 'pending', reason = NULL WHERE outcome <> 'skipped'")

        self._writer.submit(change).result()
        return self.counts()[Outcome.PENDING]

    def note_listed(self) -> None:
        """The whole catalogue has been listed."""
        self.set_meta({"listed": repr(time.time())})

    # Scores that are kept.

    def keep_scores(self, scorer: Scorer) -> None:
        """From here on `store` keeps this model's scores too. Its number in the ledger is found by its hashes."""
        self._writer.submit(lambda c: put_scorer(c, scorer)).result()
        same = (scorer.sha256, scorer.tags_sha256)
        [known] = [one for one in self.scorers() if (one.sha256, one.tags_sha256) == same]
        # What is kept from here on has the floor that was asked for; the ledger's says what is kept of all media.
        self._keeping = Keeping(known._replace(floor=scorer.floor))

    def judge_again(self, scorer: Scorer, judge: Judge, meta: Mapping[str, str], sink: str) -> int:
        """By the scores that are kept, put into the outbox what changes, and take in `meta`, in one transaction.

        Media that were tagged without scores become pending. How many there are. No sink may be running.
        """
        pending = 0

        def change(connection: sqlite3.Connection) -> None:
            nonlocal pending
            pending = judge_again(connection, scorer, judge, sink=sink, meta=meta, now=time.time())

        self._writer.submit(change).result()
        self.identity = self.meta("identity") or ""
        return pending

    # The tagging side.

    def store(self, tagged: Sequence[Tagged], entries: Mapping[str, Sequence[Entry | None]]) -> Future[None]:
        """A batch's results, in one transaction. `entries`: what goes to each sink, by its name, in the batch's order.

        A medium of which nothing goes anywhere is done. One whose file was replaced on the way stays pending.
        """
        now = time.time()
        waiting: set[int] = set()
        keeping = self._keeping
        kept = keeping.rows(tagged) if keeping else []

        def change(connection: sqlite3.Connection) -> None:
            other = self._replaced_on_the_way(connection, [item.media for item in tagged])
            rows = [
                (sink, item.media.id, entry)
                for sink, row in entries.items()
                for item, entry in zip(tagged, row, strict=True)
                if entry is not None and item.media.id not in other
            ]
            waiting.update(media_id for _, media_id, _ in rows)
            outcomes = [
                (Outcome.OUTBOX if item.media.id in waiting else Outcome.DONE, now, item.media.id)
                for item in tagged
                if item.media.id not in other
            ]
            _many(connection, "UPDATE media SET outcome = ?, reason = NULL, changed = ? WHERE id = ?", outcomes)
            _many(connection, "INSERT OR REPLACE INTO outbox (sink, media_id, entry) VALUES (?, ?, ?)", rows)
            if keeping:
                keeping.put(connection, [row for row in kept if row[0] not in other])
            self._entered = True
            self.ended[Outcome.DONE] += sum(outcome is Outcome.DONE for outcome, *_ in outcomes)
            lived = [(item.media.id,) for item in tagged if item.media.id in self._deaths] if self._deaths else []
            _many(connection, "DELETE FROM deaths WHERE media_id = ?", lived)
            for (media_id,) in lived:
                del self._deaths[media_id]

        return self._settle(change, lambda: len(tagged) - len(waiting))

    def _replaced_on_the_way(self, connection: sqlite3.Connection, media: Sequence[Media]) -> set[int]:
        """Those of these media of which the catalogue has told another file since they were admitted."""
        suspects = [item for item in media if item.id in self._replaced]
        return _other_files(connection, suspects) if suspects else set()

    def fail(self, media: Media, outcome: Outcome, reason: str, file: FileState | None = None) -> Future[None]:
        """A medium that was not tagged: failed or skipped, with the reason for the user."""
        row = (outcome, reason, *(file or (None, None)), time.time(), media.id)

        def change(connection: sqlite3.Connection) -> None:
            if self._replaced_on_the_way(connection, [media]):
                return
            _many(
                connection,
                "UPDATE media SET outcome = ?, reason = ?, file_size = ?, file_time = ?, changed = ?, "
                "attempts = attempts + 1 WHERE id = ?",
                [row],
            )
            # Tried again, on request or because its file is another, it gets one more try, alone.
            if self._deaths.get(media.id, 0) > ALONE_FROM:
                self._deaths[media.id] = ALONE_FROM
                connection.execute("UPDATE deaths SET count = ? WHERE media_id = ?", (ALONE_FROM, media.id))

        return self._settle(change, lambda: 1)

    def decoding(self, media: Media) -> AbstractContextManager[None]:
        """Around the decoding of a medium: if it kills the process, the next one knows which it was."""
        return self._under_decoding(media.id)

    def deaths(self, media: Media) -> int:
        """At how many deaths of the process this medium was being decoded."""
        return self._deaths.get(media.id, 0)

    def _count_deaths(self) -> dict[int, int]:
        """Count what was being decoded when the last process died; the deaths by id."""
        left = json.dumps(self._under_decoding.left)
        if self._under_decoding.left:
            sql = (
                f"INSERT INTO deaths SELECT id, 1 FROM media WHERE id IN {_LIST} "
                "ON CONFLICT (media_id) DO UPDATE SET count = count + 1"
            )
            self._writer.submit(lambda c: c.execute(sql, (left,))).result()
        self._under_decoding.begin()
        return dict(self._read("SELECT media_id, count FROM deaths", (), lambda *row: row))

    # The sinks' side.

    def delivered(self, seqs: Sequence[int], rejected: Sequence[tuple[int, str | None, str]] = ()) -> Future[None]:
        """A sink's yes: these entries leave the outbox. A medium of which none is left is done.

        `rejected` names what the yes left out: (seq, tag, reason), tag None for all of a medium's records.
        """
        now = time.time()
        whole = {seq: reason for seq, tag, reason in rejected if tag is None}
        leaving = json.dumps([*{*seqs, *whole}])
        left = 0

        def change(connection: sqlite3.Connection) -> None:
            nonlocal left
            _refuse(connection, [(seq, tag, reason) for seq, tag, reason in rejected if tag is not None])
            self.ended[Outcome.REJECTED] += _many(
                connection,
                "UPDATE media SET outcome = 'rejected', reason = ?, changed = ? "
                "WHERE id = (SELECT media_id FROM outbox WHERE seq = ?) AND outcome = 'outbox'",
                [(reason, now, seq) for seq, reason in whole.items()],
            )
            left_by = connection.execute(f"SELECT media_id FROM outbox WHERE seq IN {_LIST}", (leaving,)).fetchall()
            connection.execute(f"DELETE FROM outbox WHERE seq IN {_LIST}", (leaving,))
            ended = connection.execute(
                f"SELECT DISTINCT m.value FROM {_LIST} m WHERE m.value NOT IN (SELECT media_id FROM outbox)",
                (json.dumps([media_id for (media_id,) in left_by]),),
            ).fetchall()
            left = len(ended)
            self.ended[Outcome.DONE] += _many(
                connection,
                "UPDATE media SET outcome = 'done', changed = ? WHERE id = ? AND outcome = 'outbox'",
                [(now, media_id) for (media_id,) in ended],
            )

        return self._settle(change, lambda: left)

    def progress(self, sent: Mapping[int, int], refused: Sequence[tuple[int, str, str]] = ()) -> Future[None]:
        """Single mode: the API has answered the first records of these media, `sent` of each by its seq.

        `refused` names those of them that were given up: (seq, tag, reason).
        """

        def change(connection: sqlite3.Connection) -> None:
            _many(connection, "UPDATE outbox SET sent = ? WHERE seq = ?", [(count, seq) for seq, count in sent.items()])
            _refuse(connection, refused)

        return self._writer.submit(change)

    def _settle(self, change: Callable[[sqlite3.Connection], object], count: Callable[[], int]) -> Future[None]:
        """Submit a change after whose commit `count` media need no place in the outbox any more."""
        future = self._writer.submit(change)
        future.add_done_callback(lambda done: None if done.exception() else self._on_settled(count()))
        return future


def _lock(path: Path) -> sqlite3.Connection:
    """Hold the file for this process; the operating system lets go when the process dies, however it dies.

    A second SQLite file carries the lock, for an exclusive lock on the ledger itself would shut out `engine status`.
    """
    file = path.with_name(path.name + ".lock")
    make_private(file)
    connection = sqlite3.connect(file, timeout=0, check_same_thread=False)
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


def _refuse(connection: sqlite3.Connection, refused: Sequence[tuple[int, str, str]]) -> None:
    """Keep why single records were given up: (seq, tag, reason)."""
    _many(
        connection,
        "INSERT OR REPLACE INTO refused SELECT media_id, ?, ? FROM outbox WHERE seq = ?",
        [(tag, reason, seq) for seq, tag, reason in refused],
    )


def _said_yes(address: str) -> str:
    """The key in `meta`. Its query may hold a secret, so the address itself is not written."""
    return f"said yes: {hashlib.sha256(address.encode()).hexdigest()}"


def _admit(connection: sqlite3.Connection, media: Sequence[Media], now: float) -> int:
    """Make these media pending; the number of those whose old results left the outbox with it."""
    dropped = _drop(connection, media)
    _many(
        connection,
        "INSERT INTO media (id, wire_id, storage_url, version, outcome, changed) VALUES (?, ?, ?, ?, 'pending', ?) "
        "ON CONFLICT (id) DO UPDATE SET wire_id = excluded.wire_id, storage_url = excluded.storage_url, "
        "version = excluded.version, outcome = 'pending', reason = NULL, attempts = 0, changed = excluded.changed",
        [(item.id, json.dumps(item.wire_id), item.storage_url, item.version, now) for item in media],
    )
    return dropped


def _other_files(connection: sqlite3.Connection, media: Sequence[Media]) -> set[int]:
    """Those of these media of which the ledger knows another file now."""
    known = connection.execute(
        f"SELECT id, storage_url, outcome, version FROM media WHERE id IN {_LIST}",
        (json.dumps([item.id for item in media]),),
    )
    now = {row[0]: Known(row[1], Outcome(row[2]), row[3]) for row in known}
    return {item.id for item in media if item.id in now and now[item.id].is_other_file(item)}


def _drop(connection: sqlite3.Connection, media: Sequence[Media]) -> int:
    """Forget what is kept of these media, in the outbox too; the number of those of which something was there."""
    ids = json.dumps([item.id for item in media])
    sql = f"SELECT count(DISTINCT media_id) FROM outbox WHERE media_id IN {_LIST}"
    dropped = int(connection.execute(sql, (ids,)).fetchone()[0])
    connection.execute(f"DELETE FROM outbox WHERE media_id IN {_LIST}", (ids,))
    forget(connection, ids)
    return dropped
