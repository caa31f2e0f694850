"""`POST /tag` over real HTTP: many clients at once, limits, and what is refused with which sentence."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from engine import Tagger
from engine.errors import SessionError
from engine.tagger import Look
from engine.types import TagScore
from service import tagging
from service.embedded import Running, embedded
from tests.service.conftest import draw
from tests.support.pictures import encoded, png_claiming, smooth
from tests.support.runs import ENGINE, run

LOW = 0.001
"""The model's weights are random: so low a threshold takes nearly all its tags."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("tagging")
    draw(folder / "library" / "a.jpg")
    with (
        Tagger(tiny_model, threshold=LOW, device="cpu", max_file_size=20_000_000) as tagger,
        embedded(folder / "library", db=folder / "l.db", model=tiny_model, tagger=tagger, rescan=0) as running,
    ):
        yield running


def post(running: Running, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{running.url}/tag", content=body, headers={"Authorization": f"Bearer {running.token}"} | headers, timeout=60
    )


def picture(seed: int = 0) -> bytes:
    return encoded("PNG", Image.fromarray(smooth(seed=seed)))


def test_many_clients_at_once_get_each_the_tags_of_engine_tag_to_the_last_bit(service, tiny_model, tmp_path):
    sent = {seed: picture(seed) for seed in range(24)}
    for seed, data in sent.items():
        (tmp_path / f"{seed}.png").write_bytes(data)
    command = ["tag", "--json", "--threshold", str(LOW), "--device", "cpu", "--model", str(tiny_model), str(tmp_path)]
    lines = [json.loads(line) for line in run([*ENGINE, *command]).stdout.splitlines()]
    expected = {int(Path(line["path"]).stem): line["tags"] for line in lines}
    assert len({str(tags) for tags in expected.values()}) == 24
    with ThreadPoolExecutor(12) as clients:
        answers = dict(zip(sent, clients.map(lambda data: post(service, data).json(), sent.values()), strict=True))
    for seed, answer in answers.items():
        assert [{"tag": tag["tag"], "score": tag["score"]} for tag in answer["tags"]] == expected[seed]
        assert {tag["category"] for tag in answer["tags"]} == {"General"}


def test_what_is_no_picture_is_refused_with_the_reason_and_the_service_lives(service):
    for body, sentence in [
        (png_claiming(50_000, 50_000), "more than the limit of 100,000,000"),
        (encoded("JPEG", Image.fromarray(smooth()))[:500], "broken"),
        (b"hello", "the file is text"),
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n", "broken"),
    ]:
        answer = post(service, body)
        assert answer.status_code == 422 and sentence in answer.json()["error"]
    assert post(service, picture()).status_code == 200


def test_what_its_headers_tell_is_refused_unread(service):
    too_large = post(service, bytes(20_000_001))
    assert too_large.status_code == 413
    assert "20000001 bytes, and the limit is 20000000" in too_large.json()["error"]
    form = httpx.post(
        f"{service.url}/tag", files={"file": picture()}, headers={"Authorization": f"Bearer {service.token}"}
    )
    assert form.status_code == 415 and "--data-binary" in form.json()["error"]
    chunked = httpx.post(
        f"{service.url}/tag", content=iter([picture()]), headers={"Authorization": f"Bearer {service.token}"}
    )
    assert chunked.status_code == 411 and "Content-Length" in chunked.json()["error"]


def test_it_wants_the_token_and_a_body_over_one_megabyte_passes(service):
    assert httpx.post(f"{service.url}/tag", content=picture()).status_code == 401
    large = encoded("BMP", Image.fromarray(smooth(1000, 1000)))
    assert len(large) > 1_500_000
    assert post(service, large).status_code == 200
    other = httpx.post(service.segment_url, content=large, headers={"Authorization": f"Bearer {service.token}"})
    assert other.status_code == 413


def test_without_a_model_there_is_no_tagging(running):
    answer = post(running, picture())
    assert answer.status_code == 404
    assert answer.json() == {"error": "this service tags no pictures: start it with `engine serve --model`"}


