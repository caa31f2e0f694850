"""The documentation says what the program does: each command and flag it names exists, each file it links is there."""

import re
from pathlib import Path

import pytest

from engine.cli.rooms import ROOMS
from engine.cli.settings import FLAGS
from engine.config import RunConfig

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
COMMANDS = set(ROOMS) | {path.stem for path in (ROOT / "engine" / "cli").glob("*.py")} | {"retag"}


def flags_of_run() -> set[str]:
    return {"--" + FLAGS.get(name, name).replace("_", "-") for name in RunConfig.model_fields}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)engine ([a-z]+)", text, re.MULTILINE))
    assert named <= COMMANDS, named - COMMANDS
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (page.parent / link).exists(), link


def test_the_flags_of_run_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = next(
        block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "engine run --model model ^" in block
    )
    table = text[text.index("### Replacing") : text.index("### All commands")]
    named = set(re.findall(r"--[a-z][a-z-]+", block + table))
    assert named >= {"--segment-url", "--storage", "--threshold"}
    assert named <= flags_of_run(), named - flags_of_run()
