"""`engine deliver`: empty an outbox into the media API; no model, no storage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.api.addresses import warnings
from engine.api.client import MediaApi
from engine.cli.console import INTERRUPTED, interruptible, say, sentences
from engine.cli.dump import dump_on_signal
from engine.cli.endpoints import named_endpoints
from engine.cli.log import start_logging
from engine.cli.progress import counting
from engine.cli.run import exit_code
from engine.cli.settings import load, options
from engine.cli.sinks import media_api
from engine.config import WAITS, RunConfig
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.ledger.schema import must_exist
from engine.report.summary import counted
from engine.sink import Sink
from engine.types import Outcome
from engine.vector_sink import VectorSink

FLAGS = (
    "segment_url", "recognition_url", "recognition_bulk_url", "recognition_replace_url", "state", "token_file",
    "ca_file", "connections", "timeout", "chunk_records", "chunk_bytes", "ok_codes", "give_up_after", "log_file",
    "verbose",
)  # fmt: skip


@options(RunConfig, *FLAGS)
def deliver(
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        start_logging(settings)
        where = named_endpoints(settings, storage_needed=False)
        must_exist(where.state)
        for sentence in warnings(where.api, where.token):
            say(f"warning: {sentence}")
        stop = Stop()
        with Ledger(where.state, on_error=stop.set) as ledger:
            api = MediaApi(where.api, where.token, stop, book=ledger)
            try:
                delivery = media_api(settings, ledger, api, stop)
                interrupted = empty(ledger, [delivery, VectorSink(ledger, stop.set)], stop)
            finally:
                api.close()
            counts, refused, posted = ledger.counts(), ledger.count_refused(), delivery.counters
        if stop.error:
            raise stop.error
        waiting = counts[Outcome.OUTBOX]
        say(
            f"{counted(posted.records, 'record')} in {counted(posted.requests, 'request')}; "
            f"{waiting:,} {'medium still waits' if waiting == 1 else 'media still wait'}"
        )
        raise typer.Exit(INTERRUPTED if interrupted else exit_code(counts, refused))


def empty(ledger: Ledger, sinks: Sequence[Sink], stop: Stop) -> bool:
    """Let the sinks take what is in the outbox; True if the user ended it."""
    before = ledger.ended.total()
    with (
        interruptible() as interrupted,
        dump_on_signal([sink.meter for sink in sinks], ledger.counts),
        counting("posting media", ledger.in_outbox()) as done,
    ):
        for sink in sinks:
            sink.start()
            sink.drain()
        while not all([sink.join(WAITS.tick) for sink in sinks]):
            done(ledger.ended.total() - before)
            if interrupted():
                stop.set()
                for sink in sinks:
                    sink.stop()
    return interrupted()
