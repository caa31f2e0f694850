"""`engine run --ray` as a user runs it, on clusters of several nodes on this machine, with a real model file."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from tests.support.media_server import MediaServer
from tests.support.ray_cluster import Nodes, may_hide, ray_cluster
from tests.support.runs import ENGINE, KILLER, KILLS, TOKEN, WITHOUT, command, run, start

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[3]
Records = dict[tuple[str, str], str]
COUNT = 2_000
BROKEN = COUNT // 200


def catalogue(folder: Path) -> list[tuple[int, str]]:
    return [(5 + 3 * i, name) for i, name in enumerate(sorted(path.name for path in folder.iterdir()))]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Small pictures, some broken ones, some that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0)
    for i in range(COUNT):
        picture = cv2.resize(noise.integers(0, 256, (4, 4, 3), np.uint8), (40 + i % 50, 90 - i % 40))
        name = f"{i:05}.{'jpg' if i % 2 else 'png'}"
        (folder / name).write_bytes(cv2.imencode(Path(name).suffix, picture)[1].tobytes())
    for i in range(0, COUNT, 200):
        (folder / f"{i:05}.png").write_bytes((folder / f"{i:05}.png").read_bytes()[:90])
        (folder / f"{i:05} film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    return folder


@pytest.fixture(scope="module")
def alone(pictures: Path, tiny_model: Path, tmp_path_factory) -> Records:
    """What one machine posts."""
    with MediaServer(catalogue(pictures)) as server:
        result = run(command(server, tiny_model, pictures, tmp_path_factory.mktemp("alone") / "s.db"))
        assert result.returncode == 3, result.stderr
        return dict(server.store)


@pytest.fixture(scope="module")
def three() -> Iterator[Nodes]:
    with ray_cluster(head=1, second=2, third=2) as nodes:
        yield nodes


def workers(title: str) -> list[psutil.Process]:
    """Ray's processes on this machine that do this now; they are this process's children."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[:1] == [f"ray::{title}"]:
                found.append(process)
    return found


