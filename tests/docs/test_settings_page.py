"""docs/settings.md is what the settings' declaration and the commands' parsers give."""

import pytest
from pydantic import Field

from engine.config import RunConfig, Size
from engine.types import Outcome
from tests.docs.pages import ROOT
from tests.docs.settings_page import PAGE, RENEW, UNITS, renewed, settings_table


def test_the_page_is_the_one_that_the_declaration_gives() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert renewed(text) == text, f"run `{RENEW}`"


def test_a_setting_more_or_less_or_another_default_changes_the_page() -> None:
    class More(RunConfig):
        colour: str = Field("red", description="What it is painted.")

    declared = RunConfig.model_fields["connections"]

    class Other(RunConfig):
        connections: int = Field(declared.default + 1, ge=1, le=64, description=declared.description)

    less = settings_table().splitlines()
    more = settings_table(More).splitlines()
    assert more[:-1] == less
    assert more[-1] == "| `--colour` | `ENGINE_COLOUR` | `colour` | text | `red` | What it is painted. |  |"
    other = settings_table(Other).splitlines()
    changed = [(old, new) for old, new in zip(less, other, strict=True) if old != new]
    assert [(old.replace(f"| {declared.default} |", f"| {declared.default + 1} |"), new) for old, new in changed] == [
        (changed[0][1], changed[0][1])
    ]


def test_a_setting_that_measures_needs_a_unit() -> None:
    class Unmeasured(RunConfig):
        heap: Size = Field(1, description="How much.")

    with pytest.raises(AssertionError, match="heap: which unit"):
        settings_table(Unmeasured)
    assert set(UNITS) <= set(RunConfig.model_fields)


def test_the_glossary_has_every_outcome() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for outcome in Outcome:
        assert f"**{outcome.value}**" in glossary
