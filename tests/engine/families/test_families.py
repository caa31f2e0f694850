"""Which family a manifest names, and what it does with pictures and scores."""

import numpy as np
import pytest

from engine.errors import ModelError
from engine.families import family_of
from engine.pictures.fit import fit
from engine.types import Preprocessing


def test_the_manifest_names_the_family() -> None:
    row = np.empty((32, 48, 3), np.uint16)
    picture = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    family_of(Preprocessing("deepdanbooru", 32, 48)).fit(picture, row)
    assert np.array_equal(row, fit(picture, 32, 48))
    with pytest.raises(ModelError, match=r"'wd14'.*knows only 'deepdanbooru'"):
        family_of(Preprocessing("wd14", 448, 448))


def test_deepdanbooru_selects_by_one_threshold_in_float32() -> None:
    """0.7 in float32 is below 0.7 in float64: compared there, the tag would be lost."""
    select = family_of(Preprocessing("deepdanbooru", 8, 8)).selection(["a", "b", "c"], ["General"] * 3, 0.7)
    scores = np.array([0.7, 0.69, 0.99], np.float32)
    assert float(scores[0]) < 0.7
    assert select(scores) == (("a", float(scores[0])), ("c", float(scores[2])))
