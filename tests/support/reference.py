"""The preprocessing of DeepDanbooru, slow and readable, in float64: what `engine.pictures.fit` is held against.

Read from TensorFlow's `image_ops_impl.py` (`_resize_images_common`: the target size) and `resize_area_op.cc` (the area
kernel), from scikit-image's `_warps.py` and `_warps_cy.pyx` (order 1, mode edge), and from DeepDanbooru's
`load_image_for_evaluate` and `transform_and_pad_image`. `test_fit_original.py` holds this against those themselves.
"""

import math

import numpy as np


def target_size(shape, height, width):
    """Both sides by the smaller of the two scales, in float32, half to even."""
    rows, columns = (np.float32(side) for side in shape[:2])
    scale = min(np.float32(height) / rows, np.float32(width) / columns)
    return max(1, int(np.round(scale * rows))), max(1, int(np.round(scale * columns)))


def area(size, count):
    """float64 [count, size]: target pixel i is the mean of the source from i to i + 1, times size/count."""
    step = size / count
    weights = np.zeros((count, size))
    for i in range(count):
        for j in range(int(i * step), min(size, math.ceil((i + 1) * step))):
            weights[i, j] = max(0.0, min(j + 1, (i + 1) * step) - max(j, i * step)) / step
    return weights


def centred(size, count):
    """float64 [count, size]: the picture moved to the middle of count pixels, linear between pixels, edges repeated."""
    weights = np.zeros((count, size))
    for i in range(count):
        at = min(max(i - (count - size) / 2, 0.0), size - 1.0)
        first = int(at)
        second = min(first + 1, size - 1)
        weights[i, first] += 1 - (at - first)
        weights[i, second] += at - first
    return weights


def fit(rgb, height, width):
    """uint8 [h, w, 3] to float64 [height, width, 3] in 0..255."""
    rows, columns = target_size(rgb.shape, height, width)
    along_y = centred(rows, height) @ area(rgb.shape[0], rows)
    along_x = centred(columns, width) @ area(rgb.shape[1], columns)
    return along_x @ np.tensordot(along_y, rgb.astype(np.float64), 1)
