"""A session that helps itself: out of memory, smaller batches; scores that are no numbers, the same batch in fp32."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import SessionError
from engine.model.devices.nvml import VramMeter
from engine.model.distribution import Ort, first_line, is_out_of_memory
from engine.model.runners import Runner
from engine.types import Scores

log = logging.getLogger(__name__)

SPARE_BATCH = 4
"""Pictures at once in fp32 on the CPU: see session.CPU_BATCH."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is made with.

    Attributes:
        runner: makes ONNX Runtime's session for so many pictures a batch; called again after out of memory.
        run_options: shared by all runs, so that one flag ends them.
        why: the device and the reason for it, in one line.
        spare: fp32 on the CPU, for batches whose scores are no numbers; None where there is nothing better.
    """

    runner: Callable[[int], Runner]
    run_options: Ort
    batch_size: int
    device: str
    precision: str
    why: str
    spare: Callable[[], Runner] | None = None
    vram: VramMeter | None = None


class OrtSession:
    """A model folder's ONNX file in ONNX Runtime, that helps itself: less memory, smaller batches; NaN, fp32.

    Attributes:
        batch_size: pictures a batch, fixed when it was opened; after out of memory they run in parts.
        why: one line on the device taken and the reason.
    """

    def __init__(self, opening: Opening, shape: tuple[int, int]) -> None:
        """Opens and warms up with black pictures of `shape` (height, width). Raises `SessionError`, `ModelError`."""
        self.device, self.precision, self.why = opening.device, opening.precision, opening.why
        self._opening = opening
        self._lock = threading.Lock()
        self._at: tuple[Runner | None, int] = (opening.runner(opening.batch_size), opening.batch_size)
        self._spare: Runner | None = None
        if (
            opening.device != "cpu"
        ):  # the first run loads kernels and chooses algorithms; on the CPU it is like any other
            self._in_parts(np.zeros((opening.batch_size, *shape, 3), np.uint8))
        self.batch_size = self._at[1]

    @property
    def peak_vram_mb(self) -> float | None:
        """The most VRAM seen in MB, as `VramMeter` counts it; None without a GPU."""
        return self._opening.vram.peak_mb if self._opening.vram else None

    @property
    def peak_vram_of(self) -> str | None:
        """Whose VRAM that is: `VramMeter.label`."""
        return self._opening.vram.label if self._opening.vram else None

    def run(self, pixels: npt.NDArray[np.uint8]) -> Scores:
        scores = self._in_parts(pixels)
        return scores if np.isfinite(scores).all() else self._again(pixels)

    def terminate(self) -> None:
        self._opening.run_options.terminate = True

    def _in_parts(self, pixels: npt.NDArray[np.uint8]) -> Scores:
        """A batch at the size that fits: one part, until memory ran out."""
        parts: list[Scores] = []
        row = 0
        while row < len(pixels):
            size, scores = self._attempt(pixels, row)
            if scores is None:
                self._halve(size)
                continue
            parts.append(scores)
            row += size
        if self._opening.vram:
            self._opening.vram.sample()
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _attempt(self, pixels: npt.NDArray[np.uint8], row: int) -> tuple[int, Scores | None]:
        """The size tried and the scores; None if memory ran out. The exception ends here: it holds the session."""
        with self._lock:
            runner, size = self._at
        if runner is None:
            raise SessionError(f"out of memory on {self.device}")
        try:
            return size, runner(pixels[row : row + size])
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            if is_out_of_memory(error):
                return size, None
            raise SessionError(f"ONNX Runtime failed on a batch: {first_line(error)}") from error

    def _halve(self, size: int) -> None:
        """Go on with half the batch, unless another thread has seen to it already. A new session frees the arena."""
        with self._lock:
            if self._at[1] < size:
                return
            if size == 1:
                raise SessionError(
                    f"out of memory on {self.device} with a single picture: close what else uses it, or --device cpu"
                )
            log.warning("out of memory with %d pictures at once: going on with %d", size, size // 2)
            self._at = (None, size // 2)  # dropped before the next one is made: there is no room for both
            try:
                self._at = (self._opening.runner(size // 2), size // 2)
            except Exception as error:
                raise SessionError(
                    f"out of memory on {self.device}, and no room to begin again: {first_line(error)}"
                ) from None

    def _again(self, pixels: npt.NDArray[np.uint8]) -> Scores:
        """A batch whose scores are no numbers, in fp32 on the CPU. Raises `SessionError` if that is no better."""
        if self._opening.spare:
            with self._lock:
                if self._spare is None:
                    log.warning(
                        "%s on %s gave scores that are no numbers: such batches are computed again in fp32 on the CPU",
                        self.precision,
                        self.device,
                    )
                    self._spare = self._opening.spare()
            steps = range(0, len(pixels), SPARE_BATCH)
            scores = np.concatenate([self._spare(pixels[row : row + SPARE_BATCH]) for row in steps])
            if np.isfinite(scores).all():
                return scores
            raise SessionError("the model gives scores that are no numbers, in fp32 too: convert it again")
        cure = "convert it again" if self.precision == "fp32" else "convert it again with --precision fp32"
        raise SessionError(f"the model gives scores that are no numbers in {self.precision} on {self.device}: {cure}")
