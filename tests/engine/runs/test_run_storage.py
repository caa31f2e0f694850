"""`engine run` on a storage that is reached over a network."""

import json
import time
from pathlib import Path

import pytest

from tests.support.file_server import FileServer, Reply
from tests.support.media_server import MediaServer
from tests.support.pipelines import draw
from tests.support.runs import TOKEN, command, run
from tests.support.seaweed import ADMIN, READER, Seaweed

PICTURES = 30


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, bytes]:
    for i in range(PICTURES):
        draw(tmp_path / f"{i}.png", i)
    return {f"run/{i}.png": (tmp_path / f"{i}.png").read_bytes() for i in range(PICTURES)}


def catalogue(pictures: dict[str, bytes]) -> list[tuple[int, str]]:
    """All the pictures, and one that is nowhere."""
    return list(enumerate([*pictures, "run/none.png"], 1))


def test_keys_that_may_only_read_tag_all_but_the_one_that_is_missing(seaweed: Seaweed, pictures, tiny_model, tmp_path):
    for key, body in pictures.items():
        seaweed.put("pictures", key, body)
    with MediaServer(catalogue(pictures)) as server:
        arguments = command(server, tiny_model, "s3://pictures", tmp_path / "s.db", "--json")
        done = run(arguments, None, None, **seaweed.environment(READER))
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)["ledger"]
    assert (found["done"], found["failed"], found["pending"]) == (PICTURES, 1, 0)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "without a scheme: write http://127.0.0.1:9000"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "nothing answers at http://127.0.0.1:9"),
    ],
    ids=["secret", "scheme", "port"],
)
def test_a_mistake_ends_the_run_before_the_first_picture(
    mistake, said, seaweed: Seaweed, pictures, tiny_model, tmp_path
):
    with MediaServer(catalogue(pictures)) as server:
        arguments = command(server, tiny_model, "s3://pictures", tmp_path / "s.db")
        began = time.monotonic()
        done = run(arguments, None, None, **seaweed.environment(ADMIN) | mistake)
        assert time.monotonic() - began < 15
        assert not server.requests
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert ADMIN.secret_key not in done.stderr


def test_the_media_service_serves_its_pictures_with_its_token(pictures, tiny_model, tmp_path):
    """Another server on another port gets none; that of the API would."""

    def rule(path: str, headers: dict[str, str]) -> Reply | None:
        return Reply(500) if "authorization" in headers else None

    with FileServer({"/files/" + key: body for key, body in pictures.items()}, rule) as files:
        with MediaServer(catalogue(pictures)) as server:
            done = run(command(server, tiny_model, f"{files.url}/files", tmp_path / "s.db", "--json"))
        assert done.returncode == 3, done.stderr
        assert TOKEN not in str(files.requests)
    found = json.loads(done.stdout)["ledger"]
    assert (found["done"], found["failed"], found["pending"]) == (PICTURES, 1, 0)
