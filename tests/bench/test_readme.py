"""The README's table is made from the committed results, and says what they say."""

import json
from pathlib import Path

import pytest

from bench.output import tables
from bench.page import page
from bench.readme import README, RESULTS, between, table
from engine.errors import EngineError

COMMITTED = sorted(RESULTS.glob("*.json"))


def test_the_table_is_the_one_that_the_results_give() -> None:
    readme = README.read_text(encoding="utf-8")
    assert between(readme, table()) == readme, "run `python -m bench table`"


def test_a_readme_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(EngineError, match="<!-- bench -->"):
        between("# nothing", "table")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_result_says_what_it_was_measured_on(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    assert {"command", "arguments", "date", "commit", "machine", "versions"} <= set(result)
    assert {"cpu", "cores", "memory_gb", "os", "gpu"} <= set(result["machine"])
    assert not any("/" in word for word in result["arguments"])  # names of folders, not of people
    assert tables(result)
    assert "<svg" in page(result)
