"""`engine run`: bulk backfill, the drop-in for the original script."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from engine.api.addresses import warnings
from engine.api.client import MediaApi
from engine.cli.commands import import_function
from engine.cli.console import FINISHED_WITH_FAILURES, INTERRUPTED, OK, interruptible, say, sentences
from engine.cli.dump import dump_on_signal
from engine.cli.endpoints import Endpoints, endpoints
from engine.cli.log import start_logging
from engine.cli.settings import load, options
from engine.cli.sinks import open_sinks
from engine.config import WAITS, RunConfig
from engine.errors import ConfigError
from engine.families import family_of
from engine.fingerprint import Fixed, choose, fingerprint, hold, hold_service
from engine.flow.channels import Stop
from engine.ledger.kept import Scorer
from engine.ledger.ledger import Ledger
from engine.machine import peak_rss_mb
from engine.model.folder import Model, open_model
from engine.model.open import open_session, session_config
from engine.model.session import RecoveringSession, SessionConfig
from engine.pipeline import Parts, Pipeline
from engine.report.progress import ProgressLine
from engine.report.summary import Summary
from engine.stages.source import MediaList, last_id
from engine.storage import open_storage
from engine.thresholds import parse_table
from engine.types import Media, Outcome

if TYPE_CHECKING:
    from engine.cluster.cluster import Cluster

ALL = ("*",)
"""All media are to be tagged again, as against those that are named."""
LIBRARY_WAITS = replace(WAITS, full_sweep=60.0)
"""A library of our own is listed in a second or two: a picture that was replaced need not wait for an hour."""

LOST = (
    "the state file {} was deleted or replaced during the run: what this run did is not kept, and what still waited "
    "for the media API is lost; the next run tags those media again"
)


@options(RunConfig)
def run(
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        start_logging(settings)
        run_by_pictures(settings)


def run_by_pictures(settings: RunConfig, again: Sequence[str] = ()) -> None:
    """Tag what is to be tagged, print what came of it, and leave."""
    if settings.model is None:
        raise ConfigError("--model is missing: the folder that `engine convert` wrote")
    model = open_model(settings.model)
    with endpoints(settings) as where:
        summary = tag_catalogue(settings, model, where, again=again)
    report(settings, summary)
    raise typer.Exit(INTERRUPTED if summary.interrupted else exit_code(summary.ledger, summary.refused_records))


def tag_catalogue(settings: RunConfig, model: Model, where: Endpoints, *, again: Sequence[str] = ()) -> Summary:
    """Build the engine, run it to the end of the catalogue, empty the outbox; the run in figures.

    `again` names media that are tagged once more, and no others. `ALL` makes all media of the ledger pending first, and
    takes the settings as its new fingerprint.
    """
    for sentence in warnings(where.api, where.token):
        say(f"warning: {sentence}")
    stop = Stop()
    with ExitStack() as stack:
        storage = open_storage(where.storage, where.access(settings.read_timeout))
        ledger = stack.enter_context(Ledger(where.state, on_error=stop.set))
        hold_service(ledger, where.service, moved=settings.moved, formerly=where.formerly)
        fixed = choose(ledger, model, settings.precision, settings.threshold, settings.threshold_file)
        family = family_of(model.preprocessing)
        select = family.selection(model.tags, model.categories, fixed.threshold, parse_table(fixed.table))
        if again is not ALL:
            hold(ledger, fingerprint(model, fixed))
            ledger.name_model(model.project)
        features = (model.features or 0) if settings.vectors and not settings.dry_run else 0
        config = session_config(settings, features=features > 0)
        cluster = stack.enter_context(_open_cluster(settings, model, fixed, config, where)) if settings.ray else None
        session = None if cluster else open_session(model, fixed.precision, config)
        opened = cast("Cluster | RecoveringSession", cluster or session)
        api = MediaApi(where.api, where.token, stop, book=ledger)
        stack.callback(api.close)
        chosen = _begin_again(ledger, model, fixed, settings, api, again) if again else None
        if settings.keep_scores and not settings.dry_run:
            ledger.keep_scores(scorer(model, settings.keep_scores))
        if chosen:  # these and nothing else: what else of the catalogue waits is no matter of this run
            settings = settings.model_copy(update={"limit": len(chosen.media), "follow": None})
        tags_from = f"tags from {fixed.threshold}"
        say(f"{model.project} in {opened.precision}, {tags_from}, batches of {opened.batch_size}, on {opened.why}")
        parts = Parts(
            catalogue=chosen or api,
            storage=storage,
            family=family,
            session=session,
            select=select,
            books=ledger,
            sinks=open_sinks(settings, ledger, api, stop),
            features=features,
            on_change=where.on_change,
            cluster=cluster,
        )
        waits = LIBRARY_WAITS if settings.library else WAITS
        pipeline = Pipeline(parts, settings, stop, say=say, in_outbox=ledger.in_outbox(), waits=waits)
        stack.enter_context(dump_on_signal(pipeline.meters, ledger.counts))
        began = time.monotonic()
        interrupted = _work(settings, pipeline, partial(last_id, parts.catalogue), stop)
        for sink in parts.sinks:
            pipeline.tally.add(**sink.figures())
        pipeline.tally.add(done=ledger.ended[Outcome.DONE], rejected=ledger.ended[Outcome.REJECTED])
        if not ledger.is_there():
            say(f"warning: {LOST.format(where.state)}")
        return Summary(
            tally=pipeline.tally,
            meters=pipeline.meters,
            seconds=time.monotonic() - began,
            device=opened.device,
            precision=opened.precision,
            batch_size=opened.batch_size,
            peak_rss_mb=peak_rss_mb(),
            peak_vram_mb=opened.peak_vram_mb,
            peak_vram_of=opened.peak_vram_of,
            ledger=ledger.counts(),
            refused_records=ledger.count_refused(),
            interrupted=interrupted,
            follows=settings.follow is not None,
            cluster=cluster.summary() if cluster else None,
        )


def scorer(model: Model, floor: float) -> Scorer:
    """The model as one whose scores are kept from `floor` up."""
    return Scorer(0, model.project, model.sha256, model.tags_sha256, model.tags, model.categories, floor)


def _open_cluster(
    settings: RunConfig, model: Model, fixed: Fixed, config: SessionConfig, where: Endpoints
) -> AbstractContextManager["Cluster"]:
    """With --ray: machines in place of this one's session. Raises `EngineError` where Ray is not installed."""
    open_cluster = import_function("engine.cluster.cluster", "open_cluster", "ray")
    access = where.access(settings.read_timeout)
    opened = open_cluster(settings.ray, settings, model, fixed.precision.name, config, where.storage, access, say)
    return cast(AbstractContextManager["Cluster"], opened)


