"""`engine convert` and `python -m convert`."""

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from convert.conversion import Conversion, convert
from convert.errors import ConvertError

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Precision(StrEnum):
    """What `--precision` takes."""

    FP32 = "fp32"
    FP16 = "fp16"


@_app.command()
def _convert(
    project_dir: Annotated[
        Path, typer.Argument(help="DeepDanbooru project folder: project.json, tags.txt, the model.")
    ],
    model_dir: Annotated[Path, typer.Argument(help="The model folder to write.")],
    precision: Annotated[
        list[Precision] | None, typer.Option(help="Type of the weights: fp32 if not given; may be given several times.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model folder of another model.")] = False,
) -> None:
    """Turn a DeepDanbooru project into a model folder for the engine. TensorFlow is not needed."""
    started = time.perf_counter()
    made = convert(project_dir, model_dir, list(dict.fromkeys(precision or [Precision.FP32])), overwrite)
    print(_summary(made, model_dir, time.perf_counter() - started))


def _summary(made: Conversion, model_dir: Path, seconds: float) -> str:
    files = "\n".join(f"  model.{precision}.onnx  {size / 1e6:,.1f} MB" for precision, size in made.files.items())
    project = made.project
    cost = f"{made.gflop:,.3g} GFLOP an image, " if made.gflop is not None else ""
    return (
        f"{project.model.name}: {made.layers} layers, {made.parameters:,} parameters, "
        f"{cost}{project.width}x{project.height} pixels, {len(project.tags):,} tags\n"
        f"{files}\nwritten to {model_dir} in {seconds:.1f} s"
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0 done, 1 cannot be converted, 2 the command line makes no sense."""
    command = typer.main.get_command(_app)
    try:
        command.main(args=argv, prog_name="engine convert")
    except SystemExit as stop:
        return int(stop.code or 0)
    except (ConvertError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
