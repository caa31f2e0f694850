"""`engine tune`: finds by measuring what beats the defaults, and writes only that into engine.toml."""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer
from rich.console import Console
from rich.table import Table
from tomlkit.exceptions import TOMLKitError

from engine.cli.console import log_to_stderr, say, sentences
from engine.cli.progress import steps
from engine.cli.settings import load, options, settings_file
from engine.cli.tag import pictures as listed
from engine.cli.trials import MARGIN, Measurer, Settings, Trial, race, rendered_pictures, winner
from engine.config import RunConfig
from engine.errors import ConfigError, first_line
from engine.files import replacing
from engine.machine import cores
from engine.model.devices.device import Device, Unavailable
from engine.model.devices.vram import LARGEST
from engine.model.folder import BF16, Model, open_model
from engine.model.onnx_runtime import Ort, import_onnxruntime
from engine.model.open import all_devices

TUNED = ("batch_size", "intra_op_threads", "decode_threads", "workspace", "submitters")
FLAGS = ("device", "precision", "vram_limit", "verbose")


@options(RunConfig, "model", *FLAGS)
def tune(
    pictures: Annotated[
        Path | None, typer.Option(help="A folder of pictures like yours; rendered ones by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="About how long one measurement takes.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each setting is measured.")] = 5,
    config: Annotated[
        Path | None, typer.Option(help="The settings file to write; by default the one that runs read.")
    ] = None,
    take: Annotated[
        bool, typer.Option("--write", help="Write the fastest device and precision too, not only what keeps the tags.")
    ] = False,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        file = settings_file(config)
        settings = load(RunConfig, flags, file if file.exists() else None)
        log_to_stderr(settings.verbose)
        if settings.model is None:
            raise ConfigError("--model is missing: the folder that `engine convert` wrote")
        base = settings.model_copy(update={name: RunConfig.model_fields[name].default for name in TUNED})
        model = open_model(settings.model)
        measurer = Measurer(model, base, seconds)
        session = measurer.open({})
        say(f"{model.project} in {session.precision} on {session.why}")
        start, device = session.batch_size, session.device
        del session  # a small card has no room for two
        found = on_cuda(measurer, start, rounds) if device == "cuda" else on_cpu(measurer, start, rounds, pictures)
        only = None if flags.get("device") in (None, "auto") else device
        fastest = compare_devices(measurer, places(model, base.precision, device, only), found.settings, rounds)
        typer.echo(keep(file, found))
        if fastest:
            typer.echo(take_or_tell(file, fastest, take))


@dataclass(frozen=True)
class Found:
    """What the races found: the fastest settings, and those of them that beat their default."""

    settings: Settings
    better: Settings

    def then(self, trials: Sequence[Trial]) -> "Found":
        """With the winner of one more race, whose first is the default."""
        best = winner(trials).settings
        better = {name: value for name, value in best.items() if value != trials[0].settings[name]}
        return Found(best, {**self.better, **better})


def on_cpu(measurer: Measurer, start: int, rounds: int, folder: Path | None) -> Found:
    """The batch by the model alone, the threads' shares end to end: decoding and the model want the same cores."""
    found = Found({}, {}).then(contest("batch", around(start, 8), measurer.model_alone, rounds))
    with ExitStack() as stack:
        files = list(listed([folder])) if folder else stack.enter_context(rendered_pictures())
        shares = [
            {**found.settings, "intra_op_threads": model, "decode_threads": decode} for model, decode in splits(cores())
        ]
        trials = contest("threads, from file to tags", shares, lambda trial: measurer.end_to_end(trial, files), rounds)
    return found.then(trials)


def on_cuda(measurer: Measurer, start: int, rounds: int) -> Found:
    """Batch, then cuDNN's workspace, then a second submitter: each with what was found before."""
    found = Found({}, {}).then(contest("batch", around(start, LARGEST), measurer.model_alone, rounds))
    # The default of the workspace is None: it depends on the memory, so it is a third candidate beside no and yes.
    for name, values in (("workspace", (None, False, True)), ("submitters", (1, 2))):
        candidates = [{**found.settings, name: value} for value in values]
        found = found.then(contest(name, candidates, measurer.model_alone, rounds))
    return found


def contest(
    title: str, candidates: Sequence[Settings], measure: Callable[[Trial], float | None], rounds: int
) -> Sequence[Trial]:
    """A race with a bar while it lasts, and its table."""
    with steps(f"measuring: {title}", len(candidates) * rounds) as step:
        trials = race(candidates, measure, rounds, step)
    show(title, trials)
    return trials


def around(start: int, largest: int) -> list[Settings]:
    """The default batch first, then the powers of two up to `largest`."""
    sizes = [2**power for power in range(largest.bit_length()) if 2**power != start]
    return [{"batch_size": size} for size in (start, *sizes)]


def splits(count: int) -> list[tuple[int, int]]:
    """(threads of the model, threads that decode) for so many cores; the default, all and all, first."""
    fewer, half = max(1, count - 1), max(1, count // 2)
    return list(dict.fromkeys([(count, count), (count, half), (count, 1), (fewer, count), (fewer, 1)]))


def places(model: Model, chosen: str | None, device: str, only: str | None) -> list[Settings]:
    """Devices and precisions to compare: the one that was measured first, then all others that can be used here.

    `only`: leave out other devices. Of the precisions those that were verified are tried, and bf16, whose verdict the
    device finds itself.
    """
    ort, first = import_onnxruntime(), model.precision(chosen).name
    names = [first, *(name for name, it in model.precisions.items() if name != first and it.verdict == "pass")]
    names += [BF16] if "fp32" in model.precisions and first != BF16 else []
    found: list[Settings] = [{"device": device, "precision": first}]
    for other in all_devices():
        if other.name == device or (only is None and _is_there(other, ort)):
            found += [{"device": other.name, "precision": name} for name in names if name in other.precisions]
    return [place for number, place in enumerate(found) if place not in found[:number]]


def _is_there(device: Device, ort: Ort) -> bool:
    try:
        device.check(ort)
    except Unavailable:
        return False
    return True


def compare_devices(
    measurer: Measurer, candidates: Sequence[Settings], found: Settings, rounds: int
) -> Settings | None:
    """Say what other devices and precisions would bring, as far as they are there; the fastest if it beats the first.

    Taking it is the user's decision: another precision gives other scores.
    """
    if len(candidates) < 2:
        return None
    trials = contest(
        "device and precision, the model alone", [{**found, **it} for it in candidates], measurer.model_alone, rounds
    )
    best = winner(trials)
    if best is trials[0]:
        return None
    return {name: best.settings[name] for name in ("device", "precision")}


def take_or_tell(file: Path, fastest: Settings, take: bool) -> str:
    """Write the fastest device and precision if `take` says so; else how the user can. What was done, in a sentence."""
    lines = " and ".join(f"{name} = {json.dumps(value)}" for name, value in fastest.items())
    if not take:
        return f"faster is {lines}, which was not written: put it into {file}, or give --write"
    write(file, fastest)
    return f"{file}: {lines}; a ledger of another precision goes on with `engine retag` only"


def show(title: str, trials: Sequence[Trial]) -> None:
    """Print a race as a table: images/s as median and range, against the default."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    table = Table(*names, "images/s", "range", "against default", title=title, title_justify="left")
    best = winner(trials)
    for trial in trials:
        rates = [rate for rate in trial.rates if rate is not None]
        row = [str(trial.settings[name]) for name in names]
        if trial.rate is None:
            row += [trial.why or "does not fit", "", ""]
        else:
            row += [f"{trial.rate:.2f}", f"{min(rates):.2f}-{max(rates):.2f}", f"x {trial.gain(trials[0]):.2f}"]
        table.add_row(*row, style="bold" if trial is best else None)
    Console().print(table)
    if best is trials[0] and len(trials) > 1:
        typer.echo(f"nothing is faster than the default by more than {MARGIN:.0%}")


def keep(file: Path, found: Found) -> str:
    """Write what beat its default, and take out what earlier stood there and does not; what was done, in a sentence.

    A value that was tuned on another machine, or for another model, must not outlive a race that the default won.
    """
    stale = stale_keys(file, found)
    if found.better or stale:
        write(file, found.better, without=stale)
    parts = [f"{key} = {json.dumps(value)}" for key, value in found.better.items()]
    parts += [f"{key} taken out, for the default is as fast" for key in stale]
    return f"{file}: {', '.join(parts)}" if parts else f"the defaults are best here: nothing is written into {file}"


def stale_keys(file: Path, found: Found) -> list[str]:
    """The keys in the file that were measured and whose default won."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, ValueError):  # `write` tells what is wrong with it
        return []
    return [name for name in document if name in found.settings and name not in found.better]


def write(file: Path, found: Settings, without: Sequence[str] = ()) -> None:
    """Put keys into a TOML file, take those of `without` out, and leave the rest as it is, comments too.

    Raises:
        ConfigError: that fails; the file is as it was.
    """
    try:
        text = file.read_bytes().decode("utf-8") if file.exists() else ""
        document = tomlkit.parse(text if text.endswith("\n") or not text else text + "\n")
        document.update(found)
        for name in without:
            del document[name]
        with replacing(file) as part:
            part.write_bytes(tomlkit.dumps(document).encode("utf-8"))
    except (OSError, ValueError, TOMLKitError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or first_line(error)
        raise ConfigError(f"{file} cannot be written ({reason}): set {dict(found)} there yourself") from None
