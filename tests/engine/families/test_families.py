"""Which family a manifest names, and what it does with pictures and scores."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.errors import ConfigError, ModelError
from engine.families import FAMILIES, family_of
from engine.pictures.fit import fit
from engine.types import Preprocessing

WD = family_of(Preprocessing("wd", 16, 16, "uint8"))
DEEPDANBOORU = family_of(Preprocessing("deepdanbooru", 8, 8))
TAGS = ["rating:general", "rating:explicit", "1girl", "solo", "cat", "miku", "rin"]
CATEGORIES = ["Rating"] * 2 + ["General"] * 3 + ["Character"] * 2


def test_the_manifest_names_the_family() -> None:
    row = np.empty((32, 48, 3), np.uint16)
    picture = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    family_of(Preprocessing("deepdanbooru", 32, 48)).fit(picture, row)
    assert np.array_equal(row, fit(picture, 32, 48))
    with pytest.raises(ModelError, match=r"'wd14'.*knows only 'deepdanbooru', 'wd', 'onnx': update"):
        family_of(Preprocessing("wd14", 448, 448))


def test_the_manifest_may_change_a_trait() -> None:
    changed = family_of(Preprocessing("wd", 16, 16, "uint8", (("pad", "none"), ("interpolation", "lanczos"))))
    assert (changed.traits.pad, changed.traits.interpolation, changed.traits.colour) == ("none", "lanczos", "bgr")
    row = np.empty((16, 16, 3), np.uint8)
    changed.fit(np.zeros((4, 16, 3), np.uint8), row)
    assert row.max() == 0
    changes: list[Any] = [("pad", "black"), ("glow", "much"), ("pad", True), ("pad", ["white"])]
    for change in changes:
        with pytest.raises(ModelError, match="does not know: update the engine"):
            family_of(Preprocessing("wd", 16, 16, "uint8", (change,)))


def test_every_family_can_be_used() -> None:
    data = io.BytesIO()
    Image.new("RGBA", (10, 20), (255, 0, 0, 128)).save(data, "PNG")
    for name, traits in FAMILIES.items():
        family = family_of(Preprocessing(name, 16, 16, traits.dtype))
        row = np.empty((16, 16, 3), traits.dtype)
        rgb = family.decode(data.getvalue(), "a.png", max_pixels=1000)
        family.fit(rgb, row)
        assert family.pixels(data.getvalue(), "a.png") == 200
        assert rgb[0, 0].tolist() == ([255, 0, 0] if traits.alpha == "dropped" else [255, 127, 127])
        assert family.selection(TAGS, CATEGORIES)(np.ones(7, np.float32))


def test_deepdanbooru_selects_by_one_threshold_in_float32() -> None:
    """0.7 in float32 is below 0.7 in float64: compared there, the tag would be lost."""
    select = DEEPDANBOORU.selection(["a", "b", "c"], ["General"] * 3, 0.7)
    scores = np.array([0.7, 0.69, 0.99], np.float32)
    assert float(scores[0]) < 0.7
    assert select(scores) == (("a", float(scores[0])), ("c", float(scores[2])))
    assert len(DEEPDANBOORU.selection(["a", "b", "c"], ["General"] * 3)(scores)) == 3


@pytest.mark.parametrize(
    ("threshold", "given"),
    [
        (None, ["rating:explicit", "1girl", "solo", "miku"]),
        ("0.5", ["rating:explicit", "1girl", "miku", "rin"]),
        ("character=0.6", ["rating:explicit", "1girl", "solo", "miku", "rin"]),
        ("general=best,character=top2", ["rating:explicit", "1girl", "miku", "rin"]),
        ("rating=0.01", ["rating:general", "rating:explicit", "1girl", "solo", "miku"]),
        ("rating=0.5", ["1girl", "solo", "miku"]),
    ],
)
def test_wd_selects_by_category_and_gives_the_best_rating(threshold: str | None, given: list[str]) -> None:
    """The best rating counts however low its score is, so that no picture is without one."""
    scores = np.array([0.1, 0.2, 0.9, 0.4, 0.3, 0.86, 0.7], np.float32)
    assert [tag for tag, _ in WD.selection(TAGS, CATEGORIES, threshold)(scores)] == given


def test_the_first_of_equal_ratings_is_the_best() -> None:
    select = WD.selection(TAGS, CATEGORIES)
    assert [tag for tag, _ in select(np.zeros(7, np.float32))] == ["rating:general"]


def test_a_category_that_the_model_does_not_have() -> None:
    with pytest.raises(ConfigError, match="--threshold names the category artist, and the model has only rating, gen"):
        WD.selection(TAGS, CATEGORIES, "artist=0.5")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "rating=best,general=0.35,character=0.85"),
        ("0.5", "rating=best,general=0.5,character=0.5"),
        ("0.5,rating=0.5", "rating=0.5,general=0.5,character=0.5"),
        ("character=.7", "rating=best,general=0.35,character=0.7"),
    ],
)
def test_the_text_of_a_ledger_says_all_of_it(given: str | None, text: str) -> None:
    assert WD.threshold(CATEGORIES, given) == text
    assert WD.rules(CATEGORIES, text) == WD.rules(CATEGORIES, given)
    assert DEEPDANBOORU.threshold(["General", "System"]) == "0.5"
    assert DEEPDANBOORU.threshold(["General", "System"], "system=0.7") == "general=0.5,system=0.7"
