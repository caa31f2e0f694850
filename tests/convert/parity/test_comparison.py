"""The figures of a comparison and the verdicts that follow from them."""

import numpy as np
import pytest

from convert.parity.comparison import compare


def test_the_verdict_of_fp32_allows_a_flip_only_at_the_threshold() -> None:
    reference = np.array([[0.9, 0.4990, 0.1]], np.float32)
    near = np.array([[0.9, 0.5005, 0.1]], np.float32)
    far = np.array([[0.9, 0.4990, 0.6]], np.float32)
    categories = ("General",) * 3
    assert compare(reference, near, categories, 0.5, exact=True).passed
    judged = compare(reference, far, categories, 0.5, exact=True)
    assert not judged.passed
    assert (judged.flips, judged.flips_beyond_margin) == (1, 1)


def test_distance_leaves_out_pictures_without_tags_on_either_side() -> None:
    reference = np.array([[0.9, 0.9, 0.0], [0.1, 0.1, 0.1], [0.0, 0.0, 0.9]], np.float32)
    scores = np.array([[0.9, 0.1, 0.9], [0.1, 0.1, 0.1], [0.0, 0.0, 0.9]], np.float32)
    found = compare(reference, scores, ("General", "General", "System"), 0.5, exact=False)
    assert found.jaccard == pytest.approx((2 / 3 + 0) / 2)
    assert found.by_category["General"].jaccard == pytest.approx(1 / 2)
    assert found.by_category["System"].jaccard == pytest.approx((1 + 0) / 2)
    assert not found.passed


@pytest.mark.parametrize(("positives", "passed"), [(99, True), (100, False)])
def test_a_category_is_judged_by_itself_from_a_hundred_tags_on(positives: int, passed: bool) -> None:
    reference = np.full((positives, 201), 0.9, np.float32)  # 200 general tags dilute the one character
    scores = reference.copy()
    scores[:5, 200] = 0.1
    found = compare(reference, scores, ("General",) * 200 + ("Character",), 0.5, exact=False)
    assert found.jaccard is not None
    assert found.jaccard < 0.001
    assert found.passed is passed


def test_no_number_and_no_tag_never_pass() -> None:
    reference = np.full((2, 3), 0.1, np.float32)
    assert not compare(reference, reference, ("General",) * 3, 0.5, exact=False).passed
    broken = reference.copy()
    broken[0, 0] = np.nan
    found = compare(reference, broken, ("General",) * 3, 0.5, exact=True)
    assert not found.passed
    assert found.entry()["max_difference"] is None
