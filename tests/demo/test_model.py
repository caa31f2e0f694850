"""The committed demo model, as Keras sees it."""

from pathlib import Path

import numpy as np
import pytest

from demo.render import FORMATS
from demo.train import NAME, SIZE, dataset, micro_f1

PROJECT = Path(__file__).parents[2] / "demo" / "model"


def test_the_project_folder_is_small_and_whole() -> None:
    assert (PROJECT / f"model-{NAME}.h5").stat().st_size <= 3_000_000
    assert {"project.json", "tags.txt", "categories.json"} <= {path.name for path in PROJECT.iterdir()}


@pytest.mark.full
def test_keras_recognises_pictures_it_never_saw() -> None:
    from tf_keras.models import load_model

    rows, labels = dataset(200, seed=990)
    model = load_model(PROJECT / f"model-{NAME}.h5", compile=False)
    assert rows.shape == (200, SIZE, SIZE, 3) and len(FORMATS) == 9
    assert micro_f1(model.predict(rows.astype(np.float32) / 255, verbose=0), labels) >= 0.95
