"""The sink that keeps feature vectors, for similar pictures; see `engine.vectors`.

Its entries pass through the outbox as every sink's do: a kill loses none, and each picture that is done has its vector.
"""

import struct
import threading
from collections.abc import Callable, Mapping

import numpy as np

from engine.errors import LedgerError
from engine.flow.channels import Meter
from engine.ledger.ledger import Ledger
from engine.types import Tagged
from engine.vectors.store import Features, Of, Row, VectorStore, kept, vectors_of

SINK = "vectors"
"""The name of its entries in the outbox."""
_HEAD = struct.Struct("<Qd")  # the hash, the scale; the vector follows, a byte a number
_AT_ONCE = 500


class VectorSink:
    """Empties its part of a ledger's outbox into the file of vectors; one a run.

    A `Sink`: all methods may be called from any thread, and only `join` waits.
    """

    def __init__(self, ledger: Ledger, on_fatal: Callable[[BaseException], None] = lambda _: None) -> None:
        """`on_fatal`: is called with the error that ended it."""
        self.name = SINK
        self.meter = Meter(SINK)
        self._ledger, self._on_fatal = ledger, on_fatal
        self._changed = threading.Condition()
        self._more, self._draining, self._stopping = True, False, False
        self._thread = threading.Thread(target=self._work, name=SINK, daemon=True)

    def entry(self, tagged: Tagged) -> bytes | None:
        """The picture's hash and vector; None where the model gave none."""
        if tagged.features is None:
            return None
        row = kept(Features(tagged.media.id, tagged.hash or 0, tagged.features))
        return _HEAD.pack(row.hash, row.scale) + (b"" if row.kept is None else row.kept.tobytes())

    def figures(self) -> Mapping[str, int]:
        """Nothing that is counted in the summary."""
        return {}

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._tell(more=True)

    def drain(self) -> None:
        self._tell(draining=True)

    def stop(self) -> None:
        self._tell(stopping=True)

    def join(self, timeout: float | None = None) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _tell(self, *, more: bool = False, draining: bool = False, stopping: bool = False) -> None:
        with self._changed:
            self._more |= more
            self._draining |= draining
            self._stopping |= stopping
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            self._empty()
        except Exception as error:
            self._on_fatal(error)

    def _empty(self) -> None:
        store: VectorStore | None = None
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._more or self._draining or self._is_stopped())
                    # Read before the outbox is: what entered it before `drain` is then still found.
                    ending = self._draining
                    self._more = False
                while not self._is_stopped() and (items := self._ledger.outbox(SINK, -1, _AT_ONCE)):
                    rows = [_row(item.media.id, item.entry) for item in items]
                    store = store or self._open(rows[0])
                    with self.meter.working(items=len(rows)):
                        store.put_rows(rows)
                        self._ledger.delivered([item.seq for item in items]).result()
                if ending or self._is_stopped():
                    return
        finally:
            if store:
                store.close()

    def _is_stopped(self) -> bool:
        return self._stopping

    def _open(self, first: Row) -> VectorStore:
        """The file beside the ledger. Vectors of a model that the ledger has left are forgotten."""
        models, sha256 = self._ledger.models(), self._ledger.meta("model")
        if not models or sha256 is None or first.kept is None:
            raise LedgerError(f"the state file {self._ledger.path} does not say which model its vectors are of")
        of = Of(models[-1], sha256, len(first.kept))
        return VectorStore(vectors_of(self._ledger.path), of, anew=True)


def _row(media_id: int, entry: str | bytes) -> Row:
    data = entry.encode("latin-1") if isinstance(entry, str) else entry
    picture_hash, scale = _HEAD.unpack_from(data)
    return Row(media_id, picture_hash, scale, np.frombuffer(data, np.int8, offset=_HEAD.size))
