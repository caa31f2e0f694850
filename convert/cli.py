"""The commands `engine convert` (also `python -m convert`), `engine verify` and `engine fetch`.

`convert` turns a project folder into a model folder, `verify` compares a model folder with the original, and `fetch`
downloads the official release and converts it. Here are their flags, what they print and their exit codes.
"""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from convert.errors import ConvertError
from convert.fetch import download
from convert.keras.project import tags_sha256
from convert.model_folder import DTYPE
from convert.parity.comparison import THRESHOLD, Comparison
from convert.parity.verify import COUNT, PAGE, verify
from convert.pictures import CALIBRATE_COUNT, Progress
from convert.releases import OFFICIAL, OFFICIAL_ADDRESS
from convert.taggers.source import TaggerOptions, is_tagger
from engine.errors import EngineError
from engine.model.folder import MANIFEST

if TYPE_CHECKING:  # what needs h5py and onnx is imported when it is used, so that --help needs neither
    from convert.conversion import Conversion
    from convert.fetch.fetch import FetchOptions


def _app() -> typer.Typer:
    settings = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, context_settings=settings
    )


_convert_app, _verify_app, _fetch_app = _app(), _app(), _app()
_INTERRUPTED = 130
_LINE_EVERY = 50_000_000  # bytes of a download, where no bar can be drawn


class Precision(StrEnum):
    """What `--precision` takes."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Layout(StrEnum):
    """What `--layout` takes."""

    NHWC = "nhwc"
    NCHW = "nchw"


class Colour(StrEnum):
    """What `--colour` takes."""

    RGB = "rgb"
    BGR = "bgr"


class Range(StrEnum):
    """What `--range` takes."""

    BYTE = "255"
    UNIT = "1"
    IMAGENET = "imagenet"


class Pad(StrEnum):
    """What `--pad` takes."""

    WHITE = "white"
    EDGE = "edge"
    NONE = "none"


class Interpolation(StrEnum):
    """What `--interpolation` takes."""

    BICUBIC = "bicubic"
    AREA = "area"
    LANCZOS = "lanczos"


_Threshold = Annotated[float, typer.Option(min=0, max=1, help="The score from which a tag counts in the comparison.")]


@_convert_app.command()
def _convert(
    project_dir: Annotated[
        Path, typer.Argument(help="DeepDanbooru project folder, ONNX tagger's folder or file, Keras file with --tags.")
    ],
    model_dir: Annotated[Path, typer.Argument(help="The model folder to write.")],
    precision: Annotated[
        list[Precision] | None, typer.Option(help="Type of the weights: fp32 if not given; may be given several times.")
    ] = None,
    calibrate: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Pictures that int8 is fitted to, like those to be tagged.")
    ] = None,
    calibrate_count: Annotated[int, typer.Option(min=1, help="How many of them.")] = CALIBRATE_COUNT,
    verify_folder: Annotated[
        Path | None, typer.Option("--verify", metavar="FOLDER", help="Compare with the original on these pictures.")
    ] = None,
    verify_count: Annotated[int, typer.Option(min=1, help="How many of them.")] = COUNT,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="For --verify: from which score on a tag counts. [default: 0.5]"),
    ] = None,
    tags: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The tags of a Keras or ONNX file: one a line, or CSV.")
    ] = None,
    layout: Annotated[Layout | None, typer.Option(help="ONNX: the order of the input's axes.")] = None,
    colour: Annotated[Colour | None, typer.Option(help="ONNX: the order of its channels. Default rgb.")] = None,
    value_range: Annotated[
        Range | None, typer.Option("--range", help="ONNX: white is 255 or 1, or normalised as ImageNet is. Default 1.")
    ] = None,
    pad: Annotated[
        Pad | None, typer.Option(help="ONNX: put around pictures; none stretches them, the default.")
    ] = None,
    interpolation: Annotated[
        Interpolation | None, typer.Option(help="ONNX: how pictures are resized. Default bicubic.")
    ] = None,
    logits: Annotated[bool, typer.Option("--logits", help="ONNX: the model gives logits, not scores.")] = False,
    size: Annotated[
        int | None, typer.Option(min=1, max=8192, help="ONNX: the input's side, where the file takes any.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model folder of another model.")] = False,
) -> None:
    """Turn a DeepDanbooru project or an ONNX tagger into a model folder for the engine. TensorFlow is not needed.

    A folder with model.onnx and selected_tags.csv is a tagger of the WD family; any other ONNX file wants --tags, and
    the flags that begin with "ONNX" where it is not as they say.

    int8 takes its ranges from the pictures of --calibrate; it is made from fp32, which is written too.
    --verify writes verdicts and parity.html, as `engine verify` does.
    """
    from convert.conversion import convert, convert_tagger

    started = time.perf_counter()
    precisions = list(dict.fromkeys(precision or [Precision.FP32]))
    if calibrate and Precision.INT8 not in precisions:
        raise typer.BadParameter("only --precision int8 is calibrated", param_hint="--calibrate")
    if verify_folder and not verify_folder.is_dir():  # said now, not when the conversion is done
        raise typer.BadParameter(f"{verify_folder} is no folder", param_hint="--verify")
    if threshold is not None and not verify_folder:
        raise typer.BadParameter(
            "it is for the comparison of --verify; which tags count is said to `engine run`", param_hint="--threshold"
        )
    options = TaggerOptions(tags, layout, colour, value_range, pad, interpolation, logits or None, size)
    if (project_dir / MANIFEST).is_file():
        raise ConvertError(f"{project_dir} is a model folder already: give it to `engine run --model`.")
    if tags and not tags.is_file():
        raise ConvertError(f"there is no file {tags}: --tags names the list of the model's tags, one a line, or CSV.")
    tagger = is_tagger(project_dir)
    if options.given and not tagger:
        raise typer.BadParameter("only an ONNX tagger takes it", param_hint=options.given[0])
    with _progress() as progress:
        made = (
            convert_tagger(project_dir, model_dir, options, precisions, overwrite, calibrate, calibrate_count, progress)
            if tagger
            else convert(project_dir, model_dir, precisions, overwrite, calibrate, calibrate_count, tags, progress)
        )
    print(_summary(made, model_dir, time.perf_counter() - started), flush=True)
    if verify_folder:
        _compare(model_dir, verify_folder, verify_count, THRESHOLD if threshold is None else threshold, project_dir)


@_verify_app.command()
def _verify(
    model_dir: Annotated[Path, typer.Argument(help="The model folder.")],
    folder: Annotated[Path, typer.Argument(help="Pictures like those to be tagged; some hundred are a good number.")],
    count: Annotated[int, typer.Option(min=1, help="How many of them.")] = COUNT,
    project: Annotated[
        Path | None, typer.Option(help="The project it was made of: the reference, where the extra keras is installed.")
    ] = None,
    threshold: _Threshold = THRESHOLD,
) -> None:
    """Compare each precision of a model folder with the original; write the verdicts and parity.html into it.

    Without --project or the extra keras, the reference is the folder's own fp32. Exit code 1: a precision failed.
    """
    _compare(model_dir, folder, count, threshold, project)


def _compare(model_dir: Path, folder: Path, count: int, threshold: float, project_dir: Path | None) -> None:
    with _progress() as progress:
        found = verify(model_dir, folder, count, threshold=threshold, project_dir=project_dir, progress=progress)
    print(_verdicts(found))
    if not found.passed:
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar for each piece of work on a terminal, else a line."""
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
                if not console.is_terminal:
                    _say(f"{what}: up to {of:,} pictures" if of else what)
            bar.update(tasks[what], completed=done, total=of or None)  # None: the bar moves to and fro

        yield progress


