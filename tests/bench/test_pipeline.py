"""What `engine bench pipeline` checks before it measures."""

from pathlib import Path

import pytest

from bench.pipeline import Size, measure
from engine.errors import EngineError


def test_a_model_that_is_not_there_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(EngineError, match="there is no model folder"):
        measure(tmp_path / "nowhere", "fp32", Size(), said.append)
    assert said == []
