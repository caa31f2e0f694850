"""The session: a model that is loaded and ready to score batches.

`RecoveringSession` goes on where ONNX Runtime alone would fail: after "out of memory" it runs smaller parts, and a
batch whose scores are not finite (NaN, infinity) it computes again in fp32 on the CPU.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.errors import SessionError, first_line
from engine.model.cache import cache_folder
from engine.model.onnx_runtime import Ort, is_out_of_memory
from engine.model.runners import Pixels, Runner
from engine.types import Scores

log = logging.getLogger(__name__)


class Session(Protocol):
    """What the pipeline needs of a model. `run` may be called by several threads."""

    batch_size: int
    device: str
    precision: str

    def run(self, pixels: Pixels) -> Scores:
        """Scores float32 [n, tags] of a batch [n, height, width, 3]; features behind them, if they were asked for.

        Raises `SessionError`.
        """
        ...

    def terminate(self) -> None:
        """End a running `run` as soon as possible; it then raises."""
        ...


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How a session is to be made. The fields mean what they mean in RunConfig; `cache` is the folder of the caches.

    `features`: where the model gives feature vectors, each row of scores is followed by the picture's: float32
    [n, tags + features].
    """

    device: str = "auto"
    batch_size: int | None = None
    intra_op_threads: int | None = None
    vram_limit: int | None = None
    workspace: bool | None = None
    submitters: int = 1
    features: bool = False
    cache: Path = field(default_factory=cache_folder)


class MemoryMeter(Protocol):
    """Measures how much of a device's own memory the session takes.

    Attributes:
        peak_mb: the most that was seen, in MB (10^6 bytes).
        label: what was counted, in words.
    """

    @property
    def peak_mb(self) -> float: ...

    @property
    def label(self) -> str: ...

    def sample(self) -> None:
        """Look at the memory now. Called after each batch."""
        ...


@dataclass(frozen=True, slots=True)
class Placement:
    """A device's answer: this is how the model runs here.

    Attributes:
        runner: loads the model for so many pictures a batch; called again with fewer after out of memory.
        batch_size: pictures a batch to begin with.
        details: what is worth telling of the hardware, such as its name and free memory.
        memory_meter: for a device with memory of its own.
    """

    runner: Callable[[int], Runner]
    batch_size: int
    details: str = ""
    memory_meter: MemoryMeter | None = None


class RecoveringSession:
    """A model on a device that survives a lack of memory and scores that are not finite.

    Attributes:
        batch_size: pictures a batch. It stays the same: when memory runs out later, a batch runs in parts.
        dtype: of the pixels that the model takes.
        why: one line: the device and the reason for it.
    """

    def __init__(
        self,
        placement: Placement,
        *,
        shape: tuple[int, int],
        device: str,
        precision: str,
        why: str,
        run_options: Ort,
        fp32_on_cpu: Callable[[], Runner] | None = None,
        fp32_batch: int = 4,
    ) -> None:
        """Load the model; on other devices than the CPU, warm it up too. Raises `SessionError`, `ModelError`.

        `shape`: height and width of the model's input. `run_options`: those that the runners use. `fp32_on_cpu`: makes
        the runner for batches whose scores are not finite, None where there is nothing better; it gets `fp32_batch`
        pictures at once.
        """
        self.device, self.precision, self.why = device, precision, why
        self._placement, self._run_options = placement, run_options
        self._fp32_on_cpu, self._fp32_batch = fp32_on_cpu, fp32_batch
        self._lock = threading.Lock()
        first = placement.runner(placement.batch_size)
        self.dtype: np.dtype[Any] = first.dtype
        self._current: tuple[Runner | None, int] = first, placement.batch_size
        del first  # after out of memory nothing may hold the old runner
        self._fp32: Runner | None = None
        if device != "cpu":  # a GPU's first run loads kernels and chooses algorithms; the CPU's is like any other
            self._in_parts(np.zeros((placement.batch_size, *shape, 3), self.dtype))
        self.batch_size = self._current[1]

    @property
    def peak_vram_mb(self) -> float | None:
        """The most memory of the device that was seen in use, in MB (10^6 bytes); None without a meter."""
        return self._placement.memory_meter.peak_mb if self._placement.memory_meter else None

    @property
    def peak_vram_of(self) -> str | None:
        """What `peak_vram_mb` counts: `MemoryMeter.label`."""
        return self._placement.memory_meter.label if self._placement.memory_meter else None

    def run(self, pixels: Pixels) -> Scores:
        """Finite scores float32 [n, tags] of a batch [n, height, width, 3]. Raises `SessionError`."""
        scores = self._in_parts(pixels)
        return scores if np.isfinite(scores).all() else self._in_fp32(pixels)

    def terminate(self) -> None:
        """End every `run` that is under way, and each later one at once; they raise `SessionError`."""
        self._run_options.terminate = True

    def _in_parts(self, pixels: Pixels) -> Scores:
        """The scores of a batch, run in parts of the size that fits: one part, until memory runs out."""
        parts: list[Scores] = []
        row = 0
        while row < len(pixels):
            size, scores = self._attempt(pixels, row)
            if scores is None:
                self._halve(size)
                continue
            parts.append(scores)
            row += size
        if self._placement.memory_meter:
            self._placement.memory_meter.sample()
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _attempt(self, pixels: Pixels, row: int) -> tuple[int, Scores | None]:
        """The size that was tried, and the scores or None if memory ran out.

        The exception must not leave this function: its traceback holds the runner, whose memory is to be freed.
        """
        with self._lock:
            runner, size = self._current
        if runner is None:
            raise SessionError(f"out of memory on {self.device}")
        try:
            return size, runner(pixels[row : row + size])
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            if is_out_of_memory(error):
                return size, None
            raise SessionError(f"a batch failed on {self.device}: {first_line(error)}") from error

    def _halve(self, size: int) -> None:
        """Load the model again for half of `size`, unless another thread has done so: only that frees the memory."""
        with self._lock:
            if self._current[1] < size:
                return
            if size == 1:
                raise SessionError(
                    f"out of memory on {self.device} with a single picture: close what else uses it, or --device cpu"
                )
            log.warning("out of memory with %d pictures at once: going on with %d", size, size // 2)
            self._current = (None, size // 2)  # the old runner goes first: there is no room for both
            try:
                self._current = (self._placement.runner(size // 2), size // 2)
            except Exception as error:
                raise SessionError(
                    f"out of memory on {self.device}, and no room to begin again: {first_line(error)}"
                ) from None

    def _in_fp32(self, pixels: Pixels) -> Scores:
        """The scores of a batch in fp32 on the CPU. Raises `SessionError` if these are not finite either."""
        if self._fp32_on_cpu is None:
            cure = "convert it again" if self.precision == "fp32" else "convert it again with --precision fp32"
            raise SessionError(
                f"the model gives scores that are no numbers in {self.precision} on {self.device}: {cure}"
            )
        with self._lock:
            if self._fp32 is None:
                log.warning(
                    "%s on %s gave scores that are no numbers: such batches are computed again in fp32 on the CPU",
                    self.precision,
                    self.device,
                )
                self._fp32 = self._fp32_on_cpu()
        steps = range(0, len(pixels), self._fp32_batch)
        scores = np.concatenate([self._fp32(pixels[row : row + self._fp32_batch]) for row in steps])
        if not np.isfinite(scores).all():
            raise SessionError("the model gives scores that are no numbers, in fp32 too: convert it again")
        return scores
