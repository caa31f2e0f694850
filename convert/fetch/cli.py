"""`engine fetch`."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from convert.conversion import Conversion
from convert.errors import ConvertError
from convert.fetch.download import Progress
from convert.fetch.fetch import Fetch, fetch
from convert.releases import OFFICIAL, OFFICIAL_ADDRESS

_INTERRUPTED = 130
_LINE_EVERY = 50_000_000  # bytes, where no bar can be drawn
_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class _Model(StrEnum):
    DEEPDANBOORU = "deepdanbooru"


class _Precision(StrEnum):  # int8 needs pictures: `engine convert --calibrate` adds it
    FP32 = "fp32"
    FP16 = "fp16"


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise typer.BadParameter("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


@_app.command()
def _fetch(
    model: Annotated[_Model, typer.Argument(help="Which model: so far there is one.")],
    to: Annotated[Path, typer.Option(help="The model folder to make.")] = Path("model"),
    project: Annotated[
        Path, typer.Option(help="Where the release is unpacked; its zip is looked for beside it.")
    ] = Path(OFFICIAL),
    url: Annotated[str, typer.Option(help="Address of the release's zip.")] = OFFICIAL_ADDRESS,
    sha256: Annotated[
        str | None, typer.Option(parser=_sha256, metavar="HEX", help="Of the .h5, if it is of no known release.")
    ] = None,
    precision: Annotated[
        list[_Precision] | None,
        typer.Option(help="Type of the weights: fp32 if not given; may be given several times."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model folder of another model.")] = False,
) -> None:
    """Download the official DeepDanbooru release (600 MB), check it and turn it into a model folder.

    A download that broke goes on where it ended. The project folder is kept: `engine verify` compares against it.
    """
    precisions = tuple(dict.fromkeys(precision or [_Precision.FP32]))
    wish = Fetch(to, project, url, sha256, precisions, overwrite)
    try:
        with _progress() as progress:
            made = fetch(wish, progress, _say)
    except KeyboardInterrupt:
        _say("interrupted: what has come is kept, the same command goes on with it")
        raise typer.Exit(_INTERRUPTED) from None
    print(_summary(made, wish))


def _summary(made: Conversion | None, wish: Fetch) -> str:
    if made is None:
        return f"{wish.model_dir} is there already: nothing to do"
    tags = f"{made.project.model.name}, {len(made.project.tags):,} tags"
    return f"{tags}: written to {wish.model_dir}, the original is kept in {wish.project_dir}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, else a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("download", total=None, visible=False)
        yield lambda have, total: bar.update(task, completed=have, total=total, visible=True)


def _lines() -> Progress:
    said = -1

    def line(have: int, total: int | None) -> None:
        nonlocal said
        if have // _LINE_EVERY != said:
            said = have // _LINE_EVERY
            _say(f"{have / 1e6:,.0f}{f' of {total / 1e6:,.0f}' if total else ''} MB")

    return line


def fetch_main(argv: list[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0 done, 1 impossible, 2 not a command line, 130 interrupted."""
    try:
        typer.main.get_command(_app).main(args=argv, prog_name="engine fetch")
    except SystemExit as stop:
        return int(stop.code or 0)
    except (ConvertError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
