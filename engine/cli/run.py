"""`engine run`: bulk backfill, the drop-in for the original script."""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import platformdirs
import typer

from engine.access import ApiConfig, Token, warnings
from engine.chunks import Limits
from engine.cli.console import FINISHED_WITH_FAILURES, INTERRUPTED, OK, interruptible, log_to_stderr, say, sentences
from engine.cli.rooms import room
from engine.cli.settings import api_token, load, options
from engine.client import MediaApi
from engine.config import RunConfig
from engine.deliver import Delivery
from engine.errors import ConfigError
from engine.fingerprint import fix
from engine.flow import Stop
from engine.ledger import Ledger
from engine.machine import peak_rss_mb
from engine.model import open_model
from engine.pipeline import Parts, Pipeline
from engine.report import ProgressLine, Summary
from engine.session import open_session, session_config
from engine.storage import open_storage
from engine.types import Outcome

APP = "deepdanbooru-engine"


@dataclass(frozen=True)
class Place:
    """Where media come from and tags go to."""

    api: ApiConfig
    token: Token
    storage: str
    state: Path


def register(app: typer.Typer) -> None:
    app.command(help="Tag all media of a catalogue and post the tags; the same command goes on where it ended.")(run)


@options(RunConfig)
def run(
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        log_to_stderr(settings.verbose)
        with place(settings) as where:
            summary = tag_catalogue(settings, where)
        report(settings, summary)
        raise typer.Exit(exit_code(summary))


def tag_catalogue(settings: RunConfig, where: Place) -> Summary:
    """Build the engine, run it to the end of the catalogue, empty the outbox; the run in figures."""
    if settings.model is None:
        raise ConfigError("--model is missing: the folder that `engine convert` wrote")
    for sentence in warnings(where.api, where.token):
        say(f"warning: {sentence}")
    model = open_model(settings.model)
    stop = Stop()
    with ExitStack() as stack:
        storage = open_storage(where.storage)
        ledger = stack.enter_context(Ledger(where.state, on_error=stop.set))
        precision, threshold = fix(ledger, model, settings.precision, settings.threshold)
        session = open_session(model, precision, session_config(settings))
        say(f"{model.project} on {session.device}, {session.precision}, batches of {session.batch_size}")
        api = MediaApi(where.api, where.token, stop)
        stack.callback(api.close)
        delivery = None
        if not settings.dry_run:
            limits = Limits(records=settings.chunk_records, bytes=settings.chunk_bytes)
            delivery = Delivery(ledger, api, limits, on_fatal=stop.set)
            ledger.on_outbox(delivery.wake)
        parts = Parts(api, storage, model.preprocessing, model.tags, threshold, session, ledger, delivery)
        pipeline = Pipeline(parts, settings, stop, say, waiting=ledger.counts()[Outcome.OUTBOX])
        began = time.monotonic()
        interrupted = _work(settings, pipeline, lambda: None, stop)
        if delivery:
            posted = delivery.counters
            pipeline.tally.add(
                done=posted.done, rejected=posted.rejected, records=posted.records, requests=posted.requests
            )
        return Summary(
            tally=pipeline.tally,
            meters=pipeline.meters,
            seconds=time.monotonic() - began,
            device=session.device,
            precision=session.precision,
            batch_size=session.batch_size,
            peak_rss_mb=peak_rss_mb(),
            peak_vram_mb=None,
            ledger=ledger.counts(),
            interrupted=interrupted,
        )


def _work(settings: RunConfig, pipeline: Pipeline, last_id: Callable[[], int | None], stop: Stop) -> bool:
    """Run with progress; True if the user ended it."""
    line = None
    if not settings.quiet:
        line = ProgressLine(sys.stderr, pipeline.tally, pipeline.meters, lambda: pipeline.source.position, last_id)

    def tick() -> None:
        if interrupted() and not stop.is_set():
            say("ending: waiting for what is on its way; Ctrl-C again ends at once")
            stop.set()
        elif line:
            line.tick()

    with interruptible() as interrupted:
        try:
            pipeline.run(tick)
        finally:
            if line:
                line.close()
    return interrupted()


def report(settings: RunConfig, summary: Summary) -> None:
    """The summary for people on stderr; with --json, one object on stdout."""
    for line in summary.lines():
        say(line)
    if summary.interrupted:
        say("interrupted; the same command goes on from here")
    if settings.json_output:
        typer.echo(json.dumps(summary.as_json(), ensure_ascii=False))


def exit_code(summary: Summary) -> int:
    if summary.interrupted:
        return INTERRUPTED
    left = summary.ledger[Outcome.FAILED] + summary.ledger[Outcome.REJECTED]
    return FINISHED_WITH_FAILURES if left else OK


@contextmanager
def place(settings: RunConfig) -> Iterator[Place]:
    """The media API and the storage: those named, or the embedded service for a folder."""
    with ExitStack() as stack:
        where = _embedded(settings, stack) if settings.library else _named(settings)
        if settings.dry_run:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="engine-")))
            where = Place(where.api, where.token, where.storage, folder / "ledger.db")
        yield where


