"""`engine serve`: the service's own command, and what its `--tag` does: the run of `engine run --library --follow`."""

import sys
from pathlib import Path
from typing import Any

from engine.cli.commands import import_function
from engine.cli.console import OK, say
from engine.cli.endpoints import library_endpoints
from engine.cli.log import start_logging
from engine.cli.run import exit_code, tag_catalogue
from engine.cli.settings import load
from engine.config import RunConfig
from engine.model.folder import open_model

FOLLOW_SECONDS = 60.0
"""Between two looks for new media, where the service itself never looks again."""


def main(argv: list[str]) -> int:
    """Run `engine serve` with these arguments; the exit code."""
    return int(import_function("service.cli", "serve_main", "service")(argv, tag))


def tag(running: Any, *, library: Path, model: Path, every: float, verbose: bool) -> int:  # noqa: ANN401 - service's type
    """Tag what a running service lists, and what comes, until Ctrl-C; the exit code, 0 if it was told to end.

    All other settings come from the environment and engine.toml.
    """
    settings = load(RunConfig, {"library": library, "model": model, "verbose": verbose}, None)
    settings = settings.model_copy(
        update={
            "follow": settings.follow or every or FOLLOW_SECONDS,
            "quiet": settings.quiet or not sys.stderr.isatty(),  # a service's log wants no line every ten seconds
        }
    )
    start_logging(settings)
    summary = tag_catalogue(settings, open_model(model), library_endpoints(settings, running))
    for line in summary.lines():
        say(line)
    return OK if summary.interrupted else exit_code(summary.ledger, summary.refused_records)
