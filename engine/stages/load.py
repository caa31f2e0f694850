"""The second stage: storage and decoding, from a medium to its row of a batch.

Two groups of threads with a channel between them that is bounded by bytes: readers wait for the network, so there are
more of them than cores; decoders compute, so there are as many as cores.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.config import RunConfig
from engine.errors import MediumError, NotAPicture, Unreadable
from engine.flow.channels import Channel, Meter, Room, Stop
from engine.flow.stage import Stage
from engine.pictures.decode import decode, probe
from engine.pictures.fit import fit_for
from engine.stages.batch import Batcher
from engine.stages.storage_watch import ReadWatch, RootWatch
from engine.stages.ticket import InFlight
from engine.storage.folder import Storage
from engine.types import FileState, Job, Media, Outcome, Preprocessing

SMALLEST = 256_000
"""Bytes that a file counts for at least: of tiny ones 256 MB would hold a whole catalogue, and its media with it."""

Failed = Callable[[Media, Outcome, str, FileState | None], None]
"""Called with the medium, failed or skipped, the reason, and the state of its file if there is one."""


class Loader:
    """Reads, decodes and fits; gives rows to the batcher, failures to `failed`, and tells `passed` of each success."""

    def __init__(
        self,
        storage: Storage,
        preprocessing: Preprocessing,
        config: RunConfig,
        batcher: Batcher,
        todo: Channel[Job],
        in_flight: InFlight,
        passed: Callable[[], None],
        failed: Failed,
        root: RootWatch,
        reads: ReadWatch,
        stop: Stop,
    ) -> None:
        self._root, self._reads = root, reads
        self._storage = storage
        self._fit = fit_for(preprocessing)
        self._shape = (preprocessing.height, preprocessing.width, 3)
        self._config = config
        self._batcher = batcher
        self._todo = todo
        self._in_flight = in_flight
        self._passed = passed
        self._failed = failed
        self.loaded: Channel[tuple[Media, bytes]] = Channel(
            config.read_ahead, stop, weight=lambda item: max(len(item[1]), SMALLEST)
        )
        # Decoded pictures share one budget, so that several 60 MP ones at once do not add up; one of the largest size
        # always passes.
        self._pixels = Room(config.max_pixels, stop)
        self.reading = Meter("read")
        self.decoding = Meter("decode")
        self.reading.depth = todo.__len__
        self.decoding.depth = self.loaded.__len__

    def read(self) -> None:
        """A reader's thread."""
        while True:
            job = self._todo.get(self.reading)
            away = self._root.away
            self._reads.begin(job.media)
            with self.reading.working():
                result = self._try_to_read(job.media.storage_url)
            if not self._reads.end():
                return  # given up meanwhile: the medium has failed, and another thread has taken this one's place
            if isinstance(result, bytes):
                self.loaded.put((job.media, result), self.reading)
            elif result.fleeting and self._root.wait_until_there(away, final=job.last_chance):
                self._todo.put_back(job)
            else:
                self._unreadable(job, result)

    def give_up_hanging(self, stage: Stage) -> None:
        """Fail reads that got no answer, and replace their threads; called now and then."""
        for media in self._reads.give_up(stage.replace):
            self._batcher.drop()
            self._failed(media, Outcome.FAILED, "the storage gave no answer in time (--read-timeout)", None)

    def _try_to_read(self, key: str) -> bytes | Unreadable:
        try:
            return self._storage.read(key, max_bytes=self._config.max_file_size)
        except Unreadable as error:
            return error

    def _unreadable(self, job: Job, error: Unreadable) -> None:
        if error.fleeting and not job.last_chance:
            if self._in_flight.wait_for_second_chance(job.media):
                self._batcher.drop()
            else:
                self._todo.put_back(replace(job, last_chance=True))  # too many wait: then it is now
            return
        self._batcher.drop()
        state = None if error.missing else self._storage.state(job.media.storage_url)
        self._failed(job.media, Outcome.FAILED, str(error), state)

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
                self._failed(media, outcome, str(error), self._storage.state(media.storage_url))
                continue
            self._passed()
            self._batcher.add(media, row, self.decoding)

    def _decode_into(self, row: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], data: bytes, name: str) -> None:
        header = probe(data, name)
        pixels = min(header.width * header.height, self._config.max_pixels)
        self._pixels.reserve(pixels, self.decoding)  # waiting for room is not being busy
        try:
            with self.decoding.working():
                self._fit(decode(data, name, max_pixels=self._config.max_pixels), row)
        finally:
            self._pixels.give_back(pixels)
