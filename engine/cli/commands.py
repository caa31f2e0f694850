"""All commands in one table, and how one is loaded: only when it is called, so that `engine --help` waits for none.

Commands of the engine itself are functions with typer's annotations. Those of other top-level packages (`convert`,
`service`, ...) have flags and help of their own: they get the arguments as they are and return an exit code.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple, cast

import typer
from typer.core import TyperCommand
from typer.main import get_command

from engine.cli.console import sentences
from engine.cli.plain_help import WIDTH, GroupedCommand
from engine.errors import EngineError, first_line


class Command(NamedTuple):
    """Where a command's function is. `extra`: what must be installed for a command of another package."""

    module: str
    function: str
    help: str
    extra: str | None = None


COMMANDS = {
    "run": Command(
        "engine.cli.run",
        "run",
        "Tag all media of a catalogue and post the tags; the same command goes on where it ended.",
    ),
    "retag": Command(
        "engine.cli.retag",
        "retag",
        "Tag all media again: with another model, or other thresholds by kept scores; flags of `run`.",
    ),
    "status": Command(
        "engine.cli.status", "status", "What the ledger holds, by outcome, with the reasons of failures."
    ),
    "deliver": Command(
        "engine.cli.deliver", "deliver", "Post what a run left in the outbox; needs neither model nor pictures."
    ),
    "tag": Command("engine.cli.tag", "tag", "Print the tags of pictures and folders, like `deepdanbooru evaluate`."),
    "similar": Command("engine.cli.similar", "similar", "Which pictures of a catalogue look like this one."),
    "tune": Command(
        "engine.cli.tune",
        "tune",
        "Measure which batch size and threads are fastest here, and write them into engine.toml.",
    ),
    "doctor": Command(
        "engine.cli.doctor", "doctor", "Check machine, model, device, storage, API and token before a long run."
    ),
    "convert": Command(
        "convert.cli",
        "main",
        "Turn a DeepDanbooru project (Keras .h5) or an ONNX tagger into a model folder.",
        extra="convert",
    ),
    "verify": Command(
        "convert.cli",
        "verify_main",
        "Compare a model folder's precisions with the original; write the verdicts and a page.",
        extra="convert",
    ),
    "fetch": Command(
        "convert.cli",
        "fetch_main",
        "Download the official DeepDanbooru release and convert it.",
        extra="convert",
    ),
    "serve": Command(
        "engine.cli.serve",
        "main",
        "The embedded media API for a folder of pictures, with its page; --tag tags what comes.",
        extra="service",
    ),
    "export": Command(
        "engine.cli.export",
        "main",
        "Write the embedded library's tags as JSON Lines, CSV or .txt; or kept scores, as CSV or Parquet.",
        extra="service",
    ),
    "move": Command(
        "service.cli", "move_main", "Take a library's tags along to the folder's new name or place.", extra="service"
    ),
    "tags": Command(
        "service.dictionary.cli",
        "main",
        "The dictionary of tags: look names up in any language, import lists, edit, undo.",
        extra="service",
    ),
    "bench": Command(
        "bench.cli", "main", "Measure images/s and memory, side by side with the original.", extra="bench"
    ),
    "demo": Command("demo.cli", "main", "All of it on rendered pictures.", extra="convert,service"),
}

OWN = "deepdanbooru-engine"
PACKAGES = ("engine", "convert", "service", "bench", "demo")
"""Our top-level packages. The names are common ones: another distribution may bring a package of the same name."""


class LazyCommand(TyperCommand):
    """Stands for a command in the list of all, and gives way to it when it is called."""

    def __init__(self, name: str) -> None:
        text = COMMANDS[name].help
        super().__init__(name, help=text, short_help=text, rich_markup_mode=None)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401 - typer's own type is private
        """The context of the real command, which is imported here."""
        with sentences(loading=True):
            command = _load(info_name or "", COMMANDS[info_name or ""])
        return command.make_context(info_name, args, parent=parent, **extra)


def import_function(module: str, function: str, extra: str | None = None) -> Callable[..., Any]:
    """A function of a module that is imported now. Raises `EngineError` as `naming_extra` does."""
    with naming_extra(module, extra):
        found = getattr(import_module(module), function, None)
        if found is None:
            raise ImportError(f"it has no {function}", name=module)
        return cast(Callable[..., Any], found)


@contextmanager
def naming_extra(module: str, extra: str | None) -> Iterator[None]:
    """Turn an import that fails into a sentence.

    Raises:
        EngineError: a package is missing, with the extra that brings it; or another distribution hides the module.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or module
        package = missing.partition(".")[0]
        if package in PACKAGES:
            raise EngineError("; ".join(shadows(package)) or _foreign(missing, error)) from None
        wanted = f"{OWN}[{extra}]" if extra else OWN
        absent = isinstance(error, ModuleNotFoundError)
        trouble = "is not installed" if absent else f"does not load ({first_line(error)})"
        raise EngineError(f'this needs {missing}, which {trouble}: `pip install "{wanted}"`') from None


def shadows(*names: str) -> list[str]:
    """A sentence for each other distribution that brings a package of these names, by default of all ours.

    It reads what every installed distribution says of itself, which takes up to a second.
    """
    from importlib import metadata

    owners = metadata.packages_distributions()
    return [
        f"the package {other} also brings a module named {name!r}: use a virtual environment of its own"
        for name in names or PACKAGES
        for other in owners.get(name, [])
        if other != OWN
    ]


def _foreign(missing: str, error: ImportError) -> str:
    package = sys.modules.get(missing.partition(".")[0])
    where = getattr(package, "__file__", None) or ", ".join(getattr(package, "__path__", [])) or "nowhere"
    return (
        f"{missing} cannot be imported ({first_line(error)}); the package comes from {where}: "
        "if that is not the engine's own, start it elsewhere or use a virtual environment of its own"
    )


def _load(name: str, command: Command) -> Any:  # noqa: ANN401 - typer's own type is private
    function = import_function(command.module, command.function, command.extra)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    if command.extra is None:
        settings = {"max_content_width": WIDTH}
        app.command(name, help=command.help, cls=GroupedCommand, context_settings=settings)(function)
        return get_command(app)

    def pass_on(context: typer.Context) -> None:
        # Such a command imports what its extra brings when it works, so that its help needs no extra.
        with sentences(), naming_extra(command.module, command.extra):
            raise typer.Exit(function(context.args))

    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(name, help=command.help, context_settings=passed_on, add_help_option=False)(pass_on)
    return get_command(app)
