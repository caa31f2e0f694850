"""A whole run whose reading, decoding and scoring are done by nodes: real loaders and a real ledger, no Ray."""

import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.cluster import dispatch
from engine.errors import EngineError, Kind, StorageError, Unreadable
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.storage import open_storage
from engine.types import Media, Outcome
from tests.support.ledgers import outbox
from tests.support.machines import Machines
from tests.support.pipelines import COLOURS, QUICK, Catalogue, build, draw

NAMES = [f"{i:03}.png" for i in range(100)]


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    for number, name in enumerate(NAMES):
        draw(root / name, number)
    return root


@contextmanager
def ledger(tmp_path):
    with Ledger(tmp_path / "state.db") as opened:
        yield opened


def tags(books: Ledger) -> dict[int, str]:
    return {item.media.id: str(item.entry) for item in outbox(books, limit=10_000)}


def test_the_same_results_as_on_one_machine(folder, tmp_path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    found = []
    for where, cluster in ((alone, None), (together, Machines(folder))):
        where.mkdir()
        with ledger(where) as books:
            pipeline = build(Catalogue(NAMES), folder, books, cluster=cluster)
            pipeline.run()
            assert pipeline.tally.images == 100
            found.append(tags(books))
    assert found[0] == found[1] and len(found[0]) == 100 and len(set(found[0].values())) == len(COLOURS)


def test_both_nodes_work_and_blocks_hold_no_more_than_they_may(folder, tmp_path) -> None:
    machines = Machines(folder, block=5)
    with ledger(tmp_path) as books:
        build(Catalogue(NAMES), folder, books, cluster=machines).run()
    assert {name for name, _ in machines.loaded} == {"a", "b"}
    assert max(len(keys) for _, keys in machines.loaded) <= 5
    assert sorted(key for _, keys in machines.loaded for key in keys) == NAMES


def test_a_slow_node_holds_up_no_more_than_what_it_has(folder, tmp_path) -> None:
    machines, go_on = Machines(folder), threading.Event()
    at_stop: list[int] = []
    machines.before_load = lambda name: go_on.wait(20) if name == "b" else None

    def tick() -> None:
        if pipeline.tally.images >= 100 - 8:
            at_stop.append(pipeline.tally.images)
            go_on.set()

    with ledger(tmp_path) as books:
        pipeline = build(Catalogue(NAMES), folder, books, cluster=machines)
        pipeline.run(tick)
    assert 92 <= at_stop[0] < 100 and pipeline.tally.images == 100


def test_no_more_than_two_windows_are_loaded_where_sessions_are_slow(folder, tmp_path) -> None:
    machines, go_on = Machines(folder, block=2), threading.Event()
    machines.before_score = lambda _: go_on.wait(20)
    counts: list[int] = []

    def tick() -> None:
        counts.append(len(machines.loaded))
        if counts.count(counts[-1]) > 20:  # it has come to rest
            go_on.set()

    with ledger(tmp_path) as books:
        build(Catalogue(NAMES), folder, books, cluster=machines).run(tick)
    rest = next(count for count in counts if counts.count(count) > 20)
    assert rest == 2 * machines.nodes.window < 50


def test_broken_missing_and_other_files_end_as_on_one_machine(folder, tmp_path) -> None:
    (folder / "broken.png").write_bytes((folder / NAMES[0]).read_bytes()[:60])
    (folder / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(50))
    machines = Machines(folder)
    with ledger(tmp_path) as books:
        pipeline = build(Catalogue([*NAMES, "broken.png", "missing.png", "film.mp4"]), folder, books, cluster=machines)
        pipeline.run()
        counts = books.counts()
        assert (pipeline.tally.images, counts[Outcome.FAILED], counts[Outcome.SKIPPED]) == (100, 2, 1)
    asked = Counter(key for _, keys in machines.loaded for key in keys)
    assert asked["missing.png"] == 2 and asked["broken.png"] == asked["film.mp4"] == 1  # a second chance, after all


def test_the_failure_budget_ends_the_run(folder, tmp_path) -> None:
    for name in NAMES[:50]:
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with ledger(tmp_path) as books, pytest.raises(EngineError, match="media failed, more than --max-failures 10"):
        build(Catalogue(NAMES), folder, books, cluster=Machines(folder), max_failures="10").run()


def test_an_error_stops_the_run_at_once_though_the_source_waits(folder, tmp_path) -> None:
    machines = Machines(folder, "a")
    catalogue, waiting = Catalogue(NAMES), threading.Event()
    pages = catalogue.segment

    def segment(start: int, limit: int) -> list[Media]:
        if start > catalogue.media[20].id:
            waiting.set()
            stop.event.wait(30)
        return pages(start, min(limit, 10))

    def fail(_: str) -> None:
        assert waiting.wait(10)
        raise EngineError("it is broken there")

    catalogue.segment = segment  # type: ignore[method-assign]
    machines.before_load = fail
    stop = Stop()
    with ledger(tmp_path) as books:
        began = time.monotonic()
        with pytest.raises(EngineError, match="node a: it is broken there"):
            build(catalogue, folder, books, stop, cluster=machines).run()
        assert time.monotonic() - began < 5


def test_a_file_that_was_replaced_is_tagged_by_the_next_run(folder, tmp_path) -> None:
    good = (folder / NAMES[3]).read_bytes()
    (folder / NAMES[3]).write_bytes(good[:60])
    with ledger(tmp_path) as books:
        build(Catalogue(NAMES), folder, books, cluster=Machines(folder)).run()
        assert books.counts()[Outcome.FAILED] == 1
        (folder / NAMES[3]).write_bytes(good)
        build(Catalogue(NAMES), folder, books, cluster=Machines(folder), in_outbox=books.in_outbox()).run()
        assert books.counts()[Outcome.FAILED] == 0 and len(tags(books)) == 100


def test_what_was_stopped_is_done_by_the_next_run(folder, tmp_path) -> None:
    stop, machines = Stop(), Machines(folder)
    machines.before_score = lambda _: stop.set() if len(machines.loaded) > 4 else None
    with ledger(tmp_path) as books:
        began = time.monotonic()
        build(Catalogue(NAMES), folder, books, stop, cluster=machines).run()
        assert time.monotonic() - began < 5
        assert len(tags(books)) < 100
        build(Catalogue(NAMES), folder, books, cluster=Machines(folder), in_outbox=books.in_outbox()).run()
        assert len(tags(books)) == 100


def test_a_node_that_dies_has_its_blocks_done_by_the_other(folder, tmp_path) -> None:
    said: list[str] = []
    machines = Machines(folder, say=said.append)

    def die(name: str) -> None:
        if name == "b" and len(machines.loaded) > 6:
            machines.dead.add("b")

    machines.before_load = die
    with ledger(tmp_path) as books:
        pipeline = build(Catalogue(NAMES), folder, books, cluster=machines)
        pipeline.run()
        assert len(tags(books)) == pipeline.tally.images == 100
    assert machines.figures["lost_nodes"] == 1 and said == ["node b: the node is gone; what it had is done elsewhere"]


def test_without_any_node_left_the_run_ends_with_a_sentence(folder, tmp_path) -> None:
    machines = Machines(folder, "a")
    machines.before_load = lambda name: machines.dead.add(name)
    with (
        ledger(tmp_path) as books,
        pytest.raises(EngineError, match="no session is left in the cluster"),
    ):
        build(Catalogue(NAMES), folder, books, cluster=machines).run()


def test_only_the_picture_that_kills_fails(folder, tmp_path) -> None:
    machines = Machines(folder)
    machines.kills = {NAMES[40]}
    with ledger(tmp_path) as books:
        pipeline = build(Catalogue(NAMES), folder, books, cluster=machines)
        pipeline.run()
        assert (pipeline.tally.images, pipeline.tally.failed) == (99, 1)
        ((media, file),) = books.failed_media()
        assert media.storage_url == NAMES[40] and file is not None
    began = [keys for _, keys in machines.loaded if NAMES[40] in keys]
    assert len(began) == 3 and began[1] == began[2] == [NAMES[40]]


def test_a_session_that_ends_is_opened_again(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "LOOK_S", 0.01)
    said: list[str] = []
    machines = Machines(folder, "a", say=said.append)
    once = threading.Lock()

    def fail(_: str) -> None:
        if once.acquire(blocking=False):
            raise EngineError("the GPU fell out")

    machines.before_score = fail
    with ledger(tmp_path) as books:
        build(Catalogue(NAMES), folder, books, cluster=machines).run()
        assert len(tags(books)) == 100
    assert machines.closed == ["a"] and machines.figures["lost_sessions"] == 1
    assert said == ["node a: its session ended, its pictures are done again (the GPU fell out)"]


def test_sessions_that_always_fail_end_the_run(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "LOOK_S", 0.01)
    machines = Machines(folder, "a")

    def fail(_: str) -> None:
        raise EngineError("the GPU is gone")

    machines.before_score = fail
    with ledger(tmp_path) as books, pytest.raises(EngineError, match=r"no session is left.*node a: the GPU is gone"):
        build(Catalogue(NAMES), folder, books, cluster=machines).run()
    assert len(machines.closed) == 3


def test_more_sessions_where_blocks_wait_and_fewer_where_they_are_idle(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "LOOK_S", 0.01)
    monkeypatch.setattr(dispatch, "IDLE_S", 0.05)
    machines = Machines(folder, "ab", sessions=(1, 2))
    machines.nodes.all["b"].sessions.clear()
    most = 0

    def slow(_: str) -> None:
        nonlocal most
        most = max(most, len(machines.nodes.sessions))
        time.sleep(0.05)

    machines.before_score = slow
    stop = Stop()
    with ledger(tmp_path) as books:
        pipeline = build(Catalogue(NAMES), folder, books, stop, cluster=machines, follow=0.05)
        deadline = time.monotonic() + 20

        def tick() -> None:
            if machines.closed or time.monotonic() > deadline:
                stop.set()

        pipeline.run(tick)
        assert pipeline.tally.images == 100
    assert most == 2 and len(machines.closed) == 1


def test_a_node_without_its_storage_rests_until_it_is_back(folder, tmp_path) -> None:
    said: list[str] = []
    gone = threading.Event()

    class Flaky:
        def __init__(self) -> None:
            self._storage = open_storage(str(folder))

        def open(self, key, *, max_bytes):
            if gone.is_set():
                raise Unreadable("it is away", Kind.AWAY)
            return self._storage.open(key, max_bytes=max_bytes)

        def state(self, key):
            return self._storage.state(key)

        def check(self):
            if gone.is_set():
                raise StorageError("it is away")

    machines = Machines(Flaky, "a", say=said.append)
    machines.troubles = {"a": ["it is away"]}

    def lose(_: str) -> None:
        if len(machines.loaded) == 4:
            gone.set()
            threading.Timer(0.3, back).start()

    def back() -> None:
        gone.clear()
        machines.troubles.clear()

    machines.before_load = lose
    with ledger(tmp_path) as books:
        pipeline = build(Catalogue(NAMES), folder, books, cluster=machines, waits=QUICK)
        pipeline.run()
        assert (pipeline.tally.images, pipeline.tally.failed) == (100, 0)
    assert any(one.startswith("node a: the storage root is not there") for one in said)
    assert "node a: the storage can be read there" in said


def test_where_the_time_went_is_known(folder, tmp_path) -> None:
    machines = Machines(folder)
    with ledger(tmp_path) as books:
        pipeline = build(Catalogue(NAMES), folder, books, cluster=machines)
        pipeline.run()
    meters = {meter.name: meter for meter in pipeline.meters}
    assert list(meters)[:6] == ["source", "dispatch", "read", "decode", "infer", "record"]
    assert meters["read"].items == meters["decode"].items == meters["infer"].items == 100
    assert all(meters[name].busy > 0 for name in ("read", "decode", "infer"))
    assert machines.figures["bytes_of_rows"] == 100 * 16 * 16 * 3 * 2
    assert machines.figures["bytes_of_scores"] == 100 * 5 * 4