_AGAINST = {
    "keras": "Keras",
    "original": "the original ONNX file, fed by Pillow and NumPy",
    "fp32": "the fp32 ONNX (the original needs --project, and Keras the extra keras)",
}


def _verdicts(found: Comparison) -> str:
    against = _AGAINST[found.reference]
    lines = [f"{len(found.pictures):,} pictures against {against}, {found.skipped:,} files passed over"]
    if found.undecoded:
        lines.append(f"  TensorFlow does not decode {found.undecoded:,} of them: the engine did it for both")
    if found.missed:
        lines.append(f"  of the files passed over TensorFlow reads {len(found.missed):,}, such as {found.missed[0]}")
    for name, one in found.parity.items():
        distance = "no tags" if one.jaccard is None else f"distance {100 * one.jaccard:.2f} %"
        largest = "no number" if one.max_difference is None else f"{one.max_difference:.2g}"
        lines.append(
            f"  {name}  {'pass' if one.passed else 'FAIL'}: {one.flips:,} tags differ ({one.flips_beyond_margin:,} "
            f"clearly), {distance}, largest difference of a score {largest}"
        )
    return "\n".join([*lines, f"written to {found.model.folder / PAGE}"])


def _summary(made: "Conversion", model_dir: Path, seconds: float) -> str:
    files = "\n".join(f"  model.{precision}.onnx  {size / 1e6:,.1f} MB" for precision, size in made.files.items())
    project = made.project
    cost = f"{made.gflop:,.3g} GFLOP an image, " if made.gflop is not None else ""
    fitted = ""
    if made.calibration:
        fitted = "int8 fitted to {pictures:,} pictures, {skipped:,} files passed over\n".format(**made.calibration)
    kept = checked = ""
    if made.difference is not None:
        checked = f"scores at most {made.difference:.1g} from the original's on made-up pictures\n"
    elif made.rows.dtype != DTYPE:
        kept = f"pixels stay {made.rows.dtype}, as in the folder's other files: --overwrite takes {DTYPE}, more exact\n"
    parts = "layers" if made.difference is None else "nodes"
    found = "" if made.features else "no features: similar pictures cannot be found with this model\n"
    return (
        f"{project.model.name}: {made.layers:,} {parts}, {made.parameters:,} parameters, "
        f"{cost}{project.width}x{project.height} pixels, {len(project.tags):,} tags\n"
        f"{files}\n{fitted}{kept}{checked}{found}written to {model_dir} in {seconds:.1f} s"
    )


