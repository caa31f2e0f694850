"""Reads a folder of pictures, one at a time: those that int8 is calibrated on, and those that a comparison runs on."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from convert.errors import ConvertError
from engine.errors import MediumError
from engine.families import Family, family_of
from engine.pictures.decode import MAX_PIXELS
from engine.types import Preprocessing, Rgb, Row

CALIBRATE_COUNT = 200
"""Default of `--calibrate-count`: more changed nothing that could be measured (docs/decisions/int8.md)."""
_MAX_BYTES = 256 << 20  # what is larger is a video or worse; the engine reads no more either

Progress = Callable[[str, int, int], None]
"""Takes what is being done, how many pictures of it are done, and how many there are; 0 where nothing is counted."""


_DEEPDANBOORU = family_of(Preprocessing("deepdanbooru", 1, 1))


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that could be read.

    Attributes:
        path: its file.
        rgb: as decoded, uint8 [h, w, 3].
        row: fitted for the model, [1, height, width, 3] of its dtype.
    """

    path: Path
    rgb: Rgb
    row: Row


@dataclass
class Pictures:
    """Up to `count` readable pictures of a folder and the folders in it, always the same ones in the same order.

    Attributes:
        folder: where they lie.
        count: how many to give at most.
        preprocessing: the model's.
        unread: files passed over in the last iteration: broken, or no pictures.
    """

    folder: Path
    count: int
    preprocessing: Preprocessing
    unread: list[Path] = field(default_factory=list, init=False)

    @property
    def skipped(self) -> int:
        """How many files were passed over."""
        return len(self.unread)

    @cached_property
    def files(self) -> list[Path]:
        """All files below the folder, shuffled, but always the same way: neighbours in a folder are often alike."""
        if not self.folder.is_dir():
            raise ConvertError(f"{self.folder} is no folder: name one with pictures.")
        files = sorted(Path(root, name) for root, _, names in os.walk(self.folder) for name in names)
        random.Random(0).shuffle(files)  # noqa: S311 - no secret
        return files

    def __iter__(self) -> Iterator[Picture]:
        """Reads one picture at a time. Raises ConvertError if there is none in the folder."""
        family, size = family_of(self.preprocessing), (self.preprocessing.height, self.preprocessing.width)
        self.unread, given = [], 0
        for path in self.files:
            if given == self.count:
                return
            rgb = read(path, family)
            if rgb is None:
                self.unread.append(path)
                continue
            row = np.empty((1, *size, 3), self.preprocessing.dtype)
            family.fit(rgb, row[0])
            given += 1
            yield Picture(path, rgb, row)
        if not given:
            raise ConvertError(f"{self.folder} holds {self.skipped:,} files and no picture among them: name another.")


def is_small(path: Path) -> bool:
    """Whether the file may be read at all. Raises OSError."""
    return path.stat().st_size <= _MAX_BYTES


def read(path: Path, family: Family = _DEEPDANBOORU) -> Rgb | None:
    """The picture in a file as the engine decodes it; None if it cannot be read."""
    try:
        return family.decode(path.read_bytes(), path.name, max_pixels=MAX_PIXELS) if is_small(path) else None
    except (OSError, MediumError):
        return None
