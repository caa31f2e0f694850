"""The renderer: the same seed gives the same files, and their truth is true."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from demo.render import BREAKS, FORMATS, LARGEST, SHORTEST, render
from demo.scene import TAGS
from demo.score import f1
from engine.errors import MediumError
from engine.pictures.decode import decode


def test_a_seed_always_gives_the_same_files_and_more_only_adds(tmp_path: Path) -> None:
    few, many = render(tmp_path / "a", 12, 5), render(tmp_path / "b", 20, 5)
    assert many[:12] == few
    assert all((tmp_path / "a" / t.path).read_bytes() == (tmp_path / "b" / t.path).read_bytes() for t in few)
    assert render(tmp_path / "c", 12, 6) != few


def test_all_formats_shapes_and_names_within_bounds(tmp_path: Path) -> None:
    truth = render(tmp_path, 150, 1)
    kinds, aspects = set(), []
    for item in truth:
        with Image.open(tmp_path / item.path) as image:
            kinds.add((image.format, image.mode))
            width, height = image.size
        assert min(width, height) >= SHORTEST and width * height <= LARGEST
        aspects.append(width / height)
        assert [tag for tag in TAGS if tag in item.tags] == list(item.tags)
        assert sum(tag.startswith("rating:") for tag in item.tags) == 1
    assert kinds >= {
        ("JPEG", "RGB"),
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "L"),
        ("WEBP", "RGB"),
        ("GIF", "P"),
    }
    assert 1 / 5 <= min(aspects) < 0.5 and 2 < max(aspects) <= 5
    paths = [item.path for item in truth]
    assert len(set(paths)) == 150
    assert (
        any(" " in path for path in paths)
        and any(not path.isascii() for path in paths)
        and any("/" in p for p in paths)
    )


def test_every_picture_can_be_decoded_and_the_broken_cannot(tmp_path: Path) -> None:
    truth = render(tmp_path, 40, 2, broken=6)
    assert [item.broken for item in truth[40:]] == list(BREAKS) * 2
    for item in truth:
        data = (tmp_path / item.path).read_bytes()
        if item.broken:
            with pytest.raises(MediumError):
                decode(data, item.path)
        else:
            assert decode(data, item.path).ndim == 3


@pytest.mark.parametrize("kind", FORMATS)
def test_size_and_format_can_be_chosen(kind: str, tmp_path: Path) -> None:
    [item] = render(tmp_path, 1, 3, size=(300, 400), formats=[kind])
    assert decode((tmp_path / item.path).read_bytes(), item.path).shape == (400, 300, 3)


def test_gray_pictures_claim_no_colour(tmp_path: Path) -> None:
    for item in render(tmp_path, 40, 4, formats=["png-gray"]):
        assert not {"blue_hair", "blonde_hair", "pink_hair", "red_eyes", "blue_eyes"} & set(item.tags)
        pixels = cv2.imdecode(np.frombuffer((tmp_path / item.path).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels is not None and pixels.ndim == 2


def test_f1() -> None:
    assert f1({"a": ["x", "y"]}, {"a": ["x", "y"]}) == 1
    assert f1({"a": ["x", "y"]}, {"a": ["x"], "b": ["z"]}) == pytest.approx(2 * 1 / 4)
    assert f1({"a": ["x"]}, {}) == 0
