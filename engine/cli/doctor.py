"""`engine doctor`: what a long run will need, checked before it, each failure with its cure.

It takes every flag of `engine run`, so that the line of a run can be checked as it is. What is not named is not
checked.
"""

import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

import platformdirs
import psutil
import typer

from engine.api.addresses import warnings
from engine.api.client import MediaApi
from engine.cli.commands import shadows
from engine.cli.console import FATAL, OK, say, sentences
from engine.cli.endpoints import APP, Endpoints, endpoints
from engine.cli.settings import load, options
from engine.config import RunConfig
from engine.errors import ConfigError, EngineError, MediumError, StorageError, Unreadable
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.ledger.schema import explained
from engine.machine import cores
from engine.model.devices.device import Unavailable
from engine.model.folder import open_model
from engine.model.onnx_runtime import import_onnxruntime
from engine.model.open import all_devices, open_session, session_config
from engine.pictures.decode import decode
from engine.storage import open_storage
from engine.storage.speed import Speed, reading_speed
from engine.types import Media

SAMPLE = 20
"""Media asked for and read: enough to see that storage and catalogue belong together."""
PATIENCE = 10.0
"""Seconds without progress of a read, to try."""
LARGEST = 1 << 30
"""Bytes of a file that is read to try."""
LOOKED_AT = (
    "model", "segment_url", "recognition_url", "recognition_bulk_url", "recognition_replace_url", "storage",
    "library", "db", "state", "token_file", "ca_file", "timeout", "give_up_after", "device", "precision", "batch_size",
    "vram_limit",
)  # fmt: skip
"""The settings that a check depends on. The others are taken too, for the flags of a run are tried by hand."""
LIMIT = 30.0
"""Seconds after which a check is given up: a mount that hangs would keep it for ever."""
READERS = (1, 4, 16, 32)
"""Readers that the storage is measured with, each for `SECONDS`."""
SECONDS = 0.5
MEASURED = 200
"""Media of the catalogue's beginning that are read to measure."""
LARGEST_MEASURED = 1 << 26
"""Bytes of a file that is read to measure: 32 are in memory at once."""
NEAR_THE_BEST = 0.9
"""Of the highest speed: the fewest readers that reach it are enough."""
ADDRESSES = "segment_url", "recognition_url", "recognition_bulk_url", "recognition_replace_url"
GB = 1e9


@options(RunConfig, explained=LOOKED_AT)
def doctor(
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        # A check that waits for ever tells nothing.
        settings = settings.model_copy(update={"give_up_after": settings.give_up_after or 10.0})
        for sentence in shadows():
            say(f"warning: {sentence}")
        good = [_check("this machine", _machine), _check("ONNX Runtime", _runtime)]
        if good[-1]:
            good.append(_devices(settings))
        if settings.model:
            good.append(_check("model and device", lambda: _model(settings)))
        if settings.library and not _check("library", lambda: _folder(settings.library), silent=True):
            raise typer.Exit(FATAL)  # the embedded service would wait for the folder as long as it hangs
        if any(getattr(settings, name) for name in ("library", "storage", *ADDRESSES)):
            with endpoints(settings) as where:
                checks = {
                    "storage": lambda: _storage(where),
                    "media API and token": lambda: _api(where),
                    "state": lambda: _state(where),
                }
                found = {name: _check(name, check) for name, check in checks.items()}
                if found["storage"] and found["media API and token"]:
                    found["storage speed"] = _check("storage speed", lambda: _speed(where))
                good += found.values()
        else:
            say("storage and media API were not named, so not checked: add the flags of your `engine run`")
        raise typer.Exit(OK if all(good) else FATAL)


def _check(name: str, check: Callable[[], str], *, silent: bool = False) -> bool:
    """Says what a check found, and whether it is good; `silent` says only what is not."""
    try:
        found = _in_time(check)
    except (EngineError, MediumError) as error:
        typer.echo(f"FAIL  {name}: {error}")
        return False
    if not silent:
        typer.echo(f"ok    {name}: {found}")
    return True


def _in_time(check: Callable[[], str]) -> str:
    """What the check says. One that hangs is left to a thread that ends with the process."""
    found: list[str] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            found.append(check())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, name="check", daemon=True)
    thread.start()
    thread.join(LIMIT)
    if raised:
        raise raised[0]
    if not found:
        raise EngineError(
            f"no end within {LIMIT:g} s, given up: does a share or a server hang? Look whether its files can be listed"
        )
    return found[0]


def _machine() -> str:
    """Cores, memory, and the folder in which ledgers and libraries are kept unless --state or --db says otherwise."""
    data, memory = platformdirs.user_data_path(APP, appauthor=False), psutil.virtual_memory()
    try:
        data.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=data):
            free = psutil.disk_usage(str(data)).free
    except OSError as error:
        raise ConfigError(
            f"the user's data folder {data} takes no files ({error.strerror}): make room there, or name another place "
            "with --state"
        ) from None
    return (
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {cores()} cores, "
        f"{memory.total / GB:.1f} GB of memory, {memory.available / GB:.1f} free; {free / GB:,.1f} GB free for {data}"
    )


def _runtime() -> str:
    """Which ONNX Runtime is installed."""
    ort = import_onnxruntime()
    return f"{getattr(ort, 'package_name', 'onnxruntime')} {ort.__version__}"


