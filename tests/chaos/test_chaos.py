"""Runs that are killed at random moments, against a service that fails a quarter of its requests: nothing lost.

Some pictures kill the process too, by a decoder that dies of them: they are found out and set aside.

The moments are counted in what the service sees (requests, stored records), not in seconds, so they fall into every
part of a run on any machine. `make chaos` has 2,000 pictures and 30 kills; `make test` the same in small.
"""

import json
import os
import random
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.ledger.schema import LedgerView
from engine.types import Outcome
from tests.support.media_server import FAILURES, SEGMENT, MediaServer, Reply, Request, randomly
from tests.support.runs import ENGINE, KILLED, KILLER, KILLS, command, environment, run

Records = dict[tuple[str, str], str]
CONNECTIONS = 4
CHUNK_RECORDS = 30
FAILING = 0.25
MOST_DEATHS = 3
"""Of a process by one picture: after these it is set aside."""
ROOT = Path(__file__).parents[2]
WAYS = ("kill", "ctrl-c twice", "kill", "ctrl-c") if os.name == "posix" else ("kill",)


def draw(folder: Path, count: int, seed: int) -> list[tuple[int, str]]:
    """Pictures of coloured blots, and their catalogue: ids with gaps."""
    chance = np.random.default_rng(seed)
    for i in range(count):
        path = folder / f"{i % 16:x}" / f"{i:04} ü.{'jpg' if i % 2 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (40 + i % 50, 90 - i % 40)
        picture = cv2.resize(chance.integers(0, 256, (4, 4, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
        path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    return [(5 + 7 * i, name) for i, name in enumerate(files)]


def all_records(model: Path, folder: Path, catalogue: list[tuple[int, str]], threshold: str) -> Records:
    """Every record the model gives, by way of `engine tag`."""
    result = run([*ENGINE, "tag", "--model", str(model), "--threshold", threshold, "--json", str(folder)])
    assert result.returncode == 0, result.stderr
    ids = {name: str(number) for number, name in catalogue}
    entries = [json.loads(line) for line in result.stdout.splitlines()]
    return {
        (ids[Path(entry["path"]).relative_to(folder).as_posix()], tag["tag"]): f"{tag['score']:05.3f}"
        for entry in entries
        for tag in entry["tags"]
    }


@dataclass
class Watcher:
    """The service's first rule: counts, and says when the moment has come. It decides nothing."""

    seed: int
    server: MediaServer | None = None
    lost_answers: int = 0  # records stored by requests that got no answer
    _reached: threading.Event = field(default_factory=threading.Event)
    _requests: int = 0
    _stored: int = 0

    def set_moment(self, *, requests: int = 0, stored: int = 0) -> None:
        """The moment: so many requests more, or so many records more in the store."""
        assert self.server
        self._reached.clear()
        self._requests, self._stored = len(self.server.requests) + requests, len(self.server.store) + stored

    def __call__(self, request: Request) -> Reply | None:
        assert self.server
        if request.index >= self._requests and len(self.server.store) >= self._stored:
            self._reached.set()
        return None

    def wait(self, process: subprocess.Popen[bytes]) -> bool:
        """Until the moment; False if the process ended before it."""
        while not self._reached.wait(0.2):
            if process.poll() is not None:
                return False
        return True

    def counted(self, request: Request, reply: Reply | None) -> Reply | None:
        if reply and reply.cut and reply.store:
            self.lost_answers += len(request.records)
        return reply


def failing(watcher: Watcher):
    """A quarter of the requests fail, in all the ways of the contract; seldom the service names a time to wait."""
    past = Reply(503, b"", {"Retry-After": format_datetime(datetime(1994, 11, 6, tzinfo=UTC), usegmt=True)})
    often = randomly(FAILING, [*FAILURES, past], watcher.seed)
    seldom = random.Random(watcher.seed)

    def rule(request: Request) -> Reply | None:
        if seldom.random() < 0.002:
            soon = datetime.now(UTC) + timedelta(seconds=1.5)
            return Reply(503, b"", {"Retry-After": seldom.choice(["1", format_datetime(soon, usegmt=True)])})
        return watcher.counted(request, often(request))

    return rule


def end(process: subprocess.Popen[bytes], way: str) -> None:
    if way == "kill":
        process.kill()
        process.wait(30)
        return
    process.send_signal(signal.SIGINT)
    if way == "ctrl-c twice":
        process.send_signal(signal.SIGINT)
    assert process.wait(10) in (0, 3, 130, KILLED)  # 0, 3: it was through; killed: a picture was faster


def settled(state: Path, killers: int) -> int:
    """Media whose tags are in the state file, or at the service."""
    if not state.exists():
        return 0
    try:
        with LedgerView(state) as view:
            counts = view.counts()
    except Exception as error:
        assert "older engine" in str(error)  # killed before the tables were made
        return 0
    assert counts[Outcome.FAILED] <= killers
    assert counts[Outcome.REJECTED] == counts[Outcome.SKIPPED] == 0
    return counts[Outcome.OUTBOX] + counts[Outcome.DONE]


def poison(folder: Path, catalogue: list[tuple[int, str]], count: int) -> set[str]:
    """Make some pictures kill the process, here and there in the catalogue; their ids."""
    chosen = [catalogue[(2 * i + 1) * len(catalogue) // (2 * count)] for i in range(count)]
    for _, name in chosen:
        with (folder / name).open("ab") as file:
            file.write(KILLS)
    return {str(number) for number, _ in chosen}


def chaos(
    folder: Path, model: Path, *, pictures: int, kills: int, killers: int, bulk: bool, seed: int
) -> dict[str, int]:
    """Kill and start again; check that the store is exactly what it ought to be. What happened, in figures."""
    chance = random.Random(seed)
    catalogue = draw(folder / "pictures", pictures, seed)
    threshold = "0.5" if bulk else "0.99"  # fewer records: in single mode each waits out its own failures
    deadly = poison(folder / "pictures", catalogue, killers)
    every = all_records(model, folder / "pictures", catalogue, threshold)
    expected = {record: score for record, score in every.items() if record[0] not in deadly}
    path = os.pathsep.join([str(KILLER), str(ROOT)])
    deaths = 0
    state, said = folder / "state.db", folder / "stderr.txt"
    watcher = Watcher(seed)
    ways = dict.fromkeys(WAYS, 0)
    with MediaServer(catalogue, watcher, failing(watcher), string_ids=bulk) as server:
        watcher.server = server
        arguments = command(
            server, model, folder / "pictures", state, "--batch-size", "3", "--segment-size", "40", "--quiet",
            "--connections", str(CONNECTIONS), "--chunk-records", str(CHUNK_RECORDS),
            "--threshold", threshold, bulk=bulk,
        )  # fmt: skip
        before, left = 0, kills
        while left:
            fair = 2 * (len(expected) - len(server.store)) // (left + 1)
            if chance.random() < 0.3:
                watcher.set_moment(requests=chance.randrange(12))
            else:
                watcher.set_moment(stored=chance.randrange(max(1, fair)))
            with said.open("w", encoding="utf-8") as stderr:
                process = subprocess.Popen(arguments, env=environment(PYTHONPATH=path), stderr=stderr)
            way = WAYS[left % len(WAYS)]
            if watcher.wait(process):
                end(process, way)
                ways[way] += 1
                deaths += way != "kill" and process.returncode == KILLED
                left -= 1
            elif process.returncode == KILLED:
                deaths += 1
            else:
                assert process.returncode in (0, 3), said.read_text(encoding="utf-8")
                left -= 1
            now = settled(state, killers)
            assert now >= before  # what is in the outbox stays there until the service has it
            before = now
        while (last := run([*arguments, "--json"], PYTHONPATH=path)).returncode == KILLED:
            deaths += 1
            assert deaths <= MOST_DEATHS * killers
        assert last.returncode == (3 if killers else 0), last.stderr
        ledger = {Outcome.DONE: pictures - killers, Outcome.FAILED: killers}
        assert json.loads(last.stdout)["ledger"] == dict.fromkeys(Outcome, 0) | ledger
        with LedgerView(state) as view:
            reasons = view.reasons(Outcome.FAILED)
        assert {str(number) for number, _, _ in reasons} == deadly
        assert all("the process died 3 times" in reason for _, _, reason in reasons)
        assert server.violations == []
        assert server.store == expected
        again = run([*arguments, "--json"], PYTHONPATH=path)
        assert again.returncode == last.returncode and json.loads(again.stdout)["images"] == 0
        posts = [request for request in server.requests if request.path != SEGMENT]
        # A record is stored twice only if its answer was lost: to a kill, or because the service gave none.
        hard = ways["kill"] + ways.get("ctrl-c twice", 0) + deaths
        bound = watcher.lost_answers + hard * CONNECTIONS * (CHUNK_RECORDS if bulk else 1)
        assert len(server.stored_twice) <= bound
    return {
        "pictures": pictures, "records": len(expected), **ways, "deaths": deaths, "requests": len(posts),
        "stored twice": len(server.stored_twice), "at most": bound,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bulk", "pictures"),
    [pytest.param(True, 60, id="bulk"), pytest.param(False, 40, id="single", marks=pytest.mark.full)],
)
def test_killed_again_and_again_nothing_is_lost(tmp_path, tiny_model, bulk, pictures) -> None:
    happened = chaos(tmp_path, tiny_model, pictures=pictures, kills=4, killers=1, bulk=bulk, seed=3)
    assert sum(happened[way] for way in WAYS) >= 2, happened  # or the moments came too late to show anything


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "single"])
def test_the_same_in_full(tmp_path, tiny_model, bulk, capsys) -> None:
    happened = chaos(
        tmp_path, tiny_model, pictures=2000, kills=30, killers=3, bulk=bulk, seed=int(os.environ.get("SEED", "1"))
    )
    with capsys.disabled():
        print("\n" + ", ".join(f"{key}: {value}" for key, value in happened.items()))
    assert sum(happened[way] for way in WAYS) >= 25, happened
