"""How much memory the pipeline takes, with the media API and the delivery, in a process of its own for each figure."""

import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.fakes import CATEGORIES, TAGS, DistantFolder, PacedSession
from bench.server import BULK, SEGMENT, SINGLE, TOKEN, serving
from engine.api.addresses import ApiConfig
from engine.api.client import MediaApi
from engine.api.token import Token
from engine.config import RunConfig
from engine.delivery.loop import Delivery
from engine.families import family_of
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.machine import peak_rss_mb
from engine.pipeline import Parts, Pipeline
from engine.types import Preprocessing

BATCH = 4


def run(folder: str, count: int, canvas: int, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - RunConfig's fields
    """Tag `count` media with the null session and deliver their tags.

    Returns:
        `baseline_mb` before the pipeline was made, `peak_rss_mb`, `seconds`, and `rss`: [seconds, MB] over time.
    """
    files = Path(folder)
    stop, process, rss = Stop(), psutil.Process(), []
    family = family_of(Preprocessing("deepdanbooru", canvas, canvas))
    session, config = PacedSession(BATCH), RunConfig(**settings)
    with (
        tempfile.TemporaryDirectory() as work,
        serving(Path(work), sorted(path.name for path in files.iterdir()), count) as server,
        Ledger(Path(work) / "ledger.db", on_error=stop.set) as ledger,
    ):
        api = MediaApi(ApiConfig(server.url + SEGMENT, server.url + SINGLE, server.url + BULK), Token(TOKEN), stop)
        delivery = Delivery(ledger, api, on_fatal=stop.set)
        ledger.on_commit(delivery.wake)
        baseline = process.memory_info().rss / 1e6
        parts = Parts(
            catalogue=api,
            storage=DistantFolder(files),
            family=family,
            session=session,
            select=family.selection(TAGS, CATEGORIES, 0.5),
            books=ledger,
            sinks=[delivery],
        )
        began = time.perf_counter()

        def sample() -> None:
            rss.append((round(time.perf_counter() - began, 2), round(process.memory_info().rss / 1e6, 1)))

        Pipeline(parts, config, stop).run(sample)
        seconds = time.perf_counter() - began
        api.close()
    return {
        "images": count,
        "baseline_mb": round(baseline, 1),
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "seconds": round(seconds, 2),
        "rss": rss,
    }