def _devices(settings: RunConfig) -> bool:
    """Say of each device whether it can be used here, or what is missing and the cure. Only the one that was asked for
    must be there."""
    ort, good = import_onnxruntime(), True
    for device in all_devices():
        if device.name == settings.device:
            good = _check(f"device {device.name}", partial(device.check, ort))
            continue
        try:
            typer.echo(f"ok    device {device.name}: {device.check(ort)}")
        except Unavailable as missing:
            typer.echo(f"--    device {device.name}: {missing}")
    return good


def _model(settings: RunConfig) -> str:
    if settings.model is None:
        raise ConfigError("--model is missing: the folder that `engine convert` wrote")
    model = open_model(settings.model)
    session = open_session(model, model.precision(settings.precision), session_config(settings))
    return f"{model.project}, {len(model.tags):,} tags, {session.precision} on {session.why}"


def _storage(where: Endpoints) -> str:
    open_storage(where.storage, where.access(PATIENCE)).check()
    return f"{where.storage} is there"


def _api(where: Endpoints) -> str:
    api = MediaApi(where.api, where.token, Stop())
    try:
        page = api.segment(0, SAMPLE)
    finally:
        api.close()
    said = "; ".join(["", *warnings(where.api, where.token)])
    if not page:
        return f"answers, and lists no media{said}"
    return f"answers; {_readable(where, page)} (posting is not tried){said}"


def _readable(where: Endpoints, page: Sequence[Media]) -> str:
    """Some missing files are a catalogue's daily life; if none can be read, it belongs to another storage."""
    storage = open_storage(where.storage, where.access(PATIENCE))
    failures = []
    for media in page:
        try:
            with storage.open(media.storage_url, max_bytes=LARGEST) as reading:
                reading.whole()
        except Unreadable as error:
            failures.append(str(error))
    if len(failures) == len(page):
        raise StorageError(
            f"none of the first {len(page)} media can be read from {where.storage}: is it the folder that their keys "
            f"start from? {failures[0]}"
        )
    read = f"{len(page) - len(failures)} of the first {len(page)} media can be read from the storage"
    return f"{read}, not all: {failures[0]}" if failures else read


def _folder(path: Path | None) -> str:
    """Only that it answers: what is wrong with it, the service says."""
    return f"{path} is there" if path and path.exists() else f"{path} is not there"


def _speed(where: Endpoints) -> str:
    """How fast files come by the number of readers, how many readers are enough, and what would limit a run."""
    api = MediaApi(where.api, where.token, Stop())
    try:
        keys = [media.storage_url for media in api.segment(0, MEASURED)]
    finally:
        api.close()
    if not keys:
        return "nothing to read, as no media are listed"
    storage = open_storage(where.storage, where.access(PATIENCE))

    def read(key: str) -> bytes:
        with storage.open(key, max_bytes=LARGEST_MEASURED) as reading:
            return reading.whole()

    speeds: dict[int, Speed] = {}
    for readers in READERS:
        speeds[readers] = reading_speed(lambda key: len(read(key)), keys, readers, SECONDS)
        if speeds[readers].hanging:  # they would read beside the next ones, and more wait would tell nothing
            break
    return _advice(speeds, _decoding(read, keys) if max(found.files_per_second for found in speeds.values()) else 0.0)


def _decoding(read: Callable[[str], bytes], keys: Sequence[str]) -> float:
    """Pictures/s that one core decodes, of those that can be; 0 where none can."""
    count, spent, end = 0, 0.0, time.monotonic() + SECONDS
    for key in keys:
        try:
            data = read(key)
            began = time.perf_counter()
            decode(data, key)
        except (Unreadable, MediumError):
            continue
        spent += time.perf_counter() - began
        count += 1
        if time.monotonic() > end:
            break
    return count / spent if count else 0.0


def _advice(speeds: Mapping[int, Speed], decoded: float) -> str:
    """The table of what was measured, below a sentence that says what follows from it."""
    best = max(found.files_per_second for found in speeds.values())
    hanging = next((found.hanging for found in speeds.values() if found.hanging), 0)
    if not best:
        raise StorageError(
            f"no file could be read within {SECONDS:g} s"
            + (": the storage hangs; look whether its files open at all" if hanging else "")
        )
    enough = min(readers for readers, found in speeds.items() if found.files_per_second >= NEAR_THE_BEST * best)
    files = speeds[enough].files_per_second
    said = f"{files:,.0f} files/s with {enough} readers (--read-threads {enough}); "
    if decoded:
        on_all = decoded * cores()
        slower = "the storage" if files < on_all else "decoding"
        said += f"{cores()} cores decode about {on_all:,.0f} pictures/s, so without the model {slower} is the limit"
    else:
        said += "no picture of them could be decoded"
    if hanging:
        said += f"; {hanging} readers still waited for a file when the time was over: more readers were not tried"
    rows = [
        f"{readers:13}{found.files_per_second:10,.1f}{found.bytes_per_second / 1e6:10,.1f}"
        for readers, found in speeds.items()
    ]
    return "\n".join([said, f"{'readers':>13}{'files/s':>10}{'MB/s':>10}", *rows])


def _state(where: Endpoints) -> str:
    with explained(where.state):
        if not where.state.exists():
            where.state.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=where.state.parent):
                return f"{where.state} will be made"
    with Ledger(where.state) as ledger:
        counts = ledger.counts()
    return f"{where.state}: " + (", ".join(f"{n:,} {o.value}" for o, n in counts.items() if n) or "empty")
