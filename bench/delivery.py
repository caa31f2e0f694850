"""`engine bench delivery`: what a record costs in single mode, compared with a plain httpx loop.

The plain loop posts the same records, by as many connections, and reads each answer; it keeps nothing. The engine's
delivery also decides what each answer means and writes to its state file how far it is. The sides take turns, and the
service runs in another process, so only the client's processor time counts.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.new_process import in_new_process
from bench.server import SEGMENT, SINGLE, TOKEN, serving
from bench.stats import figure, verdict
from engine.api.addresses import ApiConfig
from engine.api.client import MediaApi
from engine.api.messages import pairs, record_bodies
from engine.api.token import Token
from engine.delivery.entries import entry
from engine.delivery.loop import SINK, Delivery
from engine.errors import EngineError
from engine.ledger.ledger import Ledger
from engine.types import Media, Tagged, TagScore

TARGET = 1.3
TAGS = 40
"""Tags of a medium, about as many as a picture has in the first user's catalogue."""
WARM_UP = 200  # records

Spent = tuple[float, float]
"""Of the delivery of some records: seconds of processor time in all threads, and seconds."""


def measure(pairs: int, records: int, connections: int, latency_s: float) -> dict[str, Any]:
    """Milliseconds of processor time a record and records a second of both sides, and the ratio of the first."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), ["a.jpg"], 1, latency_s) as server:
        times = in_new_process(
            "bench.delivery:in_turns", url=server.url, pairs=pairs, records=records, connections=connections
        )
    ratio = figure([ours[0] / theirs[0] for ours, theirs in zip(times["engine"], times["httpx"], strict=True)])
    rows = {
        side: {
            "cpu_ms": figure([1000 * cpu / records for cpu, _ in spent]).as_json(),
            "records_per_second": figure([records / seconds for _, seconds in spent]).as_json(),
        }
        for side, spent in times.items()
    }
    return {
        "records": records,
        "connections": connections,
        "latency_ms": 1000 * latency_s,
        "pairs": pairs,
        "rows": rows,
        "ratio": ratio.as_json(),
        "target": TARGET,
        "verdict": verdict(ratio, TARGET, at_least=False),
    }


def in_turns(url: str, pairs: int, records: int, connections: int) -> dict[str, list[Spent]]:
    """What each side spent, once a pair; the sides change who begins."""
    sides: dict[str, Callable[[str, Sequence[Tagged], int], Spent]] = {"engine": by_the_engine, "httpx": by_httpx}
    for deliver in sides.values():
        deliver(url, media(WARM_UP), connections)
    spent: dict[str, list[Spent]] = {side: [] for side in sides}
    tagged = media(records)
    for pair in range(pairs):
        for side in sorted(sides, reverse=bool(pair % 2)):
            spent[side].append(sides[side](url, tagged, connections))
    return spent


def media(records: int) -> list[Tagged]:
    """Media with so many records in all."""
    none = np.zeros(0, np.float32)
    counts = [TAGS] * (records // TAGS) + [records % TAGS] * bool(records % TAGS)
    return [
        Tagged(Media(i, "a.jpg", i), tuple(TagScore(f"tag_{t}_(some_series)", 0.9) for t in range(count)), none)
        for i, count in enumerate(counts, 1)
    ]


def by_httpx(url: str, tagged: Sequence[Tagged], connections: int) -> Spent:
    """Post by a plain loop."""
    bodies = iter([body for item in tagged for body in record_bodies(item.media, pairs(item.tags))])
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json; charset=UTF-8"}

    async def post(http: httpx.AsyncClient) -> None:
        for body in bodies:
            answer = await http.post(url + SINGLE, content=body)
            if answer.json() != {"code": 200}:
                raise EngineError(f"the bench's own service answered {answer.status_code}: {answer.text}")

    async def post_all() -> None:
        async with httpx.AsyncClient(headers=headers, timeout=60) as http:
            await asyncio.gather(*(post(http) for _ in range(connections)))

    watch = _Watch()
    asyncio.run(post_all())
    return watch.read()


def by_the_engine(url: str, tagged: Sequence[Tagged], connections: int) -> Spent:
    """Deliver a new ledger's outbox."""
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db") as ledger:
        ledger.admit([item.media for item in tagged])
        ledger.store(tagged, {SINK: [entry(item) for item in tagged]}).result()
        api = MediaApi(ApiConfig(url + SEGMENT, url + SINGLE, connections=connections), Token(TOKEN), book=ledger)
        delivery = Delivery(ledger, api)
        watch = _Watch()
        try:
            delivery.start()
            delivery.drain()
            delivery.join()
            spent = watch.read()
        finally:
            api.close()
        if delivery.error:
            raise delivery.error
        return spent


class _Watch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._cpu, self._seconds = time.process_time(), time.perf_counter()

    def read(self) -> Spent:
        return time.process_time() - self._cpu, time.perf_counter() - self._seconds
