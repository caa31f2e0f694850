"""`engine bench cluster`: what Ray costs, and how throughput grows with the number of sessions.

The sessions wait instead of computing, at the pace of a GPU, so that a machine of two cores can play a cluster of
eight. All else is real: Ray's nodes on this machine, the loaders, rows of the full size, a ledger. Beside each other in
every round: the plain run with one such session, and clusters of 1, 2, 4 and 8.

Images/s are those between a fifth and nineteen twentieths of a run: before that Ray starts its processes, which on the
machines of a cluster happens once.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench import pictures
from bench.fakes import CATEGORIES, TAGS, DistantFolder, Outbox, PacedSession, Pictures
from bench.new_process import in_new_process
from bench.server import BULK, SEGMENT, SINGLE, TOKEN, serving
from bench.stats import figure, verdict
from engine.api.addresses import ApiConfig
from engine.api.client import MediaApi
from engine.api.token import Token
from engine.config import RunConfig
from engine.delivery.loop import Delivery
from engine.errors import EngineError
from engine.families import family_of
from engine.flow.channels import Channel, Meter, Stop
from engine.flow.stage import Stage
from engine.ledger.ledger import Ledger
from engine.pipeline import Cluster, Parts, Pipeline
from engine.stages.infer import Scored
from engine.stages.ticket import InFlight, Ticket
from engine.storage import Storage
from engine.types import Preprocessing, Scores

PACE = 20.0
"""Images/s of a session."""
BATCH = 8
BLOCK, RECORDS = 16, 40
"""Of the run's own machine alone: media a block, and records a medium."""
TARGETS = {4: 0.9, 8: 0.8}
"""Of linear growth, by the number of sessions."""
CANVAS = Preprocessing("deepdanbooru", 512, 512)
SMALL = ((256, 192), (192, 256))
"""Pictures that two cores can decode fast enough for eight sessions."""
DRIVER_IMAGES = 20_000
STEADY = (0.2, 0.95)
"""The part of a run, by images, whose speed counts."""


def measure(
    sessions: Sequence[int], rounds: int, seconds: float, nodes: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Images/s by the number of sessions, and their share of linear growth from one session's."""
    found: dict[int, list[Mapping[str, float]]] = {number: [] for number in (0, *sessions)}
    for turn in range(rounds):
        for number, points in found.items():
            point = in_new_process("bench.cluster:point", sessions=number, seconds=seconds, nodes=nodes)
            points.append(point)
            say(f"round {turn + 1}, {number or 'no'} sessions of a cluster: {point['images_per_second']:.1f} images/s")
    alone = [in_new_process("bench.cluster:driver", images=DRIVER_IMAGES) for _ in range(rounds)]
    rows = [_row(number, points, found[sessions[0]]) for number, points in found.items()]
    return {
        "pace": PACE,
        "rounds": rounds,
        "seconds": seconds,
        "nodes": nodes,
        "rows": rows,
        "driver": {name: figure([one[name] for one in alone]).as_json() for name in alone[0]},
        "checks": {
            str(row["sessions"]): {
                "target": TARGETS[row["sessions"]],
                "value": row["of_linear"],
                "verdict": row["verdict"],
            }
            for row in rows
            if row["sessions"] in TARGETS
        },
    }


def _row(number: int, points: Sequence[Mapping[str, float]], first: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """`number` 0 is the plain run."""
    per_session = [one["images_per_second"] / one["sessions"] for one in first]
    pairs = zip(points, per_session, strict=True)
    shares = figure([point["images_per_second"] / (max(1, number) * one) for point, one in pairs])
    names = sorted(points[0].keys() - {"sessions"})
    row: dict[str, Any] = {"sessions": number, "of_linear": shares.as_json()}
    row |= {name: figure([point[name] for point in points]).as_json() for name in names}
    target = TARGETS.get(number)
    return row | {"verdict": verdict(shares, target, at_least=True) if target else ""}


def driver(images: int) -> dict[str, float]:
    """Images/s and records/s that the run's own machine can take: scores into tags, the ledger, the delivery in bulk.

    Media of 40 tags out of 9,176, a block at a time as from the nodes, to a service in another process.
    """
    rng = np.random.default_rng(0)
    names = [f"tag_{i}_(some_series)" for i in range(9_176)]
    select = family_of(CANVAS).selection(names, ("General",) * len(names), 0.5)
    scores = rng.random((BLOCK, len(names)), np.float32) * np.float32(0.4)
    scores[:, rng.choice(len(names), RECORDS, replace=False)] = 0.9
    stop = Stop()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), ["a.jpg"], images) as server,
        Ledger(Path(folder) / "ledger.db", on_error=stop.set) as ledger,
    ):
        addresses = ApiConfig(server.url + SEGMENT, server.url + SINGLE, recognition_bulk_url=server.url + BULK)
        api = MediaApi(addresses, Token(TOKEN), stop, book=ledger)
        parts = Parts(
            catalogue=api,
            storage=DistantFolder(Path(folder)),
            family=family_of(CANVAS),
            session=None,
            cluster=_Instant(scores),
            select=select,
            books=ledger,
            sinks=[Delivery(ledger, api)],
        )
        pipeline = Pipeline(parts, RunConfig(segment_size=1000), stop)
        began, cpu = time.perf_counter(), time.process_time()
        pipeline.run()
        lasted, cpu = time.perf_counter() - began, time.process_time() - cpu
        api.close()
        stored = server.report()["records"]
    if stored != images * RECORDS:
        raise EngineError(f"the bench's own service has {stored} records, not {images * RECORDS}")
    return {
        "images_per_second": images / lasted,
        "records_per_second": images * RECORDS / lasted,
        "cpu_ms_an_image": 1000 * cpu / images,
    }