def kill_one(title: str) -> None:
    """The first that is met: they come and go."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for process in workers(title):
            process.kill()
            return
    raise AssertionError(f"no worker {title} was met")


def test_three_nodes_post_what_one_machine_posts(three, pictures, tiny_model, tmp_path, alone) -> None:
    with MediaServer(catalogue(pictures)) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--json", "--ray", three.address)
        result = run(arguments)
        assert result.returncode == 3, result.stderr
        summary = json.loads(result.stdout)
        assert server.violations == [] and server.stored_twice == []
        assert server.store == alone
        assert (summary["images"], summary["failed"], summary["skipped"]) == (COUNT - BROKEN, BROKEN, BROKEN)
        assert summary["cluster"]["nodes"] == 3 and summary["cluster"]["sessions"] == 3
        assert summary["stages"]["decode"]["items"] >= COUNT - BROKEN
        assert "a cluster of 3 nodes with 3 sessions" in result.stderr
        again = run(arguments[:-2])  # without --ray
        assert "nothing to do" in again.stderr


def test_a_node_dies_at_a_third_a_worker_and_a_session_at_two_thirds(pictures, tiny_model, tmp_path, alone) -> None:
    with ray_cluster(head=1, second=2, third=2) as nodes, MediaServer(catalogue(pictures)) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--json", "--ray", nodes.address)
        process = start(arguments)
        assert server.wait_until(lambda: len(server.store) > len(alone) / 3, timeout=100)
        nodes.kill("third")
        assert server.wait_until(lambda: len(server.store) > 2 * len(alone) / 3, timeout=100)
        kill_one("load_block")
        kill_one("SessionWorker.score")
        output, said = process.communicate(timeout=200)
        assert process.returncode == 3, said
        summary = json.loads(output)
        assert server.store == alone and server.violations == [] and server.stored_twice == []
        assert (summary["images"], summary["failed"]) == (COUNT - BROKEN, BROKEN)
        # What ran on the node that died may be counted before Ray knows of the node.
        assert summary["cluster"]["lost_nodes"] == 1, said
        assert summary["cluster"]["lost_workers"] >= 1 and summary["cluster"]["lost_sessions"] >= 1, said
        assert "node third: the node is gone" in said


def test_ctrl_c_and_then_the_rest_on_one_machine(three, pictures, tiny_model, tmp_path, alone) -> None:
    with MediaServer(catalogue(pictures)) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db")
        process = start([*arguments, "--ray", three.address])
        assert server.wait_until(lambda: len(server.store) > len(alone) / 4, timeout=100)
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - asked < 10
        assert process.returncode == 130, said
        assert len(server.store) < len(alone)
        rest = run(arguments)
        assert rest.returncode == 3, rest.stderr
        assert server.store == alone and server.violations == []


def test_a_picture_that_kills_its_worker_three_times_has_failed(pictures, tiny_model, tmp_path, alone) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = sorted(path.name for path in pictures.iterdir() if path.suffix == ".jpg")[:60]
    for name in names:
        (folder / name).write_bytes((pictures / name).read_bytes())
    bad = names[33]
    (folder / bad).write_bytes((folder / bad).read_bytes() + KILLS)
    with ray_cluster(head=0) as nodes, MediaServer(catalogue(folder)) as server:
        nodes.start("deadly", cpus=2, environment={"PYTHONPATH": str(KILLER) + os.pathsep + str(ROOT)})
        state = tmp_path / "s.db"
        result = run(command(server, tiny_model, folder, state, "--json", "--ray", nodes.address))
        assert result.returncode == 3, result.stderr
        summary = json.loads(result.stdout)
        assert (summary["images"], summary["failed"]) == (59, 1)
        assert summary["cluster"]["lost_workers"] == 3
        status = run([*ENGINE, "status", "--state", str(state)])
        assert "the worker died 3 times while this picture was read or decoded" in status.stdout


@pytest.mark.parametrize(
    ("address", "cure"),
    [("127.0.0.1:1", "run `ray start --head` on one machine"), ("ray://host:10001", "then give --ray HOST:6379")],
)
def test_an_address_without_a_cluster_is_told_with_the_way_out(address, cure, pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)) as server:
        result = run(command(server, tiny_model, pictures, tmp_path / "s.db", "--ray", address))
    assert result.returncode == 1 and cure in result.stderr and "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr


def test_more_sessions_than_the_cluster_has_places_for_are_refused(three, pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)) as server:
        state = tmp_path / "s.db"
        result = run(command(server, tiny_model, pictures, state, "--ray", three.address, "--ray-actors", "9"))
        assert result.returncode == 1 and "the cluster has CPUs for 3 sessions, not for 9" in result.stderr
        result = run(command(server, tiny_model, pictures, state, "--ray", three.address, "--device", "cuda"))
        assert result.returncode == 1 and "no node of the cluster has a GPU for --device cuda" in result.stderr


def test_a_gpu_each_for_the_sessions_and_every_cpu_for_loading(pictures, tiny_model, tmp_path, alone) -> None:
    """Two GPUs in Ray's account; the sessions find that there is no CUDA, and say so."""
    with ray_cluster(head=0) as nodes, MediaServer(catalogue(pictures)) as server:
        nodes.start("cards", cpus=1, num_gpus=2)
        nodes.start("cpus", cpus=2)
        result = run(command(server, tiny_model, pictures, tmp_path / "s.db", "--json", "--ray", nodes.address))
        assert result.returncode == 3, result.stderr
        assert server.store == alone and server.violations == []
        found = json.loads(result.stdout)["cluster"]
        assert (found["nodes"], found["sessions"]) == (3, 2)
        assert result.stderr.count("warning: node cards: a session there uses no GPU: cpu: ") == 2
        assert found["bytes_of_rows_between_nodes"] > 0  # one CPU cannot feed both
        result = run(
            command(server, tiny_model, pictures, tmp_path / "2.db", "--ray", nodes.address, "--device", "cuda")
        )
        assert result.returncode == 1 and "error: node cards: " in result.stderr and "node cpus" not in result.stderr


