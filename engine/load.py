"""The second stage: storage and decoding, from a medium to its row of a batch.

Two groups of threads with a channel between them that is bounded by bytes: readers wait for the network, so there are
more of them than cores; decoders compute, so there are as many as cores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.batch import Batcher
from engine.decode import decode, probe
from engine.errors import MediumError, NotAPicture, Unreadable
from engine.fit import fit_for
from engine.flow import Channel, Meter, Room, Stop
from engine.inflight import InFlight
from engine.state import FileState
from engine.storage import Storage
from engine.types import Job, Media, Outcome, Preprocessing

Failed = Callable[[Media, Outcome, str, FileState | None], None]
"""Called with the medium, failed or skipped, the reason, and the state of its file if there is one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one file (bytes) and one picture (pixels)."""

    file_size: int
    pixels: int


class Loader:
    """Reads, decodes and fits; gives rows to the batcher and failures to `failed`."""

    def __init__(
        self,
        storage: Storage,
        preprocessing: Preprocessing,
        limits: Limits,
        read_ahead: int,
        batcher: Batcher,
        todo: Channel[Job],
        in_flight: InFlight,
        failed: Failed,
        stop: Stop,
    ) -> None:
        self._storage = storage
        self._fit = fit_for(preprocessing)
        self._shape = (preprocessing.height, preprocessing.width, 3)
        self._limits = limits
        self._batcher = batcher
        self._todo = todo
        self._in_flight = in_flight
        self._failed = failed
        self.loaded: Channel[tuple[Media, bytes]] = Channel(read_ahead, stop, weight=lambda item: len(item[1]))
        # Decoded pictures share one budget, so that several 60 MP ones at once do not add up; one of the largest size
        # always passes.
        self._pixels = Room(limits.pixels, stop)
        self.reading = Meter("read")
        self.decoding = Meter("decode")
        self.reading.depth = todo.__len__
        self.decoding.depth = self.loaded.__len__

    def read(self) -> None:
        """A reader's thread."""
        while True:
            job = self._todo.get(self.reading)
            try:
                with self.reading.working():
                    data = self._storage.read(job.media.storage_url, max_bytes=self._limits.file_size)
            except Unreadable as error:
                self._batcher.drop()
                if error.missing and not job.last_chance:
                    self._in_flight.wait_for_second_chance(job.media)
                else:
                    self._failed(job.media, Outcome.FAILED, str(error), None)
                continue
            self.loaded.put((job.media, data), self.reading)

    def decode(self) -> None:
        """A decoder's thread."""
        row = np.empty(self._shape, np.uint8)
        while True:
            media, data = self.loaded.get(self.decoding)
            try:
                self._decode_into(row, data, media.storage_url)
            except MediumError as error:
                self._batcher.drop()
                outcome = Outcome.SKIPPED if isinstance(error, NotAPicture) else Outcome.FAILED
                self._failed(media, outcome, str(error), None)
                continue
            self._batcher.add(media, row, self.decoding)

    def _decode_into(self, row: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], data: bytes, name: str) -> None:
        with self.decoding.working():
            header = probe(data, name)
            pixels = min(header.width * header.height, self._limits.pixels)
            self._pixels.reserve(pixels)
            try:
                self._fit(decode(data, name, max_pixels=self._limits.pixels), row)
            finally:
                self._pixels.give_back(pixels)
