"""Made-up pictures for measuring a model where there are no real ones."""

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.types import WHITE


def sample_pixels(count: int, height: int, width: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """A batch [count, height, width, 3] of a dtype in `WHITE`, the same every time.

    The pictures are made of 16x16 squares of random colours, so they have edges as well as even areas.
    """
    rng = np.random.default_rng(0)
    squares = (count, height // 16 + 1, width // 16 + 1, 3)
    colours = rng.integers(0, WHITE[dtype.name], squares, dtype, endpoint=True)
    return np.ascontiguousarray(colours.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width])