class _Instant:
    """A cluster that has every block's scores at once."""

    ahead = 64

    def __init__(self, scores: Scores) -> None:
        self._scores = scores
        self.meters = [Meter("dispatch")]

    def stage(
        self, todo: Channel[Ticket], scored: Channel[Scored], in_flight: InFlight, storage: Storage, stop: Stop
    ) -> Stage:
        def work() -> None:
            while True:
                block(todo.get())

        def block(first: Ticket) -> None:
            tickets = [first]
            while len(tickets) < BLOCK and len(todo):
                tickets.append(todo.get())
            for ticket in tickets:
                ticket.in_batch()
            scored.put(Scored(tuple(tickets), self._scores[: len(tickets)]))

        return Stage(self.meters[0], 1, work, stop, at_end=scored.close)


def point(sessions: int, seconds: float, nodes: int) -> dict[str, float]:
    """One run, in this process: its own machine's part is what this process does."""
    config = RunConfig(outbox_limit=10**9)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "pictures"
        names = pictures.write(root, 16, SMALL)
        storage = partial(DistantFolder, root)
        count = round(max(1, sessions) * PACE * seconds)
        if not sessions:
            return _run(names, count, storage, config, None) | {"sessions": 1}
        with _cluster(sessions, min(nodes, sessions), storage, config) as cluster:
            found = _run(names, count, storage, config, cluster)
            figures = cluster.summary()
        kb = {
            "rows_kb": figures["bytes_of_rows"],
            "rows_between_nodes_kb": figures.get("bytes_of_rows_between_nodes", 0),
            "scores_kb": figures["bytes_of_scores"],
        }
        return found | {name: value / count / 1000 for name, value in kb.items()} | {"sessions": figures["sessions"]}


def paced(_: object) -> PacedSession:
    """What the nodes open."""
    return PacedSession(BATCH, BATCH / PACE)


@contextmanager
def _cluster(sessions: int, nodes: int, storage: Callable[[], DistantFolder], config: RunConfig) -> Iterator[Any]:
    """Nodes of Ray on this machine, with a CPU for each session and one for its loader."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as RayCluster

    from engine.cluster import cluster as of_ray

    machines = RayCluster()
    try:
        for number in range(nodes):
            mine = sessions // nodes + (number < sessions % nodes)
            machines.add_node(num_cpus=2 * mine, object_store_memory=10**9, node_name=f"{number}")
        work = of_ray.new_work(storage, CANVAS, config)
        plan = of_ray.Plan(work, None, paced, "cpu", (sessions, sessions))
        with of_ray.connected(str(machines.address)):
            yield of_ray.Cluster(plan, lambda _: None)
    finally:
        machines.shutdown()


def _run(
    names: Sequence[str], count: int, storage: Callable[[], DistantFolder], config: RunConfig, cluster: Cluster | None
) -> dict[str, float]:
    family, stop = family_of(CANVAS), Stop()
    points: list[tuple[int, float, float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db", on_error=stop.set) as ledger:
        parts = Parts(
            catalogue=Pictures(names, count),
            storage=storage(),
            family=family,
            session=None if cluster else paced(None),
            cluster=cluster,
            select=family.selection(TAGS, CATEGORIES, 0.5),
            books=ledger,
            sinks=[Outbox()],
        )
        pipeline = Pipeline(parts, config, stop)

        def tick() -> None:
            idle = psutil.cpu_times()
            busy = sum(idle) - idle.idle - getattr(idle, "iowait", 0.0)
            points.append((pipeline.tally.images, time.perf_counter(), time.process_time(), _loopback(), busy))

        pipeline.run(tick)
    low, high = (share * count for share in STEADY)
    first = next(one for one in points if one[0] >= low)
    last = next(one for one in points if one[0] >= high)
    images, lasted, cpu, network, busy = (new - old for new, old in zip(last, first, strict=True))
    return {
        "images_per_second": images / lasted,
        "driver_cpu_ms": 1000 * cpu / images,
        "machine_busy": busy / lasted / (psutil.cpu_count() or 1),
        "rows_kb": 0.0,
        "rows_between_nodes_kb": 0.0,
        "scores_kb": 0.0,
        "loopback_kb": network / images / 1000,
    }


def _loopback() -> float:
    """Bytes that went over this machine's own network so far, each once: what nodes on it say to each other."""
    for name, counters in psutil.net_io_counters(pernic=True).items():
        if name.startswith("lo"):
            return float(counters.bytes_sent)
    return 0.0
