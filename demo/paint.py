"""Paints a scene."""

import cv2
import numpy as np
import numpy.typing as npt

from demo import background
from demo.canvas import Canvas
from demo.figure import paint_cat, paint_girl
from demo.scene import Scene

_BEHIND = {
    "simple_background": background.simple,
    "night_sky": background.night,
    "outdoors": background.outdoors,
}


def paint(scene: Scene, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Draw a scene.

    The subject stands in the central square, so it stays whole in any shape; the background fills the rest.

    Args:
        scene: what to draw.
        width: pixels.
        height: pixels.

    Returns:
        uint8 [height, width, 3] RGB; the same for the same arguments.
    """
    # Outlines are a pixel wide at least: small pictures are drawn larger and shrunk, to keep them fine.
    finer = max(1, round(480 / min(width, height)))
    rng = np.random.default_rng(scene.seed)
    pixels = np.empty((height * finer, width * finer, 3), np.uint8)
    side = min(width, height) * finer * 0.91  # the rest is the frame's
    canvas = Canvas(pixels, ((width * finer - side) / 2, (height * finer - side) / 2), side)
    _BEHIND[scene.background](canvas, rng)
    subject = canvas.moved(rng.uniform(-0.04, 0.04), rng.uniform(-0.02, 0.01), rng.uniform(0.88, 0.96))
    if scene.subject == "girl":
        paint_girl(subject, scene.girl, rng)
    elif scene.subject == "cat":
        paint_cat(subject, rng)
    background.frame(canvas, scene.rating)
    if finer == 1:
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
