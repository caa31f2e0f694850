"""Fitting by Pillow, held against the published way: pad the whole picture, then resize it."""

import time

import numpy as np
import pytest
from PIL import Image

from engine.machine import peak_rss_mb
from engine.pictures import pillow_fit

SHAPES = [(1, 1), (1, 7), (7, 1), (33, 64), (64, 33), (63, 64), (64, 64), (65, 64), (200, 31), (31, 200), (500, 499)]
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "area": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


def published(rgb: np.ndarray, side: int, resample: int = Image.Resampling.BICUBIC) -> np.ndarray:
    """As SmilingWolf's `prepare_image` does it, on a square canvas."""
    image = Image.fromarray(rgb)
    longest = max(image.size)
    padded = Image.new("RGB", (longest, longest), (255, 255, 255))
    padded.paste(image, ((longest - image.size[0]) // 2, (longest - image.size[1]) // 2))
    return np.asarray(padded.resize((side, side), resample) if longest != side else padded)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("band", "large"), [(8_000_000, 64_000_000), (2000, 64_000_000), (2000, 1)])
def test_white_padding_is_the_published_way_to_the_bit(shape, interpolation, band, large, monkeypatch) -> None:
    """In one go, some rows at a time, and without computing the padding."""
    monkeypatch.setattr(pillow_fit, "_BAND", band)
    monkeypatch.setattr(pillow_fit, "_LARGE", large)
    row = np.full((64, 64, 3), 7, np.uint8)
    pillow_fit.fit(picture(*shape), row, pad="white", interpolation=interpolation)
    assert np.array_equal(row, published(picture(*shape), 64, FILTERS[interpolation]))


@pytest.mark.parametrize("shape", [(1031, 3), (3, 1031), (997, 450), (450, 997), (1500, 1400)])
def test_so_it_is_for_larger_ones(shape, monkeypatch) -> None:
    for large in (64_000_000, 1):
        monkeypatch.setattr(pillow_fit, "_LARGE", large)
        row = np.empty((448, 448, 3), np.uint8)
        pillow_fit.fit(picture(*shape), row)
        assert np.array_equal(row, published(picture(*shape), 448))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("large", [64_000_000, 1])
def test_edges_are_repeated(shape, large, monkeypatch) -> None:
    monkeypatch.setattr(pillow_fit, "_LARGE", large)
    rgb, row = picture(*shape), np.empty((64, 64, 3), np.uint8)
    side = max(shape)
    before = [(side - length) // 2 for length in shape]
    around = [(b, side - length - b) for b, length in zip(before, shape, strict=True)]
    padded = Image.fromarray(np.pad(rgb, (*around, (0, 0)), "edge"))
    pillow_fit.fit(rgb, row, pad="edge")
    assert np.array_equal(row, np.asarray(padded.resize((64, 64), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("shape", SHAPES)
def test_without_padding_it_is_stretched(shape) -> None:
    row = np.empty((32, 48, 3), np.uint8)
    pillow_fit.fit(picture(*shape), row, pad="none")
    assert np.array_equal(row, np.asarray(Image.fromarray(picture(*shape)).resize((48, 32), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize(("shape", "white"), [((32, 48), 0), ((32, 32), 16 * 32), ((10, 48), 22 * 48)])
def test_a_canvas_that_is_no_square_is_filled_along_one_side(shape, white) -> None:
    row = np.empty((32, 48, 3), np.uint8)
    pillow_fit.fit(np.zeros((*shape, 3), np.uint8), row, interpolation="area")
    assert abs(int((row == 255).all(axis=2).sum()) - white) <= 96  # a column on each side may be a mixture


def test_rows_of_uint16_hold_levels_times_256() -> None:
    small, large = np.empty((64, 64, 3), np.uint8), np.empty((64, 64, 3), np.uint16)
    pillow_fit.fit(picture(50, 90), small)
    pillow_fit.fit(picture(50, 90), large)
    assert np.array_equal(large, small.astype(np.uint16) * 256)


def test_a_long_strip_takes_neither_memory_nor_time() -> None:
    """Padded to a square it would have 1.2 TB."""
    before, began = peak_rss_mb(), time.monotonic()
    for shape in ((20, 640_000), (640_000, 20)):
        row = np.empty((448, 448, 3), np.uint8)
        pillow_fit.fit(np.zeros((*shape, 3), np.uint8), row)
        assert 240 < row.min() < 255
    assert peak_rss_mb() - before < 200
    assert time.monotonic() - began < 60