def _begin_again(
    ledger: Ledger, model: Model, fixed: Fixed, settings: RunConfig, api: MediaApi, again: Sequence[str]
) -> MediaList | None:
    """Make media pending, now that the model is known to work; those that are named, or None for all."""
    chosen = None
    if again is ALL:
        count = ledger.begin_again(fingerprint(model, fixed), model.project)
    else:
        chosen = MediaList(_find(api, settings, again))
        ledger.admit(chosen.media)
        ledger.retry(chosen.media).result()
        count = len(chosen.media)
    what_happens = (
        "what they no longer get is taken away"
        if api.config.recognition_replace_url
        else "the service keeps tags that they no longer get, for it has no address that replaces them "
        "(--recognition-replace-url)"
    )
    say(f"{count:,} media will be tagged again; {what_happens}")
    return chosen


def _find(api: MediaApi, settings: RunConfig, names: Sequence[str]) -> list[Media]:
    """The media of the catalogue that are named by id, storage key or file. Raises `ConfigError` for one not there."""
    missing = {_as_key(name, settings.library): name for name in names}
    found, start = [], 0
    while missing and (page := api.segment(start, settings.segment_size)):
        for media in page:
            keys = {str(media.id), media.storage_url} & missing.keys()
            found += [media] if keys else []
            for key in keys:
                del missing[key]
        start = page[-1].id + 1
    if missing:
        raise ConfigError(f"the catalogue lists no {next(iter(missing.values()))}: name an id or a storage key of it")
    return found


def _as_key(name: str, library: Path | None) -> str:
    """A file of the library as its storage key; what is none, as it is."""
    root, file = library and library.resolve(), Path(name).resolve()
    return file.relative_to(root).as_posix() if root and file.is_file() and file.is_relative_to(root) else name


def _work(settings: RunConfig, pipeline: Pipeline, last_id: Callable[[], int | None], stop: Stop) -> bool:
    """Run with progress; True if the user ended it."""

    def tick() -> None:
        if interrupted() and not stop.is_set():
            say("ending: waiting for what is on its way; Ctrl-C again ends at once")
            stop.set()
        elif line:
            line.tick()

    with interruptible() as interrupted:
        line = None
        if not settings.quiet:
            line = ProgressLine(
                sys.stderr,
                pipeline.tally,
                pipeline.meters,
                pipeline.standing,
                last_id,
                follows=settings.follow is not None,
            )
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
    if settings.dry_run:
        say("a dry run: nothing was posted, nothing is kept")
    if settings.library:
        say(f"look at it: engine serve --library {settings.library} --model {settings.model}")
    if summary.interrupted:
        say("interrupted; `engine run` with the same flags goes on from here")
    if settings.json_output:
        typer.echo(json.dumps(summary.as_json(), ensure_ascii=False))


def exit_code(ledger: Mapping[Outcome, int], refused_records: int) -> int:
    """Of a run that came to its end."""
    left = ledger[Outcome.FAILED] + ledger[Outcome.REJECTED] + refused_records
    return FINISHED_WITH_FAILURES if left else OK
