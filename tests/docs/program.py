"""What the program takes: its commands and their flags, asked of the parsers that parse them."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

from typer.core import TyperCommand, TyperGroup

from engine.cli import main

TYPER_MAIN = TyperCommand.main


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
    group = _asked_to_parse(main)
    assert isinstance(group, TyperGroup)
    return {command.words: command for name, it in group.commands.items() for command in _commands(name, it)}


def _commands(name: str, listed: Any) -> Iterator[Command]:
    # What is listed may stand for a command that is imported when it is called: the context knows the real one.
    parser: Any = listed.make_context(name, [], resilient_parsing=True).command
    passed_on = parser.context_settings.get("ignore_unknown_options", False)
    if passed_on:
        parser = _asked_to_parse(lambda: TYPER_MAIN(parser, args=["--help"]))
    if isinstance(parser, TyperGroup):
        for sub, it in parser.commands.items():
            yield Command(f"{name} {sub}", passed_on, _flags(it))
    else:
        yield Command(name, passed_on, _flags(parser))


def _asked_to_parse(start: Callable[[], object]) -> Any:
    """The parser that is asked to parse a command line, by typer or by argparse, when the program is started so."""
    asked: list[Any] = []

    def notice(parser: Any, *_: object, **__: object) -> None:
        asked.append(parser)
        raise SystemExit(0)

    with (
        patch.object(TyperCommand, "main", notice),
        patch.object(TyperGroup, "main", notice),
        patch.object(argparse.ArgumentParser, "parse_args", notice),
        patch.object(sys, "excepthook", sys.excepthook),  # typer sets its own
        suppress(SystemExit),
    ):
        ctrl_c = signal.getsignal(signal.SIGINT)
        try:
            start()
        finally:
            signal.signal(signal.SIGINT, ctrl_c)  # the program has its own
    assert len(asked) == 1, f"{len(asked)} parsers were asked to parse the command line"
    return asked[0]


def _flags(parser: Any) -> tuple[Flag, ...]:
    if isinstance(parser, argparse.ArgumentParser):
        actions = [action for action in parser._actions if action.option_strings and action.dest != "help"]
        found = [Flag(tuple(a.option_strings), a.dest, a.default, a.required, a.help or "") for a in actions]
    else:
        options = [option for option in parser.params if option.param_type_name == "option"]
        found = [Flag((*o.opts, *o.secondary_opts), o.name, o.default, o.required, o.help or "") for o in options]
    return tuple(found)