class FetchedModel(StrEnum):
    """What `engine fetch` can get."""

    DEEPDANBOORU = "deepdanbooru"


class FetchedPrecision(StrEnum):
    """What its `--precision` takes; int8 needs pictures, so `engine convert --calibrate` adds that one."""

    FP32 = "fp32"
    FP16 = "fp16"


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise typer.BadParameter("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


@_fetch_app.command()
def _fetch(
    model: Annotated[FetchedModel, typer.Argument(help="Which model: so far there is one.")],
    to: Annotated[Path, typer.Option(help="The model folder to make.")] = Path("model"),
    project: Annotated[
        Path, typer.Option(help="Where the release is unpacked; its zip is looked for beside it.")
    ] = Path(OFFICIAL),
    url: Annotated[str, typer.Option(help="Address of the release's zip.")] = OFFICIAL_ADDRESS,
    sha256: Annotated[
        str | None, typer.Option(parser=_sha256, metavar="HEX", help="Of the .h5, if it is of no known release.")
    ] = None,
    tags_sha256: Annotated[
        str | None, typer.Option(parser=_sha256, metavar="HEX", help="Of tags.txt with LF; it is told at the end.")
    ] = None,
    precision: Annotated[
        list[FetchedPrecision] | None,
        typer.Option(help="Type of the weights: fp32 if not given; may be given several times."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model folder of another model.")] = False,
) -> None:
    """Download the official DeepDanbooru release (600 MB), check it and turn it into a model folder.

    A download that broke goes on where it ended. The project folder is kept: `engine verify` compares against it.
    """
    from convert.fetch.fetch import FetchOptions, fetch

    precisions = tuple(dict.fromkeys(precision or [FetchedPrecision.FP32]))
    options = FetchOptions(to, project, url, sha256, tags_sha256, precisions, overwrite)
    try:
        with _download_progress() as progress:
            made = fetch(options, progress, _say)
    except KeyboardInterrupt:
        _say("interrupted: what has come is kept, the same command goes on with it")
        raise typer.Exit(_INTERRUPTED) from None
    print(_fetched(made, options))


def _fetched(made: "Conversion | None", options: "FetchOptions") -> str:
    if made is None:
        return f"{options.model_dir} is there already: nothing to do"
    tags = f"{made.project.model.name}, {len(made.project.tags):,} tags (SHA-256 {tags_sha256(made.project.tags)})"
    return f"{tags}: written to {options.model_dir}, the original is kept in {options.project_dir}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _download_progress() -> Iterator[download.Progress]:
    """A bar on a terminal, else a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("download", total=None, visible=False)
        yield lambda have, total: bar.update(task, completed=have, total=total, visible=True)


def _lines() -> download.Progress:
    said = -1

    def line(have: int, total: int | None) -> None:
        nonlocal said
        if have // _LINE_EVERY != said:
            said = have // _LINE_EVERY
            _say(f"{have / 1e6:,.0f}{f' of {total / 1e6:,.0f}' if total else ''} MB")

    return line


def main(argv: list[str] | None = None) -> int:
    """`engine convert`; returns the exit code: 0 done, 1 impossible or a verdict is no, 2 bad usage, 130 Ctrl-C."""
    return _run(_convert_app, "engine convert", argv)


def verify_main(argv: list[str] | None = None) -> int:
    """`engine verify`; returns the exit code: 0 all pass, 1 impossible or one does not, 2 bad usage, 130 Ctrl-C."""
    return _run(_verify_app, "engine verify", argv)


def fetch_main(argv: list[str] | None = None) -> int:
    """`engine fetch`; returns the exit code: 0 done, 1 impossible, 2 bad usage, 130 Ctrl-C."""
    return _run(_fetch_app, "engine fetch", argv)


def _run(app: typer.Typer, name: str, argv: list[str] | None) -> int:
    try:
        typer.main.get_command(app).main(args=argv, prog_name=name)
    except SystemExit as stop:
        return int(stop.code or 0)
    except (EngineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
