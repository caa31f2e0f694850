"""The second stage: storage and decoding, from a medium to its row of a batch.

Two groups of threads with a channel between them that is bounded by bytes: readers wait for the network, so there are
more of them than cores; decoders compute, so there are as many as cores.
"""

import threading
from collections.abc import Callable

import numpy as np

from engine.config import WAITS, RunConfig, Waits
from engine.errors import Kind, MediumError, NotAPicture, Stopped, Unreadable
from engine.families.family import Family
from engine.flow.channels import Channel, Meter, Stop, WeightedSemaphore
from engine.pictures.decode import is_memory_shortage
from engine.stages.batch import Batcher
from engine.stages.storage_watch import ReadWatch, RootWatch, StormWatch
from engine.stages.ticket import Failed, Ticket
from engine.storage import Storage, known_state
from engine.types import Row
from engine.vectors.hash import picture_hash

Loaded = tuple[Ticket, bytes]
"""A medium and its whole file."""

SMALLEST = 256_000
"""Bytes that a file counts for at least in the read-ahead. Without it, the 256 MB would hold a whole catalogue of tiny
files, and the memory of their tickets would grow with the catalogue."""


def weight(loaded: Loaded) -> int:
    """What a file that was read counts for in the read-ahead, in bytes."""
    return max(len(loaded[1]), SMALLEST)


