"""The original's preprocessing with the original's own libraries: TensorFlow and scikit-image, and nothing of ours.

Written after `deepdanbooru.data.load_image_for_evaluate` and `deepdanbooru.image.transform_and_pad_image`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import skimage.transform
import tensorflow as tf


def fit_as_the_original(pixels: Any, height: int, width: int) -> npt.NDArray[Any]:  # noqa: ANN401 - a tensor too
    """A decoded picture, uint8 [h, w, 3], on the model's canvas: float [height, width, 3], 0..255."""
    area = tf.image.ResizeMethod.AREA
    image = tf.image.resize(pixels, size=(height, width), method=area, preserve_aspect_ratio=True).numpy()
    to_origin = skimage.transform.AffineTransform(translation=(-image.shape[1] * 0.5, -image.shape[0] * 0.5))
    to_middle = skimage.transform.AffineTransform(translation=(width * 0.5, height * 0.5))
    move = (to_origin + to_middle).inverse
    return np.asarray(skimage.transform.warp(image, move, output_shape=(height, width), order=1, mode="edge"))
