"""`engine bench` and `python -m bench`."""

import json
import sys
import tempfile
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from bench import pictures, readme
from bench.compare import Given
from bench.compare import compare as compare_all
from bench.delivery import measure as measure_delivery
from bench.devices import devices as compare_devices
from bench.estimate import CATALOGUE, REALISTIC
from bench.estimate import estimate as estimate_cards
from bench.fit_speed import measure as measure_fit
from bench.machine import envelope
from bench.new_process import need_keras
from bench.nodes import Place
from bench.nodes import estimate as estimate_nodes
from bench.output import show
from bench.pipeline import Size, measure
from bench.retag import measure as measure_retag
from bench.similar import measure as measure_similar
from bench.sweep import sweep as sweep_points
from engine.config import DeviceName
from engine.errors import EngineError
from engine.model.folder import Model as ModelFolder
from engine.model.folder import open_model

ARGV: ContextVar[list[str]] = ContextVar("ARGV")
"""The command line, which becomes part of the result."""

WIDTH = 120

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure images/s and memory, side by side with the original.",
)

Model = Annotated[Path, typer.Option(help="The model folder that `engine convert` wrote.")]
Title = Annotated[str | None, typer.Option(help="What the model is called in the result; else its project.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of the table.")]
Output = Annotated[Path | None, typer.Option(help="Write the JSON object to this file.")]


def _with_plots(html: Path | None) -> Path | None:
    """Import what draws the plots before anything is measured, if they are wanted: an hour must not end with that."""
    if html:
        import bench.page  # noqa: F401
    return html


Html = Annotated[
    Path | None, typer.Option(callback=_with_plots, help="Write a page with tables and plots to this file.")
]
Pairs = Annotated[int, typer.Option(min=1, help="Interleaved pairs; 9 give a spread of 95 % confidence.")]
Rounds = Annotated[int, typer.Option(min=1, help="Interleaved rounds; 9 give a spread of 95 % confidence.")]
Device = Annotated[Literal["auto", DeviceName], typer.Option(help="Where the model runs.")]


