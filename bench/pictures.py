"""Pictures to measure with: patches of colour from large to small with sharp edges, and a little grain.

They compress like drawings do (0.3 to 0.5 bytes a pixel). The random model of `bench.full_model --keras`, whose
statistics come from similar pictures, gives them some dozens of tags at a threshold of 0.7.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from engine.types import Rgb

WEB = ((640, 480), (480, 640))  # 0.3 MP
LARGE = ((1600, 1250), (1500, 2000), (2400, 1650))  # 2, 3 and 4 MP
MIXED = (*WEB, (1000, 1400), (1920, 1080), *LARGE)
QUALITY = 90
CELLS = (2, 8, 32, 128)


def draw(width: int, height: int, seed: int) -> Rgb:
    """A picture of the given size; the same for the same seed."""
    rng = np.random.default_rng(seed)
    canvas = np.full((height, width, 3), 128, np.float32)
    for cells in CELLS:
        patches = rng.uniform(-60, 60, (cells, cells, 3)).astype(np.float32)
        canvas += cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST)
    grain = rng.normal(0, 3, (256, 256, 1)).astype(np.float32)
    canvas += np.tile(grain, (-(-height // 256), -(-width // 256), 1))[:height, :width]
    return np.clip(canvas, 0, 255).astype(np.uint8)


def jpeg(width: int, height: int, seed: int) -> bytes:
    """The drawing as a JPEG file."""
    encoded, data = cv2.imencode(".jpg", draw(width, height, seed), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not encoded:
        raise ValueError(f"no JPEG of {width} x {height}")
    return data.tobytes()


def write(folder: Path, count: int, sizes: Sequence[tuple[int, int]], *, png_every: int = 0) -> list[str]:
    """Write `count` pictures in these sizes, in turn, and return their names. Every `png_every`th is a PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for i in range(count):
        width, height = sizes[i % len(sizes)]
        as_png = png_every and i % png_every == png_every - 1
        names.append(f"{i:05}.{'png' if as_png else 'jpg'}")
        if as_png:
            cv2.imwrite(str(folder / names[-1]), draw(width, height, i))
        else:
            (folder / names[-1]).write_bytes(jpeg(width, height, i))
    return names
