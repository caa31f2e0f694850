"""`engine bench fit`, as far as its result goes; its figures are bench's own business."""

import sys

import pytest

from bench.fit_speed import SIZES, measure
from bench.output import tables


@pytest.mark.full
def test_both_sides_are_timed_on_all_kinds_of_picture() -> None:
    result = measure(sys.executable, pairs=2) | {"command": "fit"}
    assert [row["pictures"] for row in result["rows"]] == list(SIZES)
    for row in result["rows"]:
        assert len(row["ratio"]["samples"]) == 2
        assert row["engine"]["median"] > 0 and row["original"]["median"] > 0 and row["by_threads"]["median"] > 0
    [table] = tables(result)
    assert len(table.lines) == len(SIZES)