@app.command()
def compare(
    model: Model,
    project: Annotated[Path | None, typer.Option(help="The DeepDanbooru project, for the original's row.")] = None,
    keras_python: Annotated[str, typer.Option(help="An interpreter with the extra `keras`.")] = sys.executable,
    folder: Annotated[Path | None, typer.Option("--pictures", help="A folder of pictures; else drawn ones.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many pictures to draw, 0.3 to 4 megapixels.")] = 24,
    precision: Annotated[list[str] | None, typer.Option(help="Rows of the engine; again for another.")] = None,
    published: Annotated[
        Path | None, typer.Option(help="Of a WD tagger: the folder with model.onnx, for the ways of its users.")
    ] = None,
    imgutils_python: Annotated[
        str | None, typer.Option(help="An interpreter with dghs-imgutils, for its row with --published.")
    ] = None,
    deepdanbooru_onnx_python: Annotated[
        str | None, typer.Option(help="An interpreter with deepdanbooru-onnx, for its row; models of 512 x 512.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="Least score of tags. Default: the family's.")
    ] = None,
    latency: Annotated[float, typer.Option(help="Seconds that the API takes longer for every answer.")] = 0.0,
    device: Device = "auto",
    rounds: Rounds = 5,
    title: Title = None,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """The ways in which people tag today, and the engine: the same pictures and model, in turns."""
    from bench.published import with_files  # needs onnx, which --help must not

    opened = open_model(model)
    if project:
        need_keras(keras_python)
    with tempfile.TemporaryDirectory() as drawn, tempfile.TemporaryDirectory() as copies:
        if folder is None:
            folder = Path(drawn)
            pictures.write(folder, count, pictures.MIXED, png_every=6)
        precisions = precision or [opened.precision(None).name]
        given = Given(
            project=project,
            model=model,
            precisions=precisions,
            pictures=folder,
            keras_python=keras_python,
            device=device,
            threshold=threshold,
            latency_s=latency,
            published=published,
            imgutils_python=imgutils_python,
            deepdanbooru_onnx_python=deepdanbooru_onnx_python,
        )
        given = with_files(given, opened, Path(copies))
        finish("compare", _titled(title, opened) | compare_all(given, rounds, progress), as_json, output, html)


@app.command()
def sweep(
    model: Model,
    precision: Annotated[list[str] | None, typer.Option(help="May be given several times; else all there are.")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="May be given several times; else 1 to 32.")] = None,
    device: Device = "auto",
    seconds: Annotated[float, typer.Option(min=0.0, help="Of each point, after its warm-up.")] = 3.0,
    rounds: Rounds = 3,
    title: Title = None,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """Batch by precision: images/s, latency, memory, and where it stops fitting."""
    opened = open_model(model)
    result = sweep_points(
        model, precision or list(opened.precisions), batch or [1, 2, 4, 8, 16, 32], rounds, device, seconds, progress
    )
    finish("sweep", _titled(title, opened) | result, as_json, output, html)


@app.command()
def devices(
    model: Model,
    count: Annotated[int, typer.Option(min=1, help="How many pictures to draw, 0.3 to 4 megapixels.")] = 24,
    seconds: Annotated[float, typer.Option(min=0.0, help="Of each session alone, after its warm-up.")] = 5.0,
    threshold: float = 0.5,
    rounds: Rounds = 5,
    title: Title = None,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """ONNX Runtime and OpenVINO on this CPU: fp32, bf16 and int8, alone and from file to API."""
    opened = open_model(model)
    found = compare_devices(opened, count, rounds, seconds, threshold, progress)
    finish("devices", _titled(title, opened) | found, as_json, output, html)


@app.command()
def pipeline(
    model: Annotated[Path | None, typer.Option(help="A model folder, for the figure with a real model.")] = None,
    precision: str = "fp32",
    pairs: Pairs = 9,
    full: Annotated[int, typer.Option(min=1, help="Pictures a run through the real model.")] = 24,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, to see that it works: no figures.")] = False,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """What the pipeline costs besides the model, and whether its memory stays the same over many pictures."""
    size = Size(pairs=pairs, full=full)
    if quick:
        size = Size(
            pairs=pairs,
            full=4,
            paced=32,
            null=32,
            empty=200,
            kept=32,
            tiny=(100, 200),
            huge=2,
            huge_side=1000,
            canvas=32,
        )
    finish("pipeline", measure(model, precision, size, progress), as_json, output, html)


@app.command()
def fit(
    keras_python: Annotated[str, typer.Option(help="An interpreter with the extra `keras`.")] = sys.executable,
    pairs: Pairs = 9,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """Fitting alone, after decoding: the engine beside the original's resize and warp."""
    finish("fit", measure_fit(keras_python, pairs), as_json, output, html)


@app.command()
def delivery(
    pairs: Pairs = 9,
    records: Annotated[int, typer.Option(min=1, help="Records that each side posts in a turn.")] = 4000,
    connections: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 4,
    latency: Annotated[float, typer.Option(help="Seconds that the API takes longer for every answer.")] = 0.0,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """Posting one tag a call: the engine's delivery beside a plain httpx loop."""
    finish("delivery", measure_delivery(pairs, records, connections, latency), as_json, output, html)


@app.command()
def service(
    of: Annotated[int, typer.Option("--pictures", min=1_000, help="Of the library that is made up.")] = 100_000,
    times: Annotated[int, typer.Option(min=1, help="How often each search is asked.")] = 40,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """Searches, edits and a review in the embedded service: how long they take; its file and memory."""
    from bench.service import measure as measure_service  # needs the service, which --help must not

    finish("service", measure_service(of, times, progress), as_json, output, html)


@app.command()
def similar(
    of: Annotated[int, typer.Option("--pictures", min=1_000, help="Whose vectors are made up.")] = 100_000,
    dimensions: Annotated[int, typer.Option(min=64, help="Features of a picture.")] = 4096,
    times: Annotated[int, typer.Option(min=1, max=500, help="How often each search is asked.")] = 40,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """Searches for similar pictures: how long they take, what they miss, and what is kept of a picture."""
    finish("similar", measure_similar(of, dimensions, times, progress), as_json, output, html)


@app.command()
def tags(
    names: Annotated[int, typer.Option(min=1_000, help="Of the dictionary that is made up.")] = 400_000,
    times: Annotated[int, typer.Option(min=1, help="How often each kind of text is typed.")] = 200,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """Suggestions from a dictionary of tags: how long they take, and what it takes of memory and time to start."""
    from bench.tags import measure as measure_tags  # needs the service, which --help must not

    finish("tags", measure_tags(names, times, progress), as_json, output, html)


@app.command()
def retag(
    of: Annotated[int, typer.Option("--pictures", min=100, help="Of the ledger that is made up.")] = 100_000,
    times: Annotated[int, typer.Option(min=1, help="How often each threshold is set.")] = 3,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """Other thresholds by kept scores, beside a local API: how long they take, and what the scores take of the disk."""
    finish("retag", measure_retag(of, times, progress), as_json, output, html)


@app.command()
def storage(
    files: Annotated[int, typer.Option(min=1, help="That are made, and read again and again.")] = 500,
    kb: Annotated[int, typer.Option(min=1, help="Thousands of bytes of a file.")] = 100,
    rounds: Rounds = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of each point.")] = 1.0,
    smb: Annotated[Path | None, typer.Option(help="A folder of pictures on a mounted share, for a row of it.")] = None,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """Files/s of a folder and of S3 by the number of readers, beside Python's open and obstore alone."""
    from bench.storage import measure as measure_storage  # starts servers, which --help must not need

    finish("storage", measure_storage(files, kb, rounds, seconds, smb, progress), as_json, output, html)


@app.command()
def cluster(
    sessions: Annotated[
        list[int] | None, typer.Option(min=1, help="May be given several times; else 1, 2, 4, 8.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Ray's nodes on this machine, at most.")] = 2,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each run.")] = 20.0,
    rounds: Rounds = 3,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """`engine run --ray` with sessions that wait like a GPU: throughput by their number, beside a plain run."""
    from bench.cluster import measure as measure_cluster

    finish(
        "cluster", measure_cluster(sessions or [1, 2, 4, 8], rounds, seconds, nodes, progress), as_json, output, html
    )


@app.command()
def estimate(
    model: Model,
    images: Annotated[int, typer.Option(min=1, help="Pictures of the catalogue.")] = CATALOGUE,
    efficiency: Annotated[float | None, typer.Option(min=0.01, max=1.0, help="A measured share of the peak.")] = None,
    nodes: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of cards: what limits so many nodes, each with a GPU."),
    ] = None,
    pace: Annotated[float, typer.Option(min=0.01, help="With --nodes: images/s of a GPU.")] = 20.0,
    file_kb: Annotated[float, typer.Option(min=0.1, help="With --nodes: thousands of bytes of a file.")] = 500.0,
    storage_mb: Annotated[float, typer.Option(min=0.1, help="With --nodes: MB/s that the storage gives.")] = 110.0,
    link_mb: Annotated[float, typer.Option(min=0.1, help="With --nodes: MB/s of a machine's network.")] = 110.0,
    api_records: Annotated[float, typer.Option(min=1, help="With --nodes: records/s that the API takes.")] = 5_000.0,
    records: Annotated[float, typer.Option(min=0.1, help="With --nodes: records of a picture.")] = 40.0,
    title: Title = None,
    as_json: Json = False,
    output: Output = None,
    html: Html = None,
) -> None:
    """What a card would do, from the model's operations and the card's peak; or what limits a cluster. An estimate."""
    if nodes:
        opened = open_model(model)
        place = Place(nodes, pace, images, file_kb, storage_mb, link_mb, api_records, records)
        shape = opened.preprocessing
        row_bytes = shape.height * shape.width * 3 * (1 if shape.dtype == "uint8" else 2)
        found = estimate_nodes(place, len(opened.tags), row_bytes)
        finish("nodes", _titled(title, opened) | found, as_json, output, html)
        return
    from bench.graph import gflop  # needs onnx, which --help must not

    opened = open_model(model)
    cost = gflop(opened.precision(None).file)
    shares = (efficiency, efficiency) if efficiency else REALISTIC
    finish("estimate", _titled(title, opened) | estimate_cards(cost, shares, images), as_json, output, html)


@app.command()
def table() -> None:
    """Write the README's table from the committed results."""
    print("README.md updated" if readme.update() else "README.md was right already")


def _titled(title: str | None, model: ModelFolder) -> dict[str, str]:
    shape = model.preprocessing
    return {"title": f"{title or model.project} ({shape.width} x {shape.height}, {len(model.tags):,} tags)"}


def progress(text: str) -> None:
    """A line on stderr: stdout is for the result."""
    print(text, file=sys.stderr, flush=True)


def finish(command: str, content: dict[str, Any], as_json: bool, output: Path | None, html: Path | None) -> None:
    """Show a result in the ways that were asked for."""
    result = envelope(command, ARGV.get()) | content
    document = json.dumps(result, ensure_ascii=False)
    if output:
        output.write_text(document + "\n", encoding="utf-8", newline="\n")
    if html:
        from bench.page import page

        html.write_text(page(result), encoding="utf-8", newline="\n")
    if as_json:
        print(document)
    else:
        show(result, Console(width=None if sys.stdout.isatty() else WIDTH))


def main(argv: list[str] | None = None) -> int:
    """Runs the command. Returns the exit code: 0 for success, 1 if measuring failed, 2 for a wrong command line."""
    words = sys.argv[1:] if argv is None else argv
    ARGV.set(words)
    try:
        typer.main.get_command(app).main(args=list(words), prog_name="engine bench")
    except SystemExit as stop:
        return int(stop.code or 0)
    except (EngineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