class Loader:
    """Reads, decodes and fits; gives rows to the batcher."""

    def __init__(
        self,
        storage: Storage,
        family: Family,
        todo: Channel[Ticket],
        loaded: Channel[Loaded],
        batcher: Batcher,
        reads: ReadWatch,
        root: RootWatch,
        storm: StormWatch,
        config: RunConfig,
        stop: Stop,
        say: Callable[[str], None] = lambda _: None,
        waits: Waits = WAITS,
        *,
        hashes: bool = False,
    ) -> None:
        """`hashes`: whether a ticket gets the hash of what its picture looks like."""
        self._hashes = hashes
        self._storage = storage
        self._family = family
        self._todo = todo
        self._loaded = loaded
        self._batcher = batcher
        self._reads = reads
        self._root = root
        self._storm = storm
        self._config = config
        self._stop = stop
        self._say, self._waits = say, waits
        self._alone = threading.Lock()  # held while a picture has the memory for itself
        self._memory_was_short = False
        # Decoded pictures share one budget of pixels, so that several of 60 MP at once do not add up. One larger than
        # all of it passes alone.
        self._pixels = WeightedSemaphore(config.max_pixels, stop)
        self.reading = Meter("read")
        self.decoding = Meter("decode")
        self.reading.depth = todo.__len__
        self.decoding.depth = loaded.__len__

    def read(self) -> None:
        """A reader's thread."""
        while self._read(self._todo.get(self.reading)):
            pass

    def _read(self, ticket: Ticket) -> bool:
        """Read one medium's file; False if the read was given up meanwhile, and with it this thread."""
        if ticket.failed:
            return self._look_at(ticket, ticket.failed)
        while True:
            away_before = self._root.away
            self._reads.begin(ticket)
            with self.reading.working():
                result = self._try_to_read(ticket.media.storage_url)
            if not self._reads.end():
                return False  # the medium has failed, and another thread has taken this one's place
            if isinstance(result, bytes):
                self._storm.passed()
                self._loaded.put((ticket, result), self.reading)
                return True
            if not self._is_worth_another_try(ticket, result, away_before):
                return True

    def _look_at(self, ticket: Ticket, failed: Failed) -> bool:
        """Whether the file of a medium that failed before is another now: one that is not there (or the share) is
        none."""
        self._reads.begin(ticket)
        with self.reading.working(items=0):
            state = known_state(self._storage, ticket.media.storage_url)
        if not self._reads.end():
            return False
        ticket.looked_at(replaced=state is not None and state != failed.file)
        return True

    def _try_to_read(self, key: str) -> bytes | Unreadable:
        try:
            with self._storage.open(key, max_bytes=self._config.max_file_size) as reading:
                return reading.whole(self._reads.progress)
        except Unreadable as error:  # a copy: the one that was raised holds its callers' variables, and so the ticket
            return Unreadable(str(error), error.kind, error.retry_after)
        except MemoryError:
            return Unreadable("not enough memory to read the file", Kind.TRANSIENT)

    def _is_worth_another_try(self, ticket: Ticket, error: Unreadable, away_before: int) -> bool:
        """After a failed read: True to read again now; else the ticket is settled, or waits for its second chance."""
        if error.kind is Kind.TRANSIENT and self._storm.wait_until_over(error):
            if self._stop.is_set():
                raise Stopped
            return True
        if error.fleeting:
            if self._root.wait_until_there(away_before, final=ticket.last_chance):
                if self._stop.is_set():
                    raise Stopped
                return True
            if not ticket.last_chance:
                if ticket.wait_for_second_chance():
                    return False
                ticket.last_chance = True  # too many wait: it has its last chance now
                return True
        lasting = error.kind in (Kind.REFUSED, Kind.DENIED)  # else the next run tries it by itself: no file is noted
        ticket.fail(str(error), known_state(self._storage, ticket.media.storage_url) if lasting else None)
        return False

    def decode(self) -> None:
        """A decoder's thread."""
        shape = self._family.preprocessing
        row = np.empty((shape.height, shape.width, 3), shape.dtype)
        while True:
            self._decode(row, *self._loaded.get(self.decoding))

    def _decode(self, row: Row, ticket: Ticket, data: bytes) -> None:
        key = ticket.media.storage_url
        try:
            with ticket.decoding():
                rgb_hash = self._decode_into(row, data, key)
        except NotAPicture as error:
            ticket.skip(str(error), known_state(self._storage, key))
        except MediumError as error:
            ticket.fail(str(error), known_state(self._storage, key))
        except MemoryError as error:
            ticket.fail(str(error))  # it is not the file's fault: without its state, the next run tries it again
        else:
            ticket.hash = rgb_hash
            self._batcher.add(ticket, row, self.decoding)

    def _decode_into(self, row: Row, data: bytes, key: str) -> int | None:
        with self._alone:
            pass  # wait while another picture needs all the memory
        try:
            pixels = min(self._family.pixels(data, key), self._config.max_pixels)
            return self._decode_sharing(pixels, row, data, key)
        except Exception as error:
            if not is_memory_shortage(error):
                raise
        return self._decode_alone(row, data, key)

    def _decode_alone(self, row: Row, data: bytes, key: str) -> int | None:
        """Memory was short: try again, with nothing else decoded meanwhile. Raises `MemoryError` in the end."""
        shortage = ""
        with self._alone:
            if not self._memory_was_short:
                self._memory_was_short = True
                self._say("memory is short: pictures wait for it and are decoded one at a time")
            for wait in self._waits.memory:
                if self._stop.event.wait(wait):
                    raise Stopped
                try:
                    return self._decode_sharing(self._config.max_pixels, row, data, key)
                except Exception as error:
                    if not is_memory_shortage(error):
                        raise
                    shortage = str(error)
        raise MemoryError(f"{shortage}, even alone and after waiting: free some memory, the next run tries it again")

    def _decode_sharing(self, pixels: int, row: Row, data: bytes, key: str) -> int | None:
        """Decode with a share of the memory for pictures; all of it is a share too. The picture's hash, if wanted."""
        self._pixels.acquire(pixels, self.decoding)  # waiting for its share is not being busy
        try:
            with self.decoding.working():
                rgb = self._family.decode(data, key, max_pixels=self._config.max_pixels)
                self._family.fit(rgb, row)
                return picture_hash(rgb) if self._hashes else None
        finally:
            self._pixels.release(pixels)
