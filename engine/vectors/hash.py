"""A hash of what a picture looks like, equal or nearly so for resized and recompressed copies of it."""

import cv2
import numpy as np

from engine.types import Rgb

SIDE = 32
LOW = 8
"""Of the picture's 32 x 32 cosines the 8 x 8 lowest frequencies are taken: its rough shapes."""
COPY = 4
"""Hashes that differ in at most so many bits are of copies, or of pictures in which a detail was changed."""


def picture_hash(rgb: Rgb) -> int:
    """The 64-bit hash of a picture, uint8 [h, w, 3], h and w at least 1.

    The picture's brightness is reduced to 32 x 32 by averaging, and transformed by a cosine transform (DCT-II). A bit
    is set where one of the 64 lowest frequencies lies above their median; the constant one, the mean brightness, is
    left out of the median (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010).
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:LOW, :LOW].ravel()
    bits = np.packbits(low > np.median(low[1:]))
    return int.from_bytes(bits.tobytes(), "big")


def differing(one: int, other: int) -> int:
    """In how many bits two hashes differ, 0..64."""
    return (one ^ other).bit_count()
