"""The geometry against what the original made of the fixtures, and against the slow reference."""

import tracemalloc
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.pictures.decode import decode
from engine.pictures.fit import _SMALL, fit, target_size
from engine.types import WHITE
from tests.support import reference

FIXTURES = Path(__file__).parents[2] / "fixtures" / "preprocess"

with np.load(FIXTURES / "golden-128.npz") as _goldens:
    GOLDENS = {name: _goldens[name] for name in _goldens.files}


def noise(rows, columns, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), np.uint8)


STEP = {"uint8": 1, "uint16": 1 / 256}
"""Levels between two values of a dtype."""
APART = {dtype: step / 2 + 0.001 for dtype, step in STEP.items()}
"""Rounding, and what float32 adds."""


def levels(rgb, height, width, dtype):
    """The fitted picture in levels, 0..255, as float64."""
    return fit(rgb, height, width, np.empty((height, width, 3), dtype)) * STEP[dtype]


def test_every_fixture_has_a_golden():
    pictures = {path.name for path in FIXTURES.iterdir()} - {"README.md", "golden-128.npz"}
    assert pictures == GOLDENS.keys()


@pytest.mark.parametrize("dtype", WHITE)
@pytest.mark.parametrize("name", GOLDENS)
def test_goldens(name, dtype):
    found = levels(decode((FIXTURES / name).read_bytes(), name), 128, 128, dtype)
    assert np.abs(found - GOLDENS[name].astype(np.float64) * 255).max() <= STEP[dtype] / 2 + 0.01


def test_goldens_table():
    """For the closing note: `pytest -s -k goldens_table`."""
    for name, golden in GOLDENS.items():
        rgb = decode((FIXTURES / name).read_bytes(), name)
        expected = golden.astype(np.float64) * 255
        apart = [np.abs(levels(rgb, 128, 128, dtype) - expected).max() for dtype in ("uint8", "uint16")]
        exact = np.abs(reference.fit(rgb, 128, 128) - expected).max()
        print(f"{name:24} {rgb.shape!s:16} uint8 {apart[0]:.4f}  uint16 {apart[1]:.4f}  unrounded {exact:.4f}")
        assert exact < 0.01


side = st.one_of(st.integers(1, 40), st.integers(1, 400))


@settings(max_examples=150, deadline=None)
@given(
    rows=side,
    columns=side,
    height=st.integers(1, 140),
    width=st.integers(1, 140),
    small=st.sampled_from((0, _SMALL)),
    dtype=st.sampled_from(sorted(WHITE)),
    seed=st.integers(0, 9),
)
@example(rows=1, columns=1, height=128, width=128, small=_SMALL, dtype="uint16", seed=0)
@example(rows=1, columns=300, height=128, width=128, small=_SMALL, dtype="uint16", seed=0)
@example(rows=300, columns=1, height=128, width=127, small=0, dtype="uint16", seed=0)
@example(rows=20, columns=640, height=128, width=128, small=0, dtype="uint16", seed=0)
@example(rows=1000, columns=4, height=64, width=64, small=0, dtype="uint16", seed=0)
@example(rows=17, columns=33, height=33, width=17, small=0, dtype="uint8", seed=0)
@example(rows=22, columns=1, height=50, width=3, small=_SMALL, dtype="uint8", seed=0)
@example(rows=640, columns=640, height=448, width=640, small=_SMALL, dtype="uint16", seed=0)
def test_as_the_reference(rows, columns, height, width, small, dtype, seed):
    """`small` of 0 takes small pictures in bands too, as if they were large."""
    rgb = noise(rows, columns, seed)
    out = np.full((height, width, 3), 77, dtype)
    with mock.patch("engine.pictures.fit._SMALL", small):
        assert fit(rgb, height, width, out) is out
    assert np.abs(out * STEP[dtype] - reference.fit(rgb, height, width)).max() <= APART[dtype]


@pytest.mark.parametrize("small", [0, _SMALL])
def test_no_size_is_off_by_a_pixel(small):
    """OpenCV alone takes a wrong source pixel at one size in twenty that is enlarged."""
    with mock.patch("engine.pictures.fit._SMALL", small):
        for side in range(1, 300):
            rgb = noise(side, side)
            found = levels(rgb, 150, 150, "uint16")
            assert np.abs(found - reference.fit(rgb, 150, 150)).max() <= APART["uint16"], side


def test_a_canvas_beyond_a_thousand_pixels_is_within_what_is_stated():
    stripes = np.zeros((1039, 4, 3), np.uint8)
    stripes[::2] = 255
    found = levels(stripes, 1024, 1024, "uint16")
    assert APART["uint16"] < np.abs(found - reference.fit(stripes, 1024, 1024)).max() <= 0.5


@pytest.mark.parametrize(("rows", "columns"), [(20, 5000), (5000, 20), (1, 20_000), (20_000, 1), (900, 1300)])
def test_extreme_shapes_and_any_memory_layout(rows, columns):
    rgb = noise(rows, columns)
    batch = np.zeros((3, 96, 96, 3), np.uint16)
    fit(rgb, 96, 96, batch[1])
    assert np.abs(batch[1] / 256 - reference.fit(rgb, 96, 96)).max() <= APART["uint16"]
    assert not batch[0].any() and not batch[2].any()
    assert np.array_equal(fit(rgb[::-1, ::-1], 96, 96), fit(rgb[::-1, ::-1].copy(), 96, 96))


@given(value=st.integers(0, 255), rows=side, columns=side, dtype=st.sampled_from(sorted(WHITE)))
@settings(max_examples=50, deadline=None)
def test_a_plain_picture_stays_plain(value, rows, columns, dtype):
    assert (levels(np.full((rows, columns, 3), value, np.uint8), 60, 61, dtype) == value).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((100, 100), (512, 512)),
        ((1, 5000), (1, 512)),  # 0.1 rows: the original raises, one row here
        ((1024, 1025), (512, 512)),  # 511.5 goes to the even 512
        ((1, 1), (512, 512)),
        ((1024, 3), (512, 2)),  # 1.5 goes to 2, and
        ((1024, 5), (512, 2)),  # 2.5 goes to 2
    ],
)
def test_target_size(shape, expected):
    assert target_size(shape, 512, 512) == expected == reference.target_size(shape, 512, 512)


def test_an_odd_padding_shifts_by_half_a_pixel():
    rgb = np.zeros((3, 4, 3), np.uint8)
    rgb[1] = 200
    rows = levels(rgb, 4, 4, "uint8")[:, 0, 0]
    assert rows.tolist() == [0, 100, 100, 0]


@pytest.mark.parametrize(("rows", "columns"), [(6324, 9486), (9486, 6324), (1000, 60_000), (57, 1 << 20)])
def test_sixty_megapixels_need_no_float_copy(rows, columns):
    rgb = np.zeros((rows, columns, 3), np.uint8)
    out = np.empty((512, 512, 3), np.uint16)
    fit(rgb[:64, :64], 512, 512, out)
    tracemalloc.start()
    try:
        fit(rgb, 512, 512, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12e6 + 400 * columns, f"{peak / 1e6:.1f} MB"  # a float copy would be 720 MB
