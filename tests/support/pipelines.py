"""What the tests of the whole flow share: pictures of one colour, a catalogue that is a list, a pipeline on both."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from engine.config import RunConfig, Waits
from engine.families import family_of
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.pipeline import Cluster, Parts, Pipeline
from engine.sink import Sink
from engine.storage import Reading, Storage, open_storage
from engine.types import FileState, Media, Preprocessing
from tests.support.ledgers import Waiting
from tests.support.sessions import CATEGORIES, TAGS, ColourSession

SHAPE = Preprocessing("deepdanbooru", 16, 16)
QUICK = Waits(tick=0.02, second_chance=0.01, root_away=0.01, memory=(0.0, 0.01, 0.01))
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))


def draw(path: Path, number: int) -> None:
    """A small picture of one of the colours."""
    colour = COLOURS[number % len(COLOURS)][::-1]
    path.write_bytes(cv2.imencode(".png", np.full((9 + number % 30, 20, 3), colour, np.uint8))[1].tobytes())


class Catalogue:
    """Pages of a list, with ids that have gaps; `starts` says from which id each page was asked for."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.media = [Media(10 + 3 * i, url, 10 + 3 * i) for i, url in enumerate(urls)]
        self.starts: list[int] = []

    def segment(self, start: int, limit: int) -> list[Media]:
        self.starts.append(start)
        return sorted((media for media in self.media if media.id >= start), key=lambda media: media.id)[:limit]


class Wrapped:
    """A storage with something before each read."""

    def __init__(self, root: Path, before: Callable[[str], object]) -> None:
        self._storage, self._before = open_storage(str(root)), before

    def open(self, key: str, *, max_bytes: int) -> Reading:
        self._before(key)
        return self._storage.open(key, max_bytes=max_bytes)

    def state(self, key: str) -> FileState:
        return self._storage.state(key)

    def check(self) -> None:
        self._storage.check()


def build(
    catalogue: Catalogue,
    storage: Storage | Path,
    ledger: Ledger,
    stop: Stop | None = None,
    say: Callable[[str], None] = lambda _: None,
    session: ColourSession | None = None,
    sinks: Sequence[Sink] | None = None,
    in_outbox: int = 0,
    waits: Waits = QUICK,
    cluster: Cluster | None = None,
    **settings,
) -> Pipeline:
    """A pipeline whose results wait in the outbox, to be run."""
    family = family_of(SHAPE)
    parts = Parts(
        catalogue=catalogue,
        storage=open_storage(str(storage)) if isinstance(storage, Path) else storage,
        family=family,
        session=None if cluster else session or ColourSession(),
        cluster=cluster,
        select=family.selection(TAGS, CATEGORIES, 0.5),
        books=ledger,
        sinks=[Waiting()] if sinks is None else sinks,
    )
    return Pipeline(parts, RunConfig(**settings), stop or Stop(), say=say, in_outbox=in_outbox, waits=waits)
