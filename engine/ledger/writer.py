"""The one thread that writes to a SQLite file, with group commits.

Every change is a function of the connection. Whatever has queued up while the last commit was on its way to the disk
is done in the next transaction, so a slow disk (10-30 ms an fsync) costs latency, not throughput.
"""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from engine.errors import LedgerError
from engine.ledger.schema import connect, explain

Change = Callable[[sqlite3.Connection], object]


class Writer:
    """Runs changes in order in a thread of its own; each `Future` is done when its change is on the disk."""

    def __init__(self, path: Path, on_commit: Callable[[], None], on_error: Callable[[LedgerError], None]) -> None:
        self._path = path
        self._on_commit = on_commit
        self._on_error = on_error
        self._queue: SimpleQueue[tuple[Change, Future[None]] | None] = SimpleQueue()
        self._failed: LedgerError | None = None
        self._connection = connect(path)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, change: Change) -> Future[None]:
        future: Future[None] = Future()
        self._queue.put((change, future))
        return future

    def close(self) -> None:
        """Commit what is queued and end the thread."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        last = False
        while not last:
            group = [self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get())
            last = None in group
            changes = [item for item in group if item is not None]
            if changes:
                self._commit(changes)

    def _commit(self, changes: list[tuple[Change, Future[None]]]) -> None:
        try:
            if self._failed:
                raise self._failed
            self._connection.execute("BEGIN IMMEDIATE")
            for change, _ in changes:
                change(self._connection)
            self._connection.execute("COMMIT")
        except Exception as error:  # whatever it is: if the writer died silently, everybody would wait for ever
            self._give_up(error, [future for _, future in changes])
            return
        for _, future in changes:
            if future.set_running_or_notify_cancel():  # else cancelled: the change is made, only nobody waits
                future.set_result(None)
        self._on_commit()

    def _give_up(self, error: Exception, futures: list[Future[None]]) -> None:
        """A failed transaction ends the run: what follows could depend on what was not written."""
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # the disk itself may fail; closing drops the open transaction
                self._connection.execute("ROLLBACK")
        first = self._failed is None
        self._failed = error if isinstance(error, LedgerError) else explain(self._path, error)
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._failed)
        if first:
            self._on_error(self._failed)