def test_a_local_cluster_needs_nothing_but_ray(pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)[:50]) as server:
        result = run(command(server, tiny_model, pictures, tmp_path / "s.db", "--json", "--ray", "local"))
        assert result.returncode == 3, result.stderr
        assert json.loads(result.stdout)["cluster"]["nodes"] == 1
        for file in Path("/tmp/ray/session_latest").resolve().rglob("*"):
            assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


def test_a_node_that_joins_takes_part_and_one_that_lacks_something_does_not(
    pictures, tiny_model, tmp_path, alone
) -> None:
    with ray_cluster(head=1) as nodes, MediaServer(catalogue(pictures)) as server:
        process = start(command(server, tiny_model, pictures, tmp_path / "s.db", "--json", "--ray", nodes.address))
        assert server.wait_until(lambda: len(server.store) > 100, timeout=100)
        process.send_signal(signal.SIGSTOP)  # until both are there, so that the run cannot end before
        nodes.start("late", cpus=2)
        nodes.start("bare", environment={"PYTHONPATH": os.pathsep.join((str(WITHOUT), str(ROOT))), "WITHOUT": "PIL"})
        process.send_signal(signal.SIGCONT)
        output, said = process.communicate(timeout=200)
        assert process.returncode == 3, said
        assert server.store == alone and server.violations == []
        assert "node late: a new node takes part" in said
        assert "node bare takes no part: " in said and "PIL" in said
        assert json.loads(output)["cluster"]["nodes"] == 2


def test_ctrl_c_while_the_nodes_are_asked(three, pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)) as server:
        process = start(command(server, tiny_model, pictures, tmp_path / "s.db", "--ray", three.address))
        deadline = time.monotonic() + 60
        while not workers("check") and time.monotonic() < deadline:
            pass
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130 and time.monotonic() - asked < 10, said
        assert "Traceback" not in said and server.store == {}


needs_mounts = pytest.mark.skipif(not may_hide(), reason="this machine lets the tests mount nothing")


@needs_mounts
def test_a_node_that_cannot_see_the_storage_is_named(pictures, tiny_model, tmp_path, three) -> None:
    with MediaServer(catalogue(pictures)) as server, three.hiding("blind", pictures):
        result = run(command(server, tiny_model, pictures, tmp_path / "s.db", "--ray", three.address))
        assert result.returncode == 1 and server.store == {}
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
        assert "node blind: the storage root" in line and "mount it there as it is mounted here" in line
        assert "node head" not in line and "node second" not in line


def test_a_node_without_the_models_device_is_named(pictures, tiny_model, tmp_path) -> None:
    with ray_cluster(head=1) as nodes, MediaServer(catalogue(pictures)) as server:
        nodes.start(
            "bare", environment={"PYTHONPATH": os.pathsep.join((str(WITHOUT), str(ROOT))), "WITHOUT": "onnxruntime"}
        )
        result = run(command(server, tiny_model, pictures, tmp_path / "s.db", "--ray", nodes.address))
        assert result.returncode == 1 and server.store == {}
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
        assert (
            "node bare: " in line
            and "there is no ONNX Runtime" in line
            and "pip install" in line
            and "node head" not in line
        )


@needs_mounts
def test_the_model_is_sent_where_it_is_not_and_a_storage_that_goes_away_is_waited_for(
    pictures, tiny_model, tmp_path, alone
) -> None:
    cache = tmp_path / "cache"
    with ray_cluster(head=0) as nodes, MediaServer(catalogue(pictures)) as server:
        nodes.start("second")
        with nodes.hiding("far", tiny_model, cpus=2, XDG_CACHE_HOME=str(cache)) as far:
            arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--json", "--ray", nodes.address)
            process = start(arguments)
            assert server.wait_until(lambda: len(server.store) > len(alone) / 4, timeout=100)
            far.mount("mount", "-t", "tmpfs", "none", str(pictures))
            assert server.wait_until(lambda: len(server.store) > len(alone) / 2, timeout=100)
            far.mount("umount", str(pictures))
            output, said = process.communicate(timeout=100)
        assert process.returncode == 3, said
        assert server.store == alone and server.violations == []
        assert json.loads(output)["failed"] == BROKEN
        assert "node far: the storage root is not there" in said
        assert [path.name for path in cache.rglob("model.fp32.onnx")] == ["model.fp32.onnx"]
