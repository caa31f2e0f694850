"""Batches of what waits at a moment: rows that come one by one, from callers who each want their own scores."""

import queue
import threading
from concurrent.futures import Future

import numpy as np

from engine.model.session import Session
from engine.types import Row, Scores

_Waiting = tuple[Row, "Future[Scores]"]


class Batches:
    """One thread that runs a session on what waits for it, up to a batch at once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="tagger", daemon=True)
        self._thread.start()

    def submit(self, row: Row) -> "Future[Scores]":
        """The scores, float32 [tags], of a row [height, width, 3], when they are there. Raises `RuntimeError`."""
        future: Future[Scores] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the tagger is closed")
            self._waiting.put((row, future))
        return future

    def close(self) -> None:
        """Run what waits, then end the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Wait for one row, and run it with those that wait behind it; False at the end."""
        batch: list[_Waiting] = []
        item = self._waiting.get()
        while item is not None:
            batch.append(item)
            if len(batch) == self._session.batch_size:
                break
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
        self._run(batch)
        return item is not None

    def _run(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            scores = self._session.run(np.stack([row for row, _ in batch]))
        except BaseException as error:  # whoever waits must hear of it, and the thread goes on for those that come
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), of_picture in zip(batch, scores, strict=True):
            future.set_result(of_picture)
