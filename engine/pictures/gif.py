"""GIF as TensorFlow paints it (`gif_io.cc`): a canvas of the frame's size, black where it is transparent.

Pillow unpacks the pixels. It is given the first frame alone, on a screen of the frame's size: the screen that a file
claims may be of any size, and Pillow would allocate it.
"""

import io
import struct
from dataclasses import dataclass

import cv2
import numpy as np
from PIL.GifImagePlugin import GifImageFile

from engine.types import Rgb


@dataclass(frozen=True, slots=True)
class _Frame:
    """The first frame: its place on the screen, its colours (RGB, a byte each) and where its packed pixels begin."""

    left: int
    top: int
    width: int
    height: int
    flags: int
    colours: bytes
    transparent: int | None
    at: int


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the first frame."""
    frame = _first_frame(data)
    return frame.width, frame.height


def decode(data: bytes) -> Rgb:
    frame = _first_frame(data)
    if not frame.colours:
        raise ValueError("no colour table")
    screen = b"GIF89a" + struct.pack("<HHBBB", frame.width, frame.height, 0, 0, 0)
    descriptor = b"," + struct.pack("<HHHHB", 0, 0, frame.width, frame.height, frame.flags & 0x40)  # interlaced or not
    with GifImageFile(io.BytesIO(b"".join((screen, descriptor, memoryview(data)[frame.at :])))) as image:
        indices = np.asarray(image)
    count = len(frame.colours) // 3
    if indices.max() >= count and np.any((indices >= count) & (indices != frame.transparent)):
        raise ValueError("a colour outside of the colour table")
    colours = np.zeros((256, 3), np.uint8)
    colours[:count] = np.frombuffer(frame.colours, np.uint8).reshape(-1, 3)
    if frame.transparent is not None:
        colours[frame.transparent] = 0
    pixels = cv2.LUT(cv2.merge([indices] * 3), colours[np.newaxis]).astype(np.uint8, copy=False)
    if not (frame.left or frame.top):
        return pixels
    canvas = np.zeros_like(pixels)  # the frame lies at its place on the screen; what leaves the canvas is cut off
    inside = pixels[: max(0, frame.height - frame.top), : max(0, frame.width - frame.left)]
    canvas[frame.top : frame.top + len(inside), frame.left : frame.left + inside.shape[1]] = inside
    return canvas


def _first_frame(data: bytes) -> _Frame:
    """Walks the blocks up to the first picture. Raises `ValueError`, `IndexError` or `struct.error` without one."""
    colours, at = _colour_table(data, data[10], 13)
    transparent, controlled = None, False
    while True:
        match data[at]:
            case 0x21:  # an extension; the first graphic control counts
                if data[at + 1] == 0xF9 and data[at + 2] == 4 and not controlled:
                    controlled = True
                    transparent = data[at + 6] if data[at + 3] & 1 else None
                at = _after_blocks(data, at + 2)
            case 0x2C:
                left, top, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
                own, at = _colour_table(data, flags, at + 10)
                return _Frame(left, top, width, height, flags, own or colours, transparent, at)
            case _:
                raise ValueError("no picture before the end")


def _colour_table(data: bytes, flags: int, at: int) -> tuple[bytes, int]:
    """The table at this place, empty if the flags announce none, and where it ends."""
    end = at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    if end > len(data):
        raise ValueError("the colour table is cut off")
    return data[at:end], end


def _after_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += 1 + data[at]
    return at + 1
