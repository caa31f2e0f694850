"""Commands that live in other rooms: their flags and help are their own, the arguments are passed on as they are."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import typer

from engine.cli.console import sentences
from engine.errors import EngineError

ROOMS = {
    "convert": ("convert.cli", "main", "convert", "Turn a DeepDanbooru project (Keras .h5) into a model folder."),
    "verify": (
        "convert.cli",
        "verify_main",
        "convert",
        "Compare a model folder's precisions with the original; write the verdicts and a page.",
    ),
    "fetch": (
        "convert.cli",
        "fetch_main",
        "convert",
        "Download the official DeepDanbooru release and convert it.",
    ),
    "serve": (
        "service.cli",
        "serve_main",
        "service",
        "The embedded media API for a folder of pictures, with its page.",
    ),
    "export": (
        "service.cli",
        "export_main",
        "service",
        "Write the embedded library's tags as JSON Lines, CSV or .txt.",
    ),
    "bench": ("bench.cli", "main", "bench", "Measure images/s and memory, side by side with the original."),
    "demo": ("demo.cli", "main", "convert,service", "All of it on rendered pictures."),
}


def register(app: typer.Typer) -> None:
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    for name, (module, function, extra, text) in ROOMS.items():
        app.command(name, help=text, context_settings=passed_on, add_help_option=False)(
            _passing_on(module, function, extra)
        )


def room(module: str, function: str, extra: str) -> Callable[..., Any]:
    """A function of another room. Raises `EngineError` that names the extra whose packages are missing."""
    try:
        return cast(Callable[..., Any], getattr(import_module(module), function))
    except ImportError as error:
        raise EngineError(
            f"this needs {error.name}, which is not installed: `pip install deepdanbooru-engine[{extra}]`"
        ) from None


def _passing_on(module: str, function: str, extra: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        with sentences():
            raise typer.Exit(room(module, function, extra)(context.args))

    return command
