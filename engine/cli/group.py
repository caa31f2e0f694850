"""The command line itself: the group of all commands, and how it is called."""

import os
import sys

from typer.core import TyperGroup

from engine.cli.commands import COMMANDS, LazyCommand
from engine.cli.interrupts import INTERRUPTED

HELP = "Tags tens of thousands of pictures with DeepDanbooru and posts the tags to a media API."


def call() -> None:
    """Run the command that the process's arguments name, and leave the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a Windows console or pipe may not speak UTF-8
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    # Plain text, not rich's boxes: those alone would take as long as all the rest of `engine --help`.
    engine = TyperGroup(
        name="engine",
        help=HELP,
        commands={name: LazyCommand(name) for name in COMMANDS},
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    try:
        engine(prog_name="engine")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # a name that is still being looked up must not keep whoever pressed Ctrl-C
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise
