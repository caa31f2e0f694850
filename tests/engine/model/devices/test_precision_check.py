"""The verdict on fp16, and how it is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.model.devices import precision_check


@pytest.mark.parametrize(
    ("fp32", "fp16", "good", "reason"),
    [
        ((2.0, 0.5), (1.0, 0.505), True, "2.0 times as fast as fp32 on this GPU: by up to 0.0050"),
        ((2.0, 0.5), (1.9, 0.5), False, "only 1.05 times as fast"),
        ((2.0, 0.5), (1.0, 0.55), False, "differ from fp32's too much on this GPU: by up to 0.0500"),
        ((2.0, 0.5), (1.0, float("nan")), False, "no numbers"),
        ((2.0, float("nan")), (1.0, 0.5), False, "differ"),
        (None, (1.0, 0.5), True, "no fp32 to compare with"),
    ],
)
def test_verdicts(fp32: Any, fp16: Any, good: bool, reason: str) -> None:
    def made(pair: Any) -> Any:
        return pair and (pair[0], np.full((4, 9), pair[1], np.float32))

    verdict = precision_check.compare(made(fp32), made(fp16))
    assert verdict.good is good and reason in verdict.reason


def test_a_broken_verdict_is_found_again(tmp_path: Path) -> None:
    bad = precision_check.Verdict(False, "bad")
    assert precision_check.remembered(tmp_path, ("gpu", "580"), lambda: bad) == bad
    good = precision_check.Verdict(True, "good")
    assert precision_check.remembered(tmp_path, ("gpu", "580"), lambda: good) == bad
    assert precision_check.remembered(tmp_path, ("gpu", "590"), lambda: good) == good  # another driver
    for file in (tmp_path / "probes").iterdir():
        file.write_text("{", encoding="utf-8")
    assert precision_check.remembered(tmp_path, ("gpu", "580"), lambda: good) == good
