"""The command line: a module a command. Other rooms are reached from here alone, lazily, by one function each."""

import os
import sys
from importlib import metadata

import typer

from engine.cli import deliver, doctor, rooms, run, status, tag, tune
from engine.cli.console import INTERRUPTED, say

app = typer.Typer(
    name="engine",
    help="Tags tens of thousands of pictures with DeepDanbooru and posts the tags to a media API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, status, deliver, tag, tune, doctor, rooms):
    module.register(app)

OWN = "deepdanbooru-engine"
ROOMS = ("engine", "convert", "service", "bench", "demo")


def main() -> None:
    """Entry point of the `engine` script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a Windows console or pipe may not speak UTF-8
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    for name, owner in shadowed().items():
        say(f"warning: the package {owner} also brings a module named {name!r}: use a virtual environment of its own")
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # a name that is still being looked up must not keep whoever pressed Ctrl-C
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


def shadowed() -> dict[str, str]:
    """Our generic top-level names that another distribution claims too, with its name."""
    owners = metadata.packages_distributions()
    return {name: other for name in ROOMS for other in owners.get(name, []) if other != OWN}
