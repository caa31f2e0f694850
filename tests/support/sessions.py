"""Sessions without a model: the only fakes, besides the clock, that the tests allow themselves."""

import threading

import numpy as np

from engine.types import WHITE

TAGS = ("dark", "bright", "red", "green", "blue")
CATEGORIES = ("General",) * len(TAGS)


class ColourSession:
    """Scores a picture by its colours, so that each picture's tags can be told from its pixels.

    `dark`/`bright` by the mean, and the three channels' means; all in 0..1.
    """

    def __init__(self, batch_size: int = 4) -> None:
        self.batch_size = batch_size
        self.device = "fake"
        self.precision = "fp32"
        self.batches: list[int] = []
        self.terminated = threading.Event()

    def run(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.shape[0] == self.batch_size and pixels.dtype.name in WHITE
        self.batches.append(len(pixels))
        channels = pixels.reshape(len(pixels), -1, 3).mean(axis=1) / WHITE[pixels.dtype.name]
        mean = channels.mean(axis=1)
        return np.column_stack([1 - mean, mean, channels]).astype(np.float32)

    def terminate(self) -> None:
        self.terminated.set()
