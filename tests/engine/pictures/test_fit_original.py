"""The geometry against the original's own libraries: needs TensorFlow and scikit-image."""

import numpy as np
import pytest

from engine.pictures.fit import fit
from tests.support import reference

pytestmark = pytest.mark.full

SHAPES = [
    (1, 1),
    (1, 9),
    (9, 1),
    (20, 640),
    (300, 300),
    (301, 200),
    (75, 128),
    (400, 300),
    (333, 500),
    (129, 700),
    (1264, 1900),
]


@pytest.fixture(scope="module")
def original():
    pytest.importorskip("tensorflow")
    pytest.importorskip("skimage")
    from convert.parity.original import fit_as_the_original

    return fit_as_the_original


def picture(rows, columns):
    return np.random.default_rng(rows * columns).integers(0, 256, (rows, columns, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (512, 512), (97, 160), (448, 640)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_pixels(original, shape, height, width):
    rgb = picture(*shape)
    if min(np.float32(height / shape[0]), np.float32(width / shape[1])) * min(shape) <= 0.5:
        pytest.skip("the original raises")
    expected = original(rgb, height, width)
    assert np.abs(reference.fit(rgb, height, width) - expected).max() < 0.03
    assert np.abs(fit(rgb, height, width) / 256 - expected).max() <= 0.033
    assert np.abs(fit(rgb, height, width, np.empty((height, width, 3), np.uint8)) - expected).max() <= 0.531
