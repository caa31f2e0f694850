"""Memory that is short is nobody's fault: the picture waits for it, is tried again alone, and the run goes on."""

import threading
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.ledger.ledger import Ledger
from engine.pictures.decode import decode, is_memory_shortage
from engine.types import Outcome
from tests.support.pipelines import Catalogue, Wrapped, build, draw

PICTURES = [f"{i:02}.png" for i in range(12)]

DECODE = "engine.families.family.decode"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for i, name in enumerate(PICTURES):
        draw(folder / name, i)
    return folder


def opencv_error() -> Exception:
    """What OpenCV really raises when it cannot allocate: here an array of 1 EB."""
    try:
        cv2.resize(np.zeros((1, 1, 3), np.uint8), (2**30, 2**29))
    except cv2.error as error:
        return error
    raise AssertionError("OpenCV found the memory")


SHORTAGES = [MemoryError(), opencv_error(), RuntimeError("can't start new thread")]


class ShortOfMemory:
    """The decoder of the family, without memory for the first `tries` of each picture."""

    def __init__(self, error: Exception, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._error, self._tries, self._real = error, tries, decode
        self._lock, self._at_once = threading.Lock(), 0
        self.seen: Counter[str] = Counter()
        self.beside_others = 0  # further tries that were not alone
        monkeypatch.setattr(DECODE, self)

    def __call__(self, data: bytes, key: str, *, max_pixels: int) -> np.ndarray:
        with self._lock:
            self._at_once += 1
            self.seen[key] += 1
            again = self.seen[key] > 1
        try:
            if self.seen[key] <= self._tries:
                raise self._error
            for _ in range(20):  # long enough for another thread to come in
                rgb = self._real(data, key, max_pixels=max_pixels)
                self.beside_others += again and self._at_once > 1
            return rgb
        finally:
            with self._lock:
                self._at_once -= 1


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
def test_pictures_wait_for_memory_and_are_decoded_alone(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    decoder = ShortOfMemory(error, 2, monkeypatch)
    said: list[str] = []
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(PICTURES), library, ledger, say=said.append, decode_threads=4)
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed) == (len(PICTURES), 0)
    assert set(decoder.seen.values()) == {3} and not decoder.beside_others
    assert [line for line in said if "memory is short" in line] == said and len(said) == 1


def test_what_never_fits_fails_by_that_name_and_is_tried_by_the_next_run(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(data: bytes, key: str, *, max_pixels: int) -> np.ndarray:
        if key == "05.png":
            raise MemoryError("not enough memory for 20 x 14 pixels")
        return decode(data, key, max_pixels=max_pixels)

    with Ledger(tmp_path / "s.db") as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(DECODE, scarce)
            tally = (first := build(Catalogue(PICTURES), library, ledger)).tally
            first.run()
        ((_, url, reason),) = ledger.reasons(Outcome.FAILED, 100)
        assert (tally.images, tally.failed, url) == (len(PICTURES) - 1, 1, "05.png")
        assert reason.startswith("not enough memory for 20 x 14 pixels, even alone")
        again = build(Catalogue(PICTURES), library, ledger)
        again.run()
        assert (again.tally.images, again.tally.failed) == (1, 0)


def test_a_file_that_finds_no_memory_is_read_once_more(library: Path, tmp_path: Path) -> None:
    reads: Counter[str] = Counter()

    def before(key: str) -> None:
        reads[key] += 1
        if reads[key] == 1:
            raise MemoryError

    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(PICTURES), Wrapped(library, before), ledger)
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed) == (len(PICTURES), 0)


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("no"), cv2.error("no")])
def test_other_errors_are_no_shortage(error: Exception) -> None:
    assert not is_memory_shortage(error)
