"""How close the pipeline comes to its slowest stage: three figures, each against a bound measured beside it.

Every function runs in a process of its own and returns one entry for each pair; the two halves of a pair follow each
other, so that what else the machine does falls on both.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.fakes import CATEGORIES, TAGS, DistantFolder, Outbox, PacedSession, Pictures
from engine.config import RunConfig
from engine.families import family_of
from engine.families.family import Family
from engine.flow.channels import Meter, Stop
from engine.ledger.kept import Scorer
from engine.ledger.ledger import Ledger
from engine.machine import cores
from engine.model.folder import open_model
from engine.model.open import open_session
from engine.model.session import Session, SessionConfig
from engine.pictures.decode import MAX_PIXELS
from engine.pipeline import Parts, Pipeline
from engine.types import WHITE, Preprocessing, Row

PACE_S, PACED_BATCH, LATENCY_S = 0.2, 16, 0.02
CANVAS = Preprocessing("deepdanbooru", 512, 512)
FLOOR, KEPT = 0.05, 150
OF_A_MODEL = tuple(f"a_tag_{i}" for i in range(7_722))  # as many as DeepDanbooru's model of 2020 has
Pair = dict[str, float]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a pipeline is run on: the same files again and again until `count` media are through."""

    folder: Path
    count: int
    session: Session
    tags: Sequence[str] = TAGS
    categories: Sequence[str] = CATEGORIES
    family: Family = field(default_factory=lambda: family_of(CANVAS))
    latency_s: float = 0.0
    floor: float = 0.0  # scores from here up are kept; 0: none

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def run(setup: Setup, config: RunConfig, tick: Callable[[], None] = lambda: None) -> tuple[float, dict[str, Meter]]:
    """Run the engine's pipeline with a real ledger and no API; seconds, and the meters by stage."""
    with pipeline(setup, config) as made:
        began = time.perf_counter()
        made.run(tick)
        return time.perf_counter() - began, {meter.name: meter for meter in made.meters}


@contextmanager
def pipeline(setup: Setup, config: RunConfig) -> Iterator[Pipeline]:
    """The engine's pipeline for the setup, with a ledger of its own."""
    stop = Stop()
    # The outbox is on the disk and nothing empties it here: its limit would end the run.
    config = config.model_copy(update={"outbox_limit": setup.count + 1})
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db", on_error=stop.set) as ledger:
        parts = Parts(
            catalogue=Pictures(setup.names, setup.count),
            storage=DistantFolder(setup.folder, setup.latency_s),
            family=setup.family,
            session=setup.session,
            select=setup.family.selection(setup.tags, setup.categories, 0.5),
            books=ledger,
            sinks=[Outbox()],
        )
        if setup.floor:
            ledger.keep_scores(Scorer(0, "bench", "", "", tuple(setup.tags), tuple(setup.categories), setup.floor))
        yield Pipeline(parts, config, stop)


def full_size(model: str, precision: str, folder: str, count: int, pairs: int) -> list[Pair]:
    """Figure a: a real model. Beside each run the session alone and the CPU time of decoding and fitting alone."""
    opened = open_model(Path(model))
    session = open_session(opened, opened.precision(precision), SessionConfig())
    setup = Setup(Path(folder), count, session, opened.tags, opened.categories, family_of(opened.preprocessing))
    run(replace(setup, count=session.batch_size), RunConfig())  # warm
    return [_full_size(setup, session) for _ in range(pairs)]


def _full_size(setup: Setup, session: Session) -> Pair:
    alone = session_seconds(session, setup.family.preprocessing, setup.count)
    loading = loading_cpu_seconds(setup)
    seconds, meters = run(setup, RunConfig())
    bound = alone + loading / cores()
    return {
        "images_per_second": setup.count / seconds,
        "session_alone_images_per_second": setup.count / alone,
        "bound_images_per_second": setup.count / bound,
        "of_bound": bound / seconds,
        "of_session_alone": alone / seconds,
        "bound_of_session_alone": alone / bound,
        "session_busy": meters["infer"].busy / seconds,
    }


