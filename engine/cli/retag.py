"""`engine retag`: all media again, with another model by their pictures, or with other thresholds by kept scores."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.api.addresses import warnings
from engine.api.client import MediaApi
from engine.cli.console import INTERRUPTED, say, sentences
from engine.cli.deliver import empty
from engine.cli.endpoints import Endpoints, endpoints, named_endpoints, state_file
from engine.cli.log import start_logging
from engine.cli.progress import counting
from engine.cli.run import ALL, exit_code, run_by_pictures
from engine.cli.settings import load, options
from engine.cli.sinks import open_sinks
from engine.config import RunConfig
from engine.delivery.loop import SINK
from engine.errors import ConfigError
from engine.fingerprint import hold_service
from engine.flow.channels import Stop
from engine.ledger.kept import Change, Judged
from engine.ledger.ledger import Ledger
from engine.ledger.schema import LedgerView, must_exist
from engine.model.folder import open_model
from engine.report.summary import counted
from engine.rethreshold import NoScores, Plan, Rethreshold, plan
from engine.thresholds import read_table
from engine.types import Outcome

THRESHOLDS = {"threshold", "threshold_file"}
PICTURES_ALONE = {"limit", "follow", "retry_failed"}
"""Flags that speak of a run over pictures."""


@options(RunConfig)
def retag(
    media: Annotated[
        list[str] | None,
        typer.Argument(help="Only these: media ids, storage keys or files. [default: all]"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        start_logging(settings)
        if THRESHOLDS & flags.keys() and not media and not PICTURES_ALONE & flags.keys():
            _by_scores(settings)
        run_by_pictures(settings, again=media or ALL)


def _by_scores(settings: RunConfig) -> None:
    """Post what other thresholds change, and leave; come back if only pictures can tell, and there is a model."""
    try:
        state = state_file(settings)
        must_exist(state)
        if settings.dry_run:
            with LedgerView(state) as view:
                _preview(view, _plan(view, settings), replaces=_replaces(settings))
            raise typer.Exit
        with _endpoints(settings) as where:
            stop = Stop()
            with Ledger(where.state, on_error=stop.set) as ledger:
                wanted = _plan(ledger, settings)
                if settings.library or settings.segment_url:
                    hold_service(ledger, where.service, moved=settings.moved, formerly=where.formerly)
                _post(settings, where, ledger, wanted, stop)
    except NoScores as why:
        if settings.model is None:
            raise ConfigError(f"{why}: so the pictures must be read, and --model is missing") from None
        say(f"{why}: the pictures are read")


def _plan(ledger: LedgerView, settings: RunConfig) -> Plan:
    table = read_table(settings.threshold_file) if settings.threshold_file else None
    model = open_model(settings.model) if settings.model else None
    return plan(ledger, settings.threshold, table, model, settings.precision)


@contextmanager
def _endpoints(settings: RunConfig) -> Iterator[Endpoints]:
    if settings.library:
        with endpoints(settings) as where:
            yield where
    else:
        yield named_endpoints(settings, storage_needed=False)


def _replaces(settings: RunConfig) -> bool:
    return bool(settings.library or settings.recognition_replace_url)


def _preview(view: LedgerView, wanted: Plan, *, replaces: bool) -> None:
    judge = Rethreshold(wanted, replaces=replaces)
    with _judging(view) as done:
        for page in view.judged(wanted.scorer, SINK):
            for _ in judge(page):
                pass
            done(judge.media)
    _say(judge, replaces)
    _say_without(view.without_scores(wanted.scorer))
    say("a dry run: nothing was posted, nothing is kept")


def _judging(view: LedgerView) -> AbstractContextManager[Callable[[int], None]]:
    counts = view.counts()
    return counting("judging media by their scores", counts[Outcome.DONE] + counts[Outcome.OUTBOX])


def _post(settings: RunConfig, where: Endpoints, ledger: Ledger, wanted: Plan, stop: Stop) -> None:
    for sentence in warnings(where.api, where.token):
        say(f"warning: {sentence}")
    began = time.monotonic()
    replaces = where.api.recognition_replace_url is not None
    ledger.name_model(wanted.scorer.name)
    api = MediaApi(where.api, where.token, stop, book=ledger)
    try:
        sinks = open_sinks(settings, ledger, api, stop)  # which may be refused: then the ledger has not changed
        judge = Rethreshold(wanted, replaces=replaces)
        with _judging(ledger) as done:

            def judge_page(page: Sequence[Judged]) -> Iterator[Change]:
                yield from judge(page)
                done(judge.media)

            pending = ledger.judge_again(wanted.scorer, judge_page, wanted.thresholds.meta(), SINK)
        judged = time.monotonic() - began
        _say(judge, replaces)
        _say_without(pending)
        interrupted = empty(ledger, sinks, stop)
    finally:
        api.close()
    if stop.error:
        raise stop.error
    figures = {name: sum(sink.figures().get(name, 0) for sink in sinks) for name in ("records", "requests", "refused")}
    counts, seconds = ledger.counts(), time.monotonic() - began
    say(
        f"{counted(figures['records'], 'record')} in {counted(figures['requests'], 'request')}, {seconds:.1f} s, "
        f"of which {judged:.1f} s for the scores"
    )
    if settings.json_output:
        result = {
            "media": judge.media,
            "changed": judge.changed,
            "added": judge.added,
            "taken_away": judge.taken_away,
            "kept_there": judge.kept_there,
            "without_scores": pending,
            **figures,
            "seconds": round(seconds, 3),
            "seconds_scores": round(judged, 3),
            "ledger": {outcome.value: number for outcome, number in counts.items()},
        }
        typer.echo(json.dumps(result, ensure_ascii=False))
    raise typer.Exit(INTERRUPTED if interrupted else exit_code(counts, ledger.count_refused()))


def _say(judge: Rethreshold, replaces: bool) -> None:
    what = f"{counted(judge.added, 'tag')} more"
    if replaces:
        what += f" and {judge.taken_away:,} fewer"
    say(f"{judge.changed:,} of {judge.media:,} media change by their kept scores, no picture is read: {what}")
    if judge.kept_there:
        say(
            f"{counted(judge.kept_there, 'tag')} of {judge.media_kept_there:,} media cannot be taken back: the service "
            "has no address that replaces tags (--recognition-replace-url)"
        )


def _say_without(number: int) -> None:
    if number:
        say(
            f"{number:,} media were tagged without kept scores: they keep their tags until `engine run` "
            "reads their pictures again"
        )
