"""The geometry and its speed against the original's own libraries: needs TensorFlow and scikit-image."""

import time

import cv2
import numpy as np
import pytest

from engine.fit import fit
from tests.engine import reference

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
    """`load_image_for_evaluate` after decoding, one thread: uint8 [h, w, 3] to float32 or float64, 0..255."""
    tf = pytest.importorskip("tensorflow")
    transform = pytest.importorskip("skimage.transform")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

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


@pytest.mark.parametrize("shape", [(1264, 1900), (1900, 1264), (1265, 1900), (400, 300), (300, 400)])
def test_at_most_a_third_of_the_originals_time(original, shape):
    rgb, out = picture(*shape), np.empty((512, 512, 3), np.uint8)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        ours = fastest(lambda: fit(rgb, 512, 512, out))
    finally:
        cv2.setNumThreads(threads)
    theirs = fastest(lambda: original(rgb, 512, 512))
    print(f"{shape}: {ours * 1e3:.1f} ms, the original {theirs * 1e3:.1f} ms, ratio {ours / theirs:.3f}")
    assert ours <= theirs / 3


def fastest(work):
    times = []
    for _ in range(15):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