def default_state(key: str) -> Path:
    """The ledger's place in the user's data folder; one for each catalogue."""
    return (
        platformdirs.user_data_path(APP, appauthor=False) / f"ledger-{hashlib.sha256(key.encode()).hexdigest()[:12]}.db"
    )


def state_file(settings: RunConfig) -> Path:
    """Where the ledger of these settings lies, without starting anything."""
    if settings.state:
        return settings.state
    if settings.library:
        return library_state(room("service.database", "default_path", "service")(settings.library))
    if settings.segment_url:
        return default_state(settings.segment_url)
    raise ConfigError("which ledger? Give --state FILE, --segment-url URL or --library FOLDER, as in the run")


def library_state(db: Path) -> Path:
    """A library's ledger lies beside the library's own database."""
    return db.with_suffix(".ledger.db")


def _named(settings: RunConfig) -> Place:
    missing = [
        flag for flag, value in (("--segment-url", settings.segment_url), ("--storage", settings.storage)) if not value
    ]
    if not (settings.recognition_url or settings.recognition_bulk_url):
        missing.append("--recognition-url or --recognition-bulk-url")
    if missing:
        raise ConfigError(f"{', '.join(missing)} missing; or give --library FOLDER to do without a media service")
    segment = settings.segment_url or ""
    api = _api(settings, segment, settings.recognition_url or "", settings.recognition_bulk_url)
    state = settings.state or default_state(segment)
    return Place(api, api_token(settings.token_file), settings.storage or "", state)


def _embedded(settings: RunConfig, stack: ExitStack) -> Place:
    if settings.segment_url or settings.storage:
        raise ConfigError("--library brings its own media API and storage: leave --segment-url and --storage out")
    service = room("service.embedded", "embedded", "service")
    try:
        running = stack.enter_context(service(settings.library, model=settings.model))
    except Exception as error:
        if isinstance(error, cast(type[Exception], room("service.errors", "ServiceError", "service"))):
            raise ConfigError(str(error)) from None
        raise
    say(f"{running.pictures:,} pictures; look at them while it works: {running.url}")
    api = _api(settings, running.segment_url, running.recognition_url, running.recognition_bulk_url)
    state = settings.state or library_state(running.db)
    return Place(api, Token(running.token), str(settings.library), state)


def _api(settings: RunConfig, segment: str, single: str, bulk: str | None) -> ApiConfig:
    return ApiConfig(
        segment_url=segment,
        recognition_url=single,
        recognition_bulk_url=bulk,
        timeout_s=settings.timeout,
        connections=settings.connections,
        ok_codes=settings.ok_codes,
        ca_file=settings.ca_file,
        give_up_after_s=settings.give_up_after,
    )
