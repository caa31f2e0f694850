"""The documentation says what the program does: what it names exists, and what exists is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import (
    FLAG,
    LINK,
    ROOT,
    Page,
    command_faults,
    file_faults,
    flag_faults,
    link_faults,
    setting_faults,
)
from tests.docs.program import commands

Check = Callable[[Page], list[str]]

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
CHECKS: list[Check] = [command_faults, flag_faults, setting_faults, link_faults, file_faults]
HISTORY = {"CHANGELOG.md"}
"""Speaks of what was: a flag that is gone may stand there."""


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in HISTORY], ids=lambda page: page.relative_to(ROOT).as_posix()
)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removesuffix("_faults"))
def test_what_a_page_names_exists(check: Check, page: Path) -> None:
    assert check(Page.read(page)) == []


def test_every_command_is_in_the_readme() -> None:
    named = [f"{line} " for line in Page.read(README).commands]
    assert [words for words in commands() if not any(line.startswith(f"engine {words} ") for line in named)] == []


def test_every_flag_is_in_the_documentation() -> None:
    pages = [Page.read(page) for page in (README, *DOCS)]
    named = {flag for page in pages for code in [*page.spans, *page.lines] for flag in FLAG.findall(code)}
    missing = {words: command.names - named for words, command in commands().items() if not command.names <= named}
    assert not missing


def test_every_page_can_be_reached_from_the_readme() -> None:
    assert {page.relative_to(ROOT).as_posix() for page in DOCS} <= set(LINK.findall(Page.read(README).prose))


def test_the_parsers_of_all_packages_were_asked() -> None:
    """A command of another package has flags of its own; without them the checks above would check nothing."""
    known = commands()
    assert {"run", "retag", "status", "bench compare", "demo"} <= known.keys()
    for words, flag in [
        ("convert", "--calibrate"),
        ("serve", "--port"),
        ("bench compare", "--rounds"),
        ("demo", "--keep"),
    ]:
        assert known[words].passed_on and flag in known[words].names
        assert flag not in known["run"].names


@pytest.mark.parametrize(
    ("check", "text", "fault"),
    [
        (command_faults, "`engine rnu`", "engine rnu"),
        (command_faults, "`engine settings`", "engine settings"),  # a module of the command line, but no command
        (command_faults, "```\nengine place --model model\n```", "engine place"),
        (command_faults, "    engine rooms", "engine rooms"),
        (command_faults, "1. Try it:\n\n   ```\n   engine rooms\n   ```\n", "engine rooms"),
        (command_faults, "`engine run-all --model m`", "engine run-all"),
        (command_faults, "`engine bench everything --quick`", "engine bench everything"),
        (command_faults, "```\n/tmp/fresh/bin/engine show --keep\n```", "engine show"),
        (command_faults, "`engine run --model m --keep`", "takes no --keep"),
        (command_faults, "```\nengine run --model m ^\n  --modell m\n```", "takes no --modell"),
        (command_faults, "`engine bench compare --quick`", "takes no --quick"),
        (command_faults, "`python -m convert project model --keep`", "takes no --keep"),
        (flag_faults, "with `--no-such-flag` given", "--no-such-flag"),
        (flag_faults, "with --no-such-flag given", "--no-such-flag"),
        (setting_faults, "the variable `ENGINE_BACH_SIZE`", "ENGINE_BACH_SIZE"),
        (setting_faults, "```toml\nbach_size = 2\n```", "bach_size"),
        (setting_faults, "write `bach_size = 2`", "bach_size"),
        (link_faults, "[here](docs/nothing.md)", "docs/nothing.md"),
        (link_faults, "[here](README.md#no-such-heading)", "no-such-heading"),
        (link_faults, "# One\n\n[here](#two)", "#two"),
        (file_faults, "`engine/no_such_file.py`", "engine/no_such_file.py"),
        (file_faults, "`no_such_file.py`", "no_such_file.py"),
        (file_faults, "`make everything`", "make everything"),
        (file_faults, 'pip install "deepdanbooru-engine[cpu,gpu]"', "gpu"),
        (file_faults, 'pip install "deepdanbooru_engine-0.1.0-py3-none-any.whl[cpu,gpu]"', "gpu"),
        (file_faults, 'pip install ".[cpu,gpu]"', "gpu"),
    ],
)
def test_a_page_that_names_what_is_not_there_is_found_out(check: Check, text: str, fault: str) -> None:
    faults = check(Page(text))
    assert len(faults) == 1 and fault in faults[0]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removesuffix("_faults"))
def test_a_page_that_names_what_is_there_is_not(check: Check) -> None:
    text = """
# What `engine run` does: twice

`engine run --limit 3`, `engine bench pipeline --quick`, `engine --help`, `engine convert ... --precision int8`,
`python -m bench table`, `git log --oneline`, `ENGINE_API_TOKEN`, `ENGINE_BATCH_SIZE`, `--batch-size`, `limit = 3`,
`engine/pipeline.py`, `pipeline.py`, `docs/decisions`, `engine.toml`, `tags.csv`, `make demo KEEP=1`, -- and no flag,
[here](#what-engine-run-does-twice), [there](docs/settings.md#other-flags), [elsewhere](https://example.org/#x).

```
pip install --no-deps "deepdanbooru-engine[cpu,convert]"   # --not-ours
engine run --model model ^
  --storage /mnt/nas
```

```toml
limit = 3
```
"""
    assert check(Page(text)) == []
