"""A model and a tag list that do not belong together."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("no_child_process")


def test_width_and_tags_differ(project: Path, refused: Callable[..., str]) -> None:
    (project / "tags.txt").write_text("one\ntwo\n", encoding="utf-8")
    said = refused(project)
    assert "gives 11 scores and tags.txt has 2 tags" in said
    (project / "tags.txt").write_text("".join(f"tag_{i}\n" for i in range(9176)), encoding="utf-8")
    assert "v3-20211112-sgd-e28" in refused(project)
