"""The second stage: storage and decoding, from a medium to its row of a batch.

Two groups of threads with a channel between them: readers wait for the network, so there are more of them than cores,
and their number follows what pays; decoders compute, so there are as many as cores. The bytes of all files that are
read, wait or are decoded are bounded.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from engine.config import WAITS, RunConfig, Waits
from engine.errors import Kind, MediumError, NotAPicture, Stopped, Unreadable
from engine.families.family import Family
from engine.flow.channels import Channel, Meter, Stop, WeightedSemaphore
from engine.pictures.decode import is_memory_shortage
from engine.pictures.sniff import sniff
from engine.stages.readers import FIRST, MOST, Readers
from engine.stages.storage_watch import ReadWatch, RootWatch, StormWatch, state_within
from engine.stages.ticket import Claim, Failed
from engine.storage import Storage, known_state
from engine.types import FileState, Row
from engine.vectors.hash import picture_hash

SMALLEST = 256_000
"""Bytes that a file counts for at least in the read-ahead. Without it, the 256 MB would hold a whole catalogue of tiny
files, and the memory of their tickets would grow with the catalogue."""


C = TypeVar("C", bound=Claim)
C_contra = TypeVar("C_contra", bound=Claim, contravariant=True)


class Loaded(NamedTuple, Generic[C]):
    """A medium and its whole file, for which `share` bytes of the read-ahead are taken."""

    ticket: C
    data: bytes
    share: int


class Rows(Protocol[C_contra]):
    """Where fitted pictures go to: the batcher."""

    def add(self, ticket: C_contra, row: Row, meter: Meter | None = None) -> None:
        """Copy `row`, and tell the ticket that it is `in_batch`."""
        ...


class Loader(Generic[C]):
    """Reads, decodes and fits; gives rows to the batcher."""

    def __init__(
        self,
        storage: Storage,
        family: Family,
        todo: Channel[C],
        batcher: Rows[C],
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
        self._batcher = batcher
        self._reads = reads
        self._root = root
        self._storm = storm
        self._config = config
        self._stop = stop
        self._say, self._waits = say, waits
        self._alone = threading.Lock()  # held while a picture has the memory for itself
        self._memory_was_short = False
        # A file has its share of the read-ahead from when its size is known until it is decoded. One larger than all of
        # it passes alone. So the channel needs no bound of its own: it never holds more files than have a share.
        self._read_ahead = WeightedSemaphore(config.read_ahead, stop)
        self.loaded: Channel[Loaded[C]] = Channel(max(1, config.read_ahead // SMALLEST), stop)
        self._readers = None if config.read_threads else Readers()
        self.most = config.read_threads or MOST
        self._at_once = WeightedSemaphore(config.read_threads or FIRST, stop)
        self._waited = (
            time.monotonic(),
            0.0,
            0.0,
        )  # of the last window: its end, seconds the decoders and readers waited
        # Decoded pictures share one budget of pixels, so that several of 60 MP at once do not add up. One larger than
        # all of it passes alone.
        self._pixels = WeightedSemaphore(config.max_pixels, stop)
        self.reading = Meter("read")
        self.decoding = Meter("decode")
        self.reading.depth = todo.__len__
        self.decoding.depth = self.loaded.__len__
        self.reading.adapts = self._readers is not None

    def read(self) -> None:
        """A reader's thread. There are as many as may ever read at once; those above the present number wait."""
        mine = True
        while mine:
            self._at_once.acquire()
            try:
                while mine and not self._at_once.exceeded:
                    mine = self._read(self._todo.get(self.reading))
            finally:
                if mine:
                    self._at_once.release()

    def give_up(self, replace: Callable[[threading.Thread], None]) -> None:
        """Give up the reads that hang, and let other threads take the places of theirs; called a few times a second."""
        self._reads.look()
        for read in self._reads.give_up(replace):
            self._at_once.release()
            self._read_ahead.release(read.share)
            self._troubled()
            if not (read.hung_with_all and not read.ticket.last_chance and read.ticket.wait_for_second_chance()):
                read.ticket.fail("the storage gave no answer in time (--read-timeout)")

    def adapt(self) -> None:
        """Read more or fewer files at once, if the number is not fixed; called a few times a second."""
        if self._readers is None:
            self.reading.threads = self.most
            return
        if self._readers.window_is_over:
            before, now = self._waited, time.monotonic()
            self._waited = (now, self.decoding.waiting_in, self.reading.waiting_in)
            lasted, starved, idle = (new - old for new, old in zip(self._waited, before, strict=True))
            number = self._readers.number
            self._at_once.resize(
                self._readers.adapt(
                    starved=starved / (max(1, self.decoding.threads) * lasted), idle=idle / (number * lasted)
                )
            )
        self.reading.threads = self._readers.number

    def _troubled(self) -> None:
        """A read failed for the moment, or was given up."""
        self.reading.setbacks += 1
        if self._readers:
            self._readers.failed()

    def _read(self, ticket: C) -> bool:
        """Read one medium's file; False if the read was given up meanwhile, and with it this thread."""
        if ticket.failed:
            return self._look_at(ticket, ticket.failed)
        while True:
            turns_before, asked = self._root.turns, time.monotonic()
            result = self._try_to_read(ticket)
            if result is None:
                return False  # another thread has taken this one's place
            if isinstance(result, Unreadable):
                if self._is_worth_another_try(ticket, result, turns_before):
                    continue
                return True
            self._storm.passed(asked)
            self._root.passed(ticket.media.storage_url)
            if isinstance(result, Loaded):
                if self._readers:
                    self._readers.read(result.share)
                self.loaded.put(result, self.reading)
            else:
                self._refuse(ticket, result)
            return True

    def _look_at(self, ticket: C, failed: Failed) -> bool:
        """Whether the file of a medium that failed before is another now: one that is not there (or the share) is
        none."""
        self._reads.begin(ticket)
        with self.reading.working(items=0):
            state = known_state(self._storage, ticket.media.storage_url)
        if not self._reads.end():
            return False
        ticket.looked_at(replaced=state is not None and state != failed.file)
        return True

    def _try_to_read(self, ticket: C) -> Loaded[C] | MediumError | None:
        """The file, with its share of the read-ahead; or why it is not had; None if the read was given up meanwhile."""
        key = ticket.media.storage_url
        share = 0
        result: Loaded[C] | MediumError
        self._reads.begin(ticket)
        try:
            with self.reading.working():
                reading = self._storage.open(key, max_bytes=self._config.max_file_size)
            with reading:
                with self.reading.working(items=0):
                    sniff(reading.head(), key)  # what is no picture is not read on
                if not self._reads.end():
                    return None
                size = max(reading.size, SMALLEST)
                self._read_ahead.acquire(size, self.reading)  # outside the watch: the storage is not waited for
                share = size
                self._reads.begin(ticket, share)
                with self.reading.working(items=0):
                    result = Loaded(ticket, reading.whole(self._reads.progress), share)
        except Unreadable as error:  # a copy: the one that was raised holds its callers' variables, and so the ticket
            result = Unreadable(str(error), error.kind, error.retry_after)
        except MediumError as error:
            result = type(error)(str(error))
        except MemoryError:
            result = Unreadable("not enough memory to read the file", Kind.TRANSIENT)
        nothing_came = isinstance(result, Unreadable) and result.kind is Kind.TRANSIENT
        if not self._reads.end(answered=not nothing_came):
            return None  # and its share was given back
        if not isinstance(result, Loaded):
            self._read_ahead.release(share)
        return result

    def _refuse(self, ticket: C, error: MediumError) -> None:
        """Settle a medium whose file is no picture, or a broken one."""
        state = self._state(ticket)
        if isinstance(error, NotAPicture):
            ticket.skip(str(error), state)
        else:
            ticket.fail(str(error), state)

    def _state(self, ticket: C) -> FileState | None:
        return state_within(self._storage, ticket.media.storage_url, self._waits.silence)

    def _is_worth_another_try(self, ticket: C, error: Unreadable, turns_before: int) -> bool:
        """After a failed read: True to read again now; else the ticket is settled, or waits for its second chance."""
        if error.kind is Kind.TRANSIENT:
            self._troubled()
            if self._reads.all_hang and not self._stop.event.wait(self._waits.storm):
                return True
            if self._storm.wait_until_over(error):
                if self._stop.is_set():
                    raise Stopped
                return True
        if error.fleeting:
            # One failure for the moment says nothing of the root, and many are a storm.
            looks = ticket.last_chance or error.kind is not Kind.TRANSIENT
            if looks and self._root.wait_until_there(
                turns_before, error, ticket.media.storage_url, final=ticket.last_chance
            ):
                if self._stop.is_set():
                    raise Stopped
                return True
            if not ticket.last_chance:
                if ticket.wait_for_second_chance():
                    return False
                ticket.last_chance = True  # too many wait: it has its last chance now
                return True
        lasting = error.kind in (Kind.REFUSED, Kind.DENIED)  # else the next run tries it by itself: no file is noted
        ticket.fail(str(error), self._state(ticket) if lasting else None)
        return False

    def decode(self) -> None:
        """A decoder's thread."""
        shape = self._family.preprocessing
        row = np.empty((shape.height, shape.width, 3), shape.dtype)
        while True:
            self._decode(row, *self.loaded.get(self.decoding))

    def _decode(self, row: Row, ticket: C, data: bytes, share: int) -> None:
        try:
            with ticket.decoding():
                ticket.hash = self._decode_into(row, data, ticket.media.storage_url)
        except MediumError as error:
            self._refuse(ticket, error)
        except MemoryError as error:
            ticket.fail(str(error))  # it is not the file's fault: without its state, the next run tries it again
        else:
            self._batcher.add(ticket, row, self.decoding)
        finally:
            self._read_ahead.release(share)

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
