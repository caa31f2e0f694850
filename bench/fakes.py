"""What stands in for the slow ends of the pipeline, so that the pipeline itself can be measured."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.delivery.entries import entry
from engine.families.family import Family
from engine.flow.channels import Meter
from engine.model.runners import Pixels
from engine.storage import Reading, open_storage
from engine.types import FileState, Media, Rgb, Row, Scores, Tagged

TAGS = tuple(f"tag_{i}" for i in range(100))
CATEGORIES = ("General",) * len(TAGS)
_BLANK: Rgb = np.zeros((16, 16, 3), np.uint8)
TAGGED = 10
"""Tags above the threshold in each picture."""


class Pictures:
    """A catalogue of `count` media that share a few files, in turn."""

    def __init__(self, names: Sequence[str], count: int) -> None:
        self._names, self._count = names, count

    def segment(self, start: int, limit: int) -> list[Media]:
        ids = range(max(1, start), min(max(1, start) + limit, self._count + 1))
        return [Media(i, self._names[i % len(self._names)], i) for i in ids]


class DistantFolder:
    """A folder whose every read takes `latency_s` longer, as over a network."""

    def __init__(self, folder: Path, latency_s: float = 0.0) -> None:
        self._folder, self._latency_s = open_storage(str(folder)), latency_s

    def open(self, key: str, *, max_bytes: int) -> Reading:
        if self._latency_s:
            time.sleep(self._latency_s)
        return self._folder.open(key, max_bytes=max_bytes)

    def state(self, key: str) -> FileState:
        return self._folder.state(key)

    def check(self) -> None:
        pass


class BlankFamily(Family):
    """Takes every file for a blank picture and does nothing with it: what is left is the flow itself."""

    def pixels(self, data: bytes, key: str) -> int:
        return self.preprocessing.height * self.preprocessing.width

    def decode(self, data: bytes, key: str, *, max_pixels: int) -> Rgb:
        return _BLANK

    def fit(self, rgb: Rgb, row: Row) -> None:
        """Nothing to do."""


class Outbox:
    """A sink that is away: what goes to the media API enters the outbox, and nothing leaves it."""

    name = "media API"

    def __init__(self) -> None:
        self.meter = Meter("deliver")

    def entry(self, tagged: Tagged) -> str | None:
        return entry(tagged)

    def figures(self) -> Mapping[str, int]:
        return {}

    def start(self) -> None:
        """Nothing to begin."""

    def wake(self) -> None:
        """Nothing to do."""

    def drain(self) -> None:
        """Nothing is waited for."""

    def stop(self) -> None:
        """Nothing to end."""

    def join(self, timeout: float | None = None) -> bool:
        return True


class PacedSession:
    """Takes `seconds` a batch without using the CPU, as a GPU would; 0 is the null session."""

    device, precision = "none", "none"

    def __init__(self, batch_size: int, seconds: float = 0.0, row: Scores | None = None) -> None:
        """`row`: the scores of each picture; by default those of 100 tags, of which 10 are above the threshold."""
        self.batch_size, self._seconds = batch_size, seconds
        if row is None:
            row = np.linspace(0.0, 0.4, len(TAGS), dtype=np.float32)
            row[:TAGGED] = 0.9
        self._scores = np.tile(row, (batch_size, 1))

    def run(self, pixels: Pixels) -> Scores:
        if self._seconds:
            time.sleep(self._seconds)
        return self._scores[: len(pixels)]

    def terminate(self) -> None:
        """Nothing to end."""
