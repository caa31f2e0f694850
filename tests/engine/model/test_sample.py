"""The made-up pictures."""

import numpy as np

from engine.model.sample import sample_pixels


def test_the_sample_is_the_same_every_time() -> None:
    first = sample_pixels(2, 70, 50, np.dtype(np.uint8))
    assert first.shape == (2, 70, 50, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, sample_pixels(2, 70, 50, np.dtype(np.uint8)))
    assert first.std() > 50


def test_the_sample_uses_the_whole_range_of_its_dtype() -> None:
    assert sample_pixels(2, 70, 50, np.dtype(np.uint16)).max() > 60_000
