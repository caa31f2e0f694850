"""`engine demo`: renders pictures, tags them over HTTP as the engine does, and compares the tags with the true ones."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import typer
from typer.main import get_command

from convert.cli import main as convert
from demo.render import Truth, render
from demo.review import ANSWERS, GUESSED, address, answer, post_guesses
from demo.score import f1
from service.cli import export_main as export

if TYPE_CHECKING:  # needs the extra service, which --help must not
    from service.embedded import Running

NAMES = ("长发", "ロングヘア", "long_hair")
"""One tag, as three people look for it."""
PROJECT = Path(__file__).parent / "model"


def main(argv: list[str] | None = None) -> int:
    """`engine demo`. Returns the process's exit code: 0 when every step did what it should."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(_demo)
    try:
        get_command(app).main(args=argv, prog_name="engine demo")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


def _demo(
    pictures: Annotated[int, typer.Option(min=1, help="How many to render.")] = 300,
    seed: Annotated[int, typer.Option(help="Another one renders other pictures.")] = 7,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the service; 0 takes a free one.")] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Keep everything here. [default: a temporary folder]", show_default=False)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the page open until Ctrl-C.")] = False,
) -> None:
    """Render pictures, tag them over HTTP as the engine does, and compare the tags with the true ones."""
    raise typer.Exit(_run_all(Options(pictures, seed, port, folder, keep)))


@dataclass(frozen=True)
class Options:
    """What the command was told."""

    pictures: int
    seed: int
    port: int
    folder: Path | None
    keep: bool


def _run_all(options: Options) -> int:
    """Render, convert, serve, run, compare."""
    from service.embedded import embedded

    folder = options.folder or Path(tempfile.mkdtemp(prefix="engine-demo-"))
    pictures, model = folder / "pictures", folder / "model"
    try:
        truth = _render(pictures, options.pictures, options.seed)
        if not model.exists() and (code := convert([str(PROJECT), str(model)])):
            return code
        with embedded(pictures, db=folder / "library.db", port=options.port, model=model) as service:
            summary = _run(model, pictures, folder / "library.ledger.db", service)
            if summary is None:
                return 1
            tags = _stored(folder / "library.db", pictures)
            _report(summary, truth, tags, service)
            _review(service, folder / "library.ledger.db", truth, tags)
            if options.keep:
                _wait(service)
            else:
                print("  look at them    make demo KEEP=1 leaves the page open, with search over the tags")
        return 0
    finally:
        if options.folder is None and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _render(pictures: Path, count: int, seed: int) -> list[Truth]:
    began = time.monotonic()
    truth = render(pictures, count, seed)
    print(f"rendered {len(truth)} pictures in {time.monotonic() - began:.1f} s: {pictures}", flush=True)
    return truth


def _run(model: Path, pictures: Path, state: Path, service: "Running") -> dict[str, Any] | None:
    """`engine run` in a process of its own, as a user starts it; None if it failed."""
    command = [sys.executable, "-c", "from engine.cli import main; main()", "run", "--json"]
    command += ["--model", str(model), "--storage", str(pictures), "--state", str(state)]
    command += ["--segment-url", service.segment_url, "--recognition-url", service.recognition_url]
    command += ["--recognition-bulk-url", service.recognition_bulk_url]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ENGINE_")}
    result = subprocess.run(  # noqa: S603 - our own command
        command, env=environment | {"ENGINE_API_TOKEN": service.token}, stdout=subprocess.PIPE, check=False
    )
    if result.returncode:
        print(f"engine run ended with {result.returncode}", file=sys.stderr)
        return None
    return dict(json.loads(result.stdout))


def _stored(db: Path, pictures: Path) -> dict[str, list[str]]:
    """The tags that the service now has, by the picture's path."""
    file = db.with_suffix(".jsonl")
    if export(["--library", str(pictures), "--db", str(db), "--output", str(file)]):
        return {}
    entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {entry["path"]: [tag["tag"] for tag in entry["tags"]] for entry in entries}


def _report(summary: Mapping[str, Any], truth: list[Truth], tags: dict[str, list[str]], service: "Running") -> None:
    score = f1({picture.path: picture.tags for picture in truth if not picture.broken}, tags)
    print(f"\n  images/s        {summary['images_per_second']:.1f}")
    print(f"  bottleneck      {summary['bottleneck']}")
    print(f"  records posted  {summary['records']:,} in {summary['requests']:,} requests")
    found = {name: _found(service, name) for name in NAMES}
    same = "the same" if len({tuple(ids) for ids in found.values()}) == 1 else "different"
    print(f"  search          {', '.join(NAMES)} find {same} {len(found[NAMES[0]])} pictures on the page")
    print(f"  F1 of the tags  {score:.3f} against the truth, on {len(truth)} pictures the model never saw")


def _review(service: "Running", state: Path, truth: list[Truth], tags: dict[str, list[str]]) -> None:
    true = {picture.path: picture.tags for picture in truth if not picture.broken}
    guessed = post_guesses(service, state, tags)
    if len(guessed) < ANSWERS:  # so few pictures were rendered
        return
    moved = answer(service, guessed, true)
    print(
        f"  review          {ANSWERS} answers move the threshold of {GUESSED} from {moved.before} to {moved.after}",
        end="",
    )
    print(f" ({moved.low} to {moved.high}): F1 {moved.f1_before:.2f} -> {moved.f1_after:.2f}")


def _found(service: "Running", name: str) -> list[int]:
    """The pictures that a search on the service's page finds."""
    query = urlencode({"q": name, "limit": 200})
    with urlopen(f"{service.url}/search?{query}", timeout=30) as answer:  # noqa: S310 - our own service
        return [picture["id"] for picture in json.load(answer)["pictures"]]


def _wait(service: "Running") -> None:
    print(f"\nthe page stays open at {service.url} until Ctrl-C")
    print(f"twenty keys Y (a hat) and N (none) move a threshold at {address(service)}", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