def session_seconds(session: Session, shape: Preprocessing, count: int) -> float:
    """Seconds that the session alone needs for `count` pictures that are there already."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, WHITE[shape.dtype] + 1, (session.batch_size, shape.height, shape.width, 3), shape.dtype)
    began = time.perf_counter()
    for _ in range(-(-count // session.batch_size)):
        session.run(pixels)
    return time.perf_counter() - began


def empty_row(shape: Preprocessing) -> Row:
    """A row to fit pictures into."""
    return np.empty((shape.height, shape.width, 3), shape.dtype)


def loading_cpu_seconds(setup: Setup) -> float:
    """CPU seconds of decoding and fitting `count` pictures, one after the other."""
    files = [(setup.folder / name).read_bytes() for name in setup.names]
    family = setup.family
    row = empty_row(family.preprocessing)
    began = time.thread_time()
    for i in range(setup.count):
        family.fit(family.decode(files[i % len(files)], "", max_pixels=MAX_PIXELS), row)
    return time.thread_time() - began


def paced(folder: str, count: int, pairs: int) -> list[Pair]:
    """Figure b: a session that takes 200 ms for 16 without using the CPU, and 20 ms more for every read."""
    session = PacedSession(PACED_BATCH, PACE_S)
    setup = Setup(Path(folder), count, session, latency_s=LATENCY_S)
    found = []
    for _ in range(pairs):
        batches = 4 * PACED_BATCH
        alone = session_seconds(session, CANVAS, batches) / batches
        seconds, meters = run(setup, RunConfig())
        found.append(
            {
                "images_per_second": count / seconds,
                "session_alone_images_per_second": 1 / alone,
                "session_busy": meters["infer"].busy / seconds,
            }
        )
    return found


def null_session(folder: str, count: int, pairs: int) -> list[Pair]:
    """Figure c: no inference; against as many threads that only decode and fit the same files, read beforehand."""
    setup = Setup(Path(folder), count, PacedSession(PACED_BATCH))
    run(replace(setup, count=PACED_BATCH), RunConfig())  # warm
    found = []
    for _ in range(pairs):
        alone = loading_seconds(setup, cores())
        seconds, _ = run(setup, RunConfig())
        found.append(
            {
                "images_per_second": count / seconds,
                "loading_alone_images_per_second": count / alone,
                "of_loading_alone": alone / seconds,
            }
        )
    return found


def kept_scores(folder: str, count: int, pairs: int) -> list[Pair]:
    """Figure e: what it costs to keep 150 of a model's scores; against the same run that keeps none, in turns."""
    row = np.zeros(len(OF_A_MODEL), np.float32)
    row[:: len(row) // KEPT][:KEPT] = np.linspace(FLOOR, 1.0, KEPT)
    categories = ("General",) * len(OF_A_MODEL)
    setup = Setup(Path(folder), count, PacedSession(PACED_BATCH, row=row), OF_A_MODEL, categories)
    run(replace(setup, count=PACED_BATCH), RunConfig())  # warm
    found = []
    for pair in range(pairs):
        spent: dict[bool, tuple[float, float]] = {}
        for keeps in sorted((False, True), reverse=bool(pair % 2)):
            cpu = time.process_time()
            seconds, _ = run(replace(setup, floor=FLOOR if keeps else 0.0), RunConfig())
            spent[keeps] = (time.process_time() - cpu, seconds)
        found.append(
            {
                "cpu_of_without": spent[True][0] / spent[False][0],
                "cpu_us_an_image": 1e6 * spent[True][0] / count,
                "cpu_us_an_image_without": 1e6 * spent[False][0] / count,
                "seconds_of_without": spent[True][1] / spent[False][1],
            }
        )
    return found


def loading_seconds(setup: Setup, threads: int) -> float:
    """Seconds in which `threads` threads decode and fit `count` pictures that are in memory already."""
    files = [(setup.folder / name).read_bytes() for name in setup.names]
    family = setup.family

    def work(numbers: range) -> None:
        row = empty_row(family.preprocessing)
        for i in numbers:
            family.fit(family.decode(files[i % len(files)], "", max_pixels=MAX_PIXELS), row)

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(work, [range(first, setup.count, threads) for first in range(threads)]))
        return time.perf_counter() - began
