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
    """`load_image_for_evaluate` after decoding: uint8 [h, w, 3] to float32 or float64, 0..255."""
    tf = pytest.importorskip("tensorflow")
    transform = pytest.importorskip("skimage.transform")

    def run(rgb, height, width):
        image = tf.image.resize(rgb, (height, width), tf.image.ResizeMethod.AREA, preserve_aspect_ratio=True).numpy()
        to_origin = transform.AffineTransform(translation=(-image.shape[1] * 0.5, -image.shape[0] * 0.5))
        to_middle = transform.AffineTransform(translation=(width * 0.5, height * 0.5))
        move = to_origin + to_middle
        return transform.warp(image, move.inverse, output_shape=(height, width), order=1, mode="edge")

    return run


def picture(rows, columns):
    return np.random.default_rng(rows * columns).integers(0, 256, (rows, columns, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (512, 512), (97, 160)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_pixels(original, shape, height, width):
    rgb = picture(*shape)
    if min(np.float32(height / shape[0]), np.float32(width / shape[1])) * min(shape) <= 0.5:
        pytest.skip("the original raises")
    expected = original(rgb, height, width)
    assert np.abs(reference.fit(rgb, height, width) - expected).max() < 0.02
    assert np.abs(fit(rgb, height, width) - expected).max() <= 0.51
