"""The command line itself: the group of all commands, and how it is called."""

import os
import sys
from typing import Annotated, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from engine.cli.commands import COMMANDS, OWN, LazyCommand
from engine.cli.interrupts import INTERRUPTED

HELP = "Tags tens of thousands of pictures with DeepDanbooru and posts the tags to a media API."


def call() -> None:
    """Run the command that the process's arguments name, and leave the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a Windows console or pipe may not speak UTF-8
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        _group()(prog_name="engine")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # a name that is still being looked up must not keep whoever pressed Ctrl-C
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


def _group() -> TyperGroup:
    # Plain text, not rich's boxes: those alone would take as long as all the rest of `engine --help`.
    settings = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None, context_settings=settings)
    app.callback()(_engine)
    group = cast(TyperGroup, get_command(app))
    group.commands = {name: LazyCommand(name) for name in COMMANDS}
    return group


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            typer.echo(f"{OWN} {metadata.version(OWN)}")
        except metadata.PackageNotFoundError:
            typer.echo(f"{OWN}, not installed: it runs from its source folder")
        raise typer.Exit


def _engine(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None: ...
