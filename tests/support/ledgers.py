"""Results in a ledger, as a run puts them there for the media API."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np

from engine.api.messages import record_bodies
from engine.delivery.entries import entry, pairs_of
from engine.delivery.loop import SINK
from engine.flow.channels import Meter
from engine.ledger.ledger import Ledger, OutboxItem
from engine.types import Media, Tagged, TagScore

NO_SCORES = np.zeros(0, np.float32)


def tagged(media: Media, *tags: TagScore) -> Tagged:
    """A medium with these tags."""
    return Tagged(media, tags, NO_SCORES)


def store(ledger: Ledger, results: Sequence[Tagged], *, replaces: bool = False) -> Future[None]:
    """Keep results as the recorder does, for the media API alone."""
    return ledger.store(results, {SINK: [entry(item, replaces=replaces) for item in results]})


def outbox(ledger: Ledger, after: int = 0, limit: int = 1000) -> list[OutboxItem]:
    """What waits for the media API."""
    return ledger.outbox(SINK, after, limit)


def tags(item: OutboxItem) -> tuple[TagScore, ...]:
    """The tags of what waits."""
    sent = (json.loads(record) for record in record_bodies(item.media, pairs_of(item.entry)))
    return tuple(TagScore(record["tagKey"], float(record["similarity"])) for record in sent)


class Waiting:
    """A sink that is away: what goes to the media API enters the outbox and stays there."""

    def __init__(self, name: str = SINK) -> None:
        self.name = name
        self.meter = Meter("deliver")

    def entry(self, tagged: Tagged) -> str | None:
        return entry(tagged)

    def figures(self) -> Mapping[str, int]:
        return {}

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def drain(self) -> None: ...

    def stop(self) -> None: ...

    def join(self, timeout: float | None = None) -> bool:
        return True
