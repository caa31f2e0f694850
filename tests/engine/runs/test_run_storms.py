"""Whole runs through a storage that fails for a while: nothing is failed for it, and it is not asked in vain."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.embedded import embedded
from tests.support.file_server import FileServer, Reply
from tests.support.media_server import MediaServer
from tests.support.pipelines import draw
from tests.support.runs import command, environment, run, start
from tests.support.seaweed import Seaweed

ON_A_FAILING_DISK = [sys.executable, "-c", "import tests.support.failing_disk; from engine.cli import main; main()"]


def drawn(folder: Path, count: int) -> dict[str, bytes]:
    """So many names, behind which lie eight different pictures."""
    bodies = []
    for i in range(8):
        draw(folder / f"{i}.png", i)
        bodies.append((folder / f"{i}.png").read_bytes())
    return {f"{i:05}.png": bodies[i % 8] for i in range(count)}


class Storm:
    """A rule for a file server: after some requests it answers 503 for a while."""

    def __init__(self, before: int, seconds: float, headers: dict[str, str]) -> None:
        self._left, self._seconds, self._headers = before, seconds, headers
        self._lock = threading.Lock()
        self._until = 0.0
        self.refused: list[float] = []

    def __call__(self, path: str, headers: dict[str, str]) -> Reply | None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._until = time.monotonic() + self._seconds
            if time.monotonic() >= self._until:
                return None
            self.refused.append(time.monotonic())
        return Reply(503, b"<Error><Code>SlowDown</Code></Error>", dict(self._headers))


def asked_gently(refused: list[float], readers: int, seconds: float) -> bool:
    """Every reader may fail once before it hears of the storm, then it is asked about once a second."""
    return 0 < len(refused) <= 2 * readers + 1.5 * seconds + 5


@pytest.mark.parametrize(
    ("count", "seconds"), [(300, 3), pytest.param(6000, 60, marks=[pytest.mark.full, pytest.mark.timeout(400)])]
)
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "2"}], ids=["plain", "retry-after"])
def test_a_storm_of_503_fails_nothing(headers, count: int, seconds: float, tiny_model: Path, tmp_path: Path) -> None:
    files = drawn(tmp_path, count)
    storm = Storm(count // 3, seconds, headers)
    with (
        MediaServer(list(enumerate(files, 1))) as server,
        FileServer({f"/{key}": body for key, body in files.items()}, storm) as storage,
    ):
        arguments = command(server, tiny_model, storage.url, tmp_path / "s.db", "--json", "--read-threads", "32")
        done = subprocess.run(arguments, env=environment(), capture_output=True, encoding="utf-8", timeout=380)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["ledger"]
    assert (found["done"], found["failed"], found["pending"]) == (count, 0, 0)
    assert asked_gently(storm.refused, 32, seconds)
    assert sum("SlowDown" in line or "503" in line for line in done.stderr.splitlines()) <= 2, done.stderr


@pytest.mark.parametrize(
    ("count", "seconds"), [(300, 3), pytest.param(6000, 60, marks=[pytest.mark.full, pytest.mark.timeout(400)])]
)
def test_a_storm_of_io_errors_fails_nothing(count: int, seconds: float, tiny_model: Path, tmp_path: Path) -> None:
    """The share's listing works all the while."""
    (tmp_path / "share").mkdir()
    for key, body in drawn(tmp_path, count).items():
        (tmp_path / "share" / key).write_bytes(body)
    keys = sorted(path.name for path in (tmp_path / "share").iterdir())
    with MediaServer(list(enumerate(keys, 1))) as server:
        arguments = command(server, tiny_model, tmp_path / "share", tmp_path / "s.db", "--json", "--read-threads", "32")
        variables = {"TEST_EIO": f"{count // 3},{seconds}", "TEST_EIO_LOG": str(tmp_path / "asked")}
        done = subprocess.run(
            ON_A_FAILING_DISK + arguments[len(arguments) - arguments[::-1].index("run") - 1 :],
            env=environment(**variables),
            capture_output=True,
            encoding="utf-8",
            timeout=380,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["ledger"]
    assert (found["done"], found["failed"], found["pending"]) == (count, 0, 0)
    refused = [float(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert asked_gently(refused, 32, seconds)


def kill_and_start(seaweed: Seaweed) -> None:
    seaweed.kill()
    seaweed.start()


def stop_for_a_while(seaweed: Seaweed) -> None:
    seaweed.pause()
    time.sleep(5)  # this is how long it says nothing
    seaweed.resume()


@pytest.mark.full
@pytest.mark.timeout(200)
@pytest.mark.parametrize("trouble", [kill_and_start, stop_for_a_while])
def test_a_server_that_is_killed_or_stopped_costs_nothing(
    trouble: Callable[[Seaweed], None], seaweed: Seaweed, tiny_model: Path, tmp_path: Path
) -> None:
    files = drawn(tmp_path, 600)
    seaweed.put("storms")
    for key, body in files.items():
        seaweed.put("storms", key, body)
    with MediaServer(list(enumerate(files, 1))) as server:
        arguments = command(server, tiny_model, "s3://storms", tmp_path / "s.db", "--json", "--quiet")
        arguments += ["--chunk-records", "200", "--batch-size", "4"]
        with start(arguments, **seaweed.environment()) as running:
            while not server.requests or len(server.store) < 100:
                assert running.poll() is None
                time.sleep(0.02)
            trouble(seaweed)
            out, err = running.communicate(timeout=150)
    assert running.returncode == 0, err
    found = json.loads(out)["ledger"]
    assert (found["done"], found["failed"], found["pending"]) == (600, 0, 0)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_five_thousand_pictures_from_s3_into_the_embedded_service_with_flat_memory(
    seaweed: Seaweed, tiny_model: Path, tmp_path: Path
) -> None:
    files = drawn(tmp_path, 5000)
    library = tmp_path / "library"
    library.mkdir()
    seaweed.put("storms")  # each further bucket would take some of the few volumes of a small server
    for key, body in files.items():
        seaweed.put("storms", f"many/{key}", body)
        (library / key).write_bytes(body)
    peaks = []
    for limit in (1000, 5000):
        with embedded(library, db=tmp_path / f"{limit}.db", rescan=0) as service:
            arguments = [sys.executable, "-c", "from engine.cli import main; main()", "run", "--model", str(tiny_model)]
            arguments += ["--segment-url", service.segment_url, "--recognition-url", service.recognition_url]
            arguments += ["--recognition-bulk-url", service.recognition_bulk_url, "--storage", "s3://storms/many"]
            arguments += ["--state", str(tmp_path / f"{limit}.ledger"), "--limit", str(limit), "--json", "--quiet"]
            variables = seaweed.environment() | {"ENGINE_API_TOKEN": service.token}
            done = run(arguments, None, None, **variables)
            assert done.returncode == 0, done.stderr
            summary = json.loads(done.stdout)
            assert summary["ledger"]["done"] == limit
            peaks.append(summary["peak_rss_mb"])
            tagged = httpx.get(f"{service.url}/page/summary").json()["tagged"]
    assert tagged == 5000
    assert peaks[1] < 1.15 * peaks[0], peaks
