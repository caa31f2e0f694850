"""What the program takes: its commands and their flags, asked of the parsers that parse them."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from engine.cli import app


@dataclass(frozen=True)
class Flag:
    """One flag of one command; `names` also holds its other spellings (`--no-workspace`)."""

    names: tuple[str, ...]
    parameter: str
    default: Any
    required: bool
    help: str


@dataclass(frozen=True)
class Command:
    """A command by its words (`run`, `bench compare`); `passed_on` if another package parses its arguments."""

    words: str
    passed_on: bool
    flags: tuple[Flag, ...]

    @property
    def names(self) -> set[str]:
        """Every flag that the command line may hold, `--help` too."""
        return {"--help", *(name for flag in self.flags for name in flag.names)}


@cache
def commands() -> Mapping[str, Command]:
    """All commands of `engine`, by their words, in the order of its help."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return {command.words: command for name, it in group.commands.items() for command in _commands(name, it)}


def _commands(name: str, parser: Any) -> Iterator[Command]:
    passed_on = parser.context_settings.get("ignore_unknown_options", False)
    if passed_on:
        parser = _behind(parser)
    if isinstance(parser, TyperGroup):
        for sub, it in parser.commands.items():
            yield Command(f"{name} {sub}", passed_on, _flags(it))
    else:
        yield Command(name, passed_on, _flags(parser))


def _behind(passing_on: TyperCommand) -> Any:
    """The parser in another package to which a command passes its arguments on: whichever is asked to parse them."""
    asked: list[Any] = []
    run = TyperCommand.main

    def notice(parser: Any, *_: object, **__: object) -> None:
        asked.append(parser)
        raise SystemExit(0)

    with (
        patch.object(TyperCommand, "main", notice),
        patch.object(TyperGroup, "main", notice),
        patch.object(argparse.ArgumentParser, "parse_args", notice),
        suppress(SystemExit),
    ):
        run(passing_on, args=["--help"])
    assert len(asked) == 1, f"{passing_on.name}: no parser, or several, were asked to parse its arguments"
    return asked[0]


def _flags(parser: Any) -> tuple[Flag, ...]:
    if isinstance(parser, argparse.ArgumentParser):
        actions = [action for action in parser._actions if action.option_strings and action.dest != "help"]
        found = [Flag(tuple(a.option_strings), a.dest, a.default, a.required, a.help or "") for a in actions]
    else:
        options = [option for option in parser.params if option.param_type_name == "option"]
        found = [Flag((*o.opts, *o.secondary_opts), o.name, o.default, o.required, o.help or "") for o in options]
    return tuple(found)
