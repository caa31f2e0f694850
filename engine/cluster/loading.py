"""On a node, in a task: a block of media becomes rows. The reading and decoding are the loader's, as on one machine.

The loader lives as long as the worker process: its threads and its knowledge of the storage serve block after block.
What it would do with a ticket, it does here with a claim of the ticket, whose end is written down for the run.

A storage that hangs, fails read after read or is away makes the loader wait, and say so. Here that ends the block: the
run hears of it, asks this node later how its storage is, and has what is left of the block done elsewhere.
"""

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from engine.cluster.messages import (
    Again,
    Failure,
    Fitted,
    Found,
    Item,
    Loaded,
    LookedAt,
    Rows,
    Skipped,
    Span,
    Work,
    plain_errors,
)
from engine.config import WAITS, Waits
from engine.families import family_of
from engine.flow.channels import Channel, Meter, Stop
from engine.flow.stage import Stage
from engine.machine import return_large_blocks
from engine.stages.load import Loader
from engine.stages.storage_watch import ReadWatch, RootWatch, StormWatch
from engine.types import FileState, Row

READERS = 4
"""Files that a worker reads at once: it decodes one at a time, and there is a worker for each core."""


class Claim:
    """Stands for a ticket of the run: `engine.stages.ticket.Claim`."""

    def __init__(self, block: "_Block", index: int, item: Item) -> None:
        self.media, self.last_chance, self.failed = item
        self.hash: int | None = None
        self._block, self._index = block, index

    def add(self, row: Row) -> None:
        """Copy its row into the block's."""
        self._block.add(self._index, row, self.hash)

    def in_batch(self) -> None:
        """`add` has done it."""

    def wait_for_second_chance(self) -> bool:
        self._block.end(self._index, Again())
        return True

    def fail(self, reason: str, file: FileState | None = None) -> None:
        self._block.end(self._index, Failure(reason, file))

    def skip(self, reason: str, file: FileState | None = None) -> None:
        self._block.end(self._index, Skipped(reason, file))

    def looked_at(self, *, replaced: bool) -> None:
        self._block.end(self._index, LookedAt(replaced))

    def decoding(self) -> AbstractContextManager[None]:
        """A picture that kills this process is known to the run by its block."""
        return nullcontext()


class _Block:
    """What became of each medium. A claim that ends after the block was given up ends unheard."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.found: list[Found | None] = [None] * len(rows)
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._filled = 0
        self._left = len(rows)

    def add(self, index: int, row: Row, its_hash: int | None) -> None:
        with self._lock:
            if self.over.is_set():
                return
            at = self._filled
            self._filled += 1
        self.rows[at] = row
        self.end(index, Fitted(at, its_hash))

    def end(self, index: int, found: Found) -> None:
        with self._lock:
            if self.over.is_set():
                return
            self.found[index] = found
            self._left -= 1
            if not self._left:
                self.over.set()

    def give_up(self) -> None:
        """End the block with what there is."""
        with self._lock:
            self.over.set()

    def close(self) -> tuple[list[Found | None], Rows]:
        """What was found, and the rows of those that were fitted, without holes."""
        with self._lock:
            self.over.set()
            kept = [found.row for found in self.found if isinstance(found, Fitted)]
            if len(kept) == self._filled:
                return self.found, self.rows[: self._filled]
            place = {row: at for at, row in enumerate(kept)}  # one was still being copied
            found = [one._replace(row=place[one.row]) if isinstance(one, Fitted) else one for one in self.found]
            return found, self.rows[kept]


class Loading:
    """A loader and what it needs, for one run on one worker. One block at a time."""

    def __init__(self, work: Work, waits: Waits = WAITS) -> None:
        """Raises as `Work.storage`."""
        return_large_blocks()
        storage, shape = work.storage(), work.preprocessing
        config = work.config.model_copy(update={"read_threads": work.config.read_threads or READERS})
        readers = config.read_threads or READERS
        self._shape = shape
        self._waits = waits
        self._block: _Block | None = None
        self._trouble: str | None = None
        self._said: list[str] = []
        self.stop = Stop()
        self._todo: Channel[Claim] = Channel(1 << 30, self.stop)
        self._loader = Loader(
            storage=storage,
            family=family_of(shape),
            todo=self._todo,
            batcher=self,
            reads=ReadWatch(1.25 * config.read_timeout, 4 * readers, storage, self._suffers, waits),
            root=RootWatch(storage, self.stop, self._suffers, waits, many=max(4, readers)),
            storm=StormWatch(max(4, readers), self.stop, self._suffers, waits),
            config=config,
            stop=self.stop,
            say=self._said.append,
            waits=waits,
            hashes=work.hashes,
        )
        self._reading = Stage(
            self._loader.reading, self._loader.most, self._loader.read, self.stop, at_end=self._loader.loaded.close
        )
        self._decoding = Stage(self._loader.decoding, 1, self._loader.decode, self.stop)
        self._spans = Span(), Span()
        self.stop.on_stop(self._give_up)
        self._reading.start()
        self._decoding.start()

    def add(self, ticket: Claim, row: Row, meter: Meter | None = None) -> None:
        """What the loader takes for its batcher."""
        ticket.add(row)

    def load(self, items: Sequence[Item]) -> tuple[Loaded, Rows]:
        """Read, decode and fit. Raises `EngineError` where this node cannot go on, and what its threads died of."""
        if not items:
            raise ValueError("a block without media")
        shape = self._shape
        block = self._block = _Block(np.empty((len(items), shape.height, shape.width, 3), shape.dtype))
        self._trouble = None
        for index, item in enumerate(items):
            self._todo.put(Claim(block, index, item))
        while not block.over.wait(self._waits.tick):
            self._loader.give_up(replace=self._reading.replace)
        if self.stop.error:
            raise self.stop.error
        found, rows = block.close()
        said, self._said[:] = tuple(self._said), ()
        reading, decoding = self._since()
        return Loaded(found, reading, decoding, self._trouble, said), rows

    def _suffers(self, sentence: str) -> None:
        self._trouble = sentence
        self._give_up()

    def _give_up(self) -> None:
        if self._block:
            self._block.give_up()

    def _since(self) -> tuple[Span, Span]:
        """What both stages did since the last block."""
        before, self._spans = self._spans, (_span(self._loader.reading), _span(self._loader.decoding))
        reading, decoding = (
            Span(*(new - old for new, old in zip(now, then, strict=True)))  # type: ignore[arg-type]
            for now, then in zip(self._spans, before, strict=True)
        )
        return reading, decoding


def _span(meter: Meter) -> Span:
    return Span(meter.busy, meter.waiting_in, meter.waiting_out, meter.items)


_of_this_process: tuple[str, Loading] | None = None


@plain_errors
def load_block(work: Work, items: Sequence[Item]) -> tuple[Loaded, Rows]:
    """The task. Raises `EngineError` where this node cannot go on."""
    global _of_this_process
    if _of_this_process is None or _of_this_process[0] != work.run:
        if _of_this_process:
            _of_this_process[1].stop.set()
        _of_this_process = work.run, Loading(work)
    try:
        return _of_this_process[1].load(items)
    except BaseException:
        _of_this_process = None  # the next block begins anew
        raise
