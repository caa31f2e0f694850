"""Layers that cannot be translated go through tf2onnx, or are refused in a sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.cli import main
from tests.convert.projects import edit_config, layer, make_project, model_of, scores

pytestmark = pytest.mark.usefixtures("no_child_process")


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


@pytest.fixture
def unknown_layer(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose model has a layer that only another exporter may know, with that exporter installed."""
    edit_config(model_of(project), lambda config: layer(config, "MaxPooling2D").update(class_name="UpSampling2D"))
    monkeypatch.setattr("convert.onnx.fallback.has_tf2onnx", lambda: True)
    return project


def test_unknown_layer_names_the_layer_and_the_extra(
    unknown_layer: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.onnx.fallback.has_tf2onnx", lambda: False)
    said = refused(unknown_layer)
    assert "layer max_pooling2d is a UpSampling2D" in said
    assert "deepdanbooru-engine[keras]" in said


def test_unknown_layer_in_a_model_too_large_for_tf2onnx(
    unknown_layer: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.onnx.fallback._BYTES_PER_PARAMETER", 10**9)
    assert "more memory" in refused(unknown_layer)


def test_unknown_layer_in_another_precision(unknown_layer: Path, refused: Callable[..., str]) -> None:
    assert "use --precision fp32" in refused(unknown_layer, "--precision", "fp16")
