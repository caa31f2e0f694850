"""`engine serve --tag`: one process that tags what comes and shows it, as a user starts, ends and kills it."""

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import draw
from tests.support.runs import ENGINE, TOKEN, environment, run


class Service:
    """An `engine serve --tag` that runs; `said` holds its lines so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.put(line)

    def wait_for(self, pattern: str) -> re.Match[str]:
        while True:
            if found := re.search(pattern, "".join(self.said)):
                return found
            self.said.append(self._lines.get(timeout=60))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr
        self.process.stderr.close()


@pytest.fixture
def serve(tmp_path: Path, library: Path, tiny_model: Path) -> Callable[[], object]:
    arguments = ["serve", "--tag", "--library", library, "--model", tiny_model, "--db", tmp_path / "l.db"]
    arguments += ["--port", "0", "--rescan", "0.2"]

    @contextmanager
    def running() -> Iterator[tuple[Service, str]]:
        process = subprocess.Popen(
            [*ENGINE, *map(str, arguments)],
            cwd=tmp_path,
            env=environment(ENGINE_THRESHOLD="0.001"),
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        service = Service(process)
        try:
            yield service, service.wait_for(r"http://\S+")[0]
        finally:
            service.end()

    return running


def tagged(url: str, count: int) -> None:
    """Returns once so many pictures have tags; the test's own time limit ends a wait in vain."""
    while httpx.get(f"{url}/page/summary").json()["tagged"] != count:
        pass


def late_picture(library: Path, name: str) -> None:
    """A picture that has come whole: its file is old enough not to be waited for."""
    outside = draw(library.parent / name, colour="red")
    os.utime(outside, (1_000_000_000, 1_000_000_000))
    outside.rename(library / name)


def test_it_tags_what_comes_shows_it_and_ends_within_seconds(serve, library):
    (library / "broken.jpg").write_bytes(b"no picture")  # one that fails is no reason to end otherwise than asked
    with serve() as (service, url):
        tagged(url, 4)
        late_picture(library, "late.jpg")
        tagged(url, 5)
        began = time.monotonic()
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(30) == 0
        assert time.monotonic() - began < 8
        service.wait_for(r"5 images")


def test_killed_it_goes_on_where_it_was(serve, library):
    with serve() as (service, url):
        tagged(url, 4)
        service.process.kill()
        service.process.wait()
    late_picture(library, "late.jpg")
    with serve() as (service, url):
        tagged(url, 5)
        service.process.terminate()
        assert service.process.wait(30) == (0 if os.name == "posix" else 1)
        if os.name == "posix":
            service.wait_for(r"\b1 image\b")  # what was tagged before the kill is not tagged again


def test_it_wants_a_model(library, tmp_path):
    ended = run([*ENGINE, "serve", "--tag", "--library", str(library), "--db", str(tmp_path / "l.db")])
    assert ended.returncode == 1
    assert ended.stderr == "error: --tag needs a model: give --model, the folder that `engine convert` wrote\n"


def test_it_tags_a_picture_that_is_sent_beside_the_run(serve, library):
    with serve() as (service, url):
        picture = (library / "a.jpg").read_bytes()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answers = [httpx.post(f"{url}/tag", content=picture, headers=headers, timeout=60) for _ in range(2)]
        tagged(url, 4)
        shown = [httpx.get(f"{url}/page/pictures/{number}").json() for number in range(1, 5)]
        (kept,) = [one["tags"] for one in shown if one["path"] == "a.jpg"]
        assert [answer.status_code for answer in answers] == [200, 200]
        sent = {tag["tag"]: f"{tag['score']:05.3f}" for tag in answers[1].json()["tags"]}
        assert len(sent) > 10 and sent == {tag["tag"]: f"{tag['score']:05.3f}" for tag in kept}
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(30) == 0


def test_a_model_that_cannot_be_used_is_told_before_it_listens(library, tmp_path):
    arguments = ["--library", str(library), "--db", str(tmp_path / "l.db"), "--port", "0", "--model", str(library)]
    ended = run([*ENGINE, "serve", *arguments])
    assert ended.returncode == 1 and "is no model folder" in ended.stderr
    ended = run([*ENGINE, "serve", *arguments], ENGINE_DEVICE="toaster")
    assert ended.returncode == 1 and ended.stderr.startswith("error: ENGINE_DEVICE: ")
