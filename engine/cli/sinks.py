"""Where the results of a run go. A new sink is one new module and one line in `SINKS`."""

from collections.abc import Callable

from engine.api.client import MediaApi
from engine.config import RunConfig
from engine.delivery.chunks import Limits
from engine.delivery.loop import Delivery
from engine.errors import LedgerError
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.sink import Sink
from engine.vector_sink import VectorSink

LIBRARY_RECORDS = 5000
"""Of one request to the embedded service, at most."""


def media_api(settings: RunConfig, ledger: Ledger, api: MediaApi, stop: Stop) -> Delivery:
    """The delivery to the media API: always there."""
    if api.config.recognition_replace_url and not ledger.models():
        raise LedgerError(
            f"the state file {ledger.path} does not say which model gave its tags, so none can be replaced: "
            "start `engine run` once, or leave --recognition-replace-url out"
        )
    # Requests cost more than records; the embedded service takes as many of these as the bytes allow.
    records = settings.chunk_records or (LIBRARY_RECORDS if settings.library else Limits().records)
    limits = Limits(records=records, bytes=settings.chunk_bytes)
    return Delivery(ledger, api, limits, on_fatal=stop.set)


def vectors(settings: RunConfig, ledger: Ledger, api: MediaApi, stop: Stop) -> VectorSink | None:
    """The file of vectors; there is none until a model gives some."""
    return VectorSink(ledger, stop.set) if settings.vectors else None


SINKS: tuple[Callable[[RunConfig, Ledger, MediaApi, Stop], Sink | None], ...] = (media_api, vectors)
"""Each makes its sink, or None where the settings do not ask for it."""


def open_sinks(settings: RunConfig, ledger: Ledger, api: MediaApi, stop: Stop) -> list[Sink]:
    """The sinks that the settings ask for, woken by the ledger's commits; none in a dry run."""
    if settings.dry_run:
        return []
    sinks = [sink for make in SINKS if (sink := make(settings, ledger, api, stop))]
    for sink in sinks:
        ledger.on_commit(sink.wake)
    return sinks