class Stuck:
    """Tags nothing before `open` is set."""

    max_file_size = 1_000_000

    def __init__(self) -> None:
        self.began, self.open = threading.Semaphore(0), threading.Event()
        self.error: Exception | None = None

    def tag(self, picture: bytes) -> list[tuple[str, float]]:
        self.began.release()
        self.open.wait()
        if self.error:
            raise self.error
        return [("tag", 0.1)]

    def look(self, picture: bytes) -> Look:
        return Look(tuple(TagScore(*one) for one in self.tag(picture)), np.zeros(1, np.float32), None, 0, "")


@pytest.fixture
def stuck(library: Path, tmp_path: Path) -> Iterator[tuple[Stuck, Running]]:
    tagger = Stuck()
    with embedded(library, db=tmp_path / "l.db", tagger=tagger, rescan=0) as running:
        yield tagger, running
        tagger.open.set()


def test_one_more_than_may_wait_is_told_to_come_back(stuck, monkeypatch):
    tagger, running = stuck
    monkeypatch.setattr(tagging, "QUEUE", 3)
    with ThreadPoolExecutor(3) as clients:
        waiting = [clients.submit(post, running, b"x") for _ in range(3)]
        for _ in waiting:
            tagger.began.acquire()
        refused = post(running, b"x")
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
        assert "try again" in refused.json()["error"]
        assert httpx.get(f"{running.url}/health").status_code == 200  # nobody else waits
        tagger.open.set()
        assert [one.result().status_code for one in waiting] == [200] * 3
    assert post(running, b"x").json() == {"tags": [{"tag": "tag", "category": "", "score": 0.1}]}


def test_the_bytes_that_wait_are_bounded_too_but_one_large_picture_passes(stuck, monkeypatch):
    tagger, running = stuck
    monkeypatch.setattr(tagging, "QUEUE_BYTES", 1000)
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(post, running, bytes(5000))
        tagger.began.acquire()
        assert post(running, b"x").status_code == 503
        tagger.open.set()
        assert waiting.result().status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "sentence", "again"),
    [
        (SessionError("out of memory on cuda"), 503, "out of memory on cuda", False),
        (MemoryError("not enough memory for 3 x 3 pixels"), 503, "not enough memory for 3 x 3 pixels", True),
    ],
)
def test_a_model_that_cannot_run_is_told(stuck, error, status, sentence, again):
    tagger, running = stuck
    tagger.error = error
    tagger.open.set()
    answer = post(running, b"x")
    assert answer.status_code == status and sentence in answer.json()["error"]
    assert ("retry-after" in answer.headers) == again


def begin_to_send(running: Running) -> socket.socket:
    """A client that promises more than it sends."""
    address = urlsplit(running.url)
    client = socket.create_connection((address.hostname, address.port))
    head = f"POST /tag HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {running.token}\r\n"
    client.sendall(f"{head}Content-Length: 1000\r\n\r\nhalf".encode())
    return client


def test_a_picture_that_never_comes_whole_gives_its_place_back(stuck, monkeypatch):
    tagger, running = stuck
    tagger.open.set()
    monkeypatch.setattr(tagging, "QUEUE", 1)
    monkeypatch.setattr(tagging, "BODY_SECONDS", 0.2)
    with closing(begin_to_send(running)) as client:
        answer = b"".join(iter(lambda: client.recv(4096), b""))  # to the end: the connection is closed
    assert b" 408 " in answer and b"within 0 s" in answer
    monkeypatch.setattr(tagging, "BODY_SECONDS", 60)
    assert post(running, b"x").status_code == 200


def test_a_client_that_leaves_gives_its_place_back(stuck, monkeypatch):
    tagger, running = stuck
    tagger.open.set()
    monkeypatch.setattr(tagging, "QUEUE", 1)
    begin_to_send(running).close()
    while post(running, b"x").status_code != 200:  # the test's own time limit ends a wait in vain
        pass
