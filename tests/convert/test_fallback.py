"""Layers that the direct way does not know, through tf2onnx."""

from pathlib import Path

import numpy as np
import pytest

from convert.cli import main
from tests.convert.projects import make_project, scores


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_unknown_layer_goes_through_tf2onnx(tmp_path: Path) -> None:
    import tf_keras as keras

    layers = keras.layers
    image = keras.Input((16, 24, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = layers.GlobalAveragePooling2D()(layers.UpSampling2D(2, interpolation="bilinear")(x))
    model = keras.Model(image, layers.Dense(5, activation="sigmoid")(x))
    model.save(tmp_path / "model.h5")
    project = make_project(tmp_path / "project", tmp_path / "model.h5", tags=5, size=(16, 24))
    assert main([str(project), str(tmp_path / "out")]) == 0
    assert '"tf2onnx"' in (tmp_path / "out" / "model.json").read_text(encoding="utf-8")
    pixels = np.random.RandomState(0).randint(0, 256, (3, 16, 24, 3)).astype("uint8")
    expected = model.predict(pixels / np.float32(255), verbose=0)
    assert np.abs(scores(tmp_path / "out" / "model.fp32.onnx", pixels) - expected).max() < 1e-4
