"""The made-up pictures."""

import numpy as np
import pytest

from engine.model.sample import sample_pixels
from engine.types import WHITE


def test_the_sample_is_the_same_every_time() -> None:
    first = sample_pixels(2, 70, 50, np.dtype(np.uint8))
    assert first.shape == (2, 70, 50, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, sample_pixels(2, 70, 50, np.dtype(np.uint8)))
    assert first.std() > 50


@pytest.mark.parametrize("dtype", WHITE)
def test_the_sample_goes_from_black_to_white(dtype: str) -> None:
    found = sample_pixels(20, 320, 320, np.dtype(dtype)) / WHITE[dtype]
    assert 0 <= found.min() < 0.01 and 0.99 < found.max() <= 1
