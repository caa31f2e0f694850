"""The token goes into one header of a request, and nowhere else: not into any output, file or argument."""

import sys
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from tests.support.media_server import BULK, SEGMENT, MediaServer, Reply, Request, always
from tests.support.runs import ENGINE, command, run, start, urls

TOKEN = "sëcret".encode("ascii", "ignore").decode() + '-7f3a"9c/51d\\e8+b0='  # what JSON and URLs would escape
ECHO = TOKEN.encode()
JSON_ECHO = b'"' + TOKEN.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (50, 60, 3), np.uint8)
        (folder / f"{i}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return folder


CATALOGUE = [(i, f"{i}.png") for i in range(4)]


def forms() -> list[bytes]:
    """The token as it is, as JSON writes it, and each half of it: cutting it short must not save it."""
    escaped = JSON_ECHO[1:-1]
    return [ECHO, escaped, ECHO[4:-4], ECHO[: len(ECHO) - 2]]


def rejected_with_the_token(request: Request) -> Reply | None:
    if request.path != BULK:
        return None
    media_id = str(request.records[0]["mediaId"]).encode()
    body = b'{"rejected": [{"mediaId": %s, "tagKey": %s, "reason": %s}]}'
    return Reply(body=body % (media_id, JSON_ECHO, JSON_ECHO))


ANSWERS = {
    "a wrong token": always(Reply(401, b"who is " + ECHO + b"?")),
    "a page that names it": always(Reply(500, b'{"error": ' + JSON_ECHO + b"}"), BULK),
    "far back in a long answer": always(Reply(400, b"x" * 290 + ECHO), BULK),
    "a code of its own": always(Reply(200, b'{"code": ' + JSON_ECHO + b"}"), BULK),
    "no segment": always(Reply(200, b'{"data": ' + JSON_ECHO + b"}"), SEGMENT),
    "a login page": always(Reply(302, ECHO, {"Location": "http://127.0.0.1:1/?token=x"}), BULK),
    "in a rejection": rejected_with_the_token,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_token_appears_nowhere(name, pictures, tiny_model, tmp_path) -> None:
    state = tmp_path / "state"
    with MediaServer(CATALOGUE, ANSWERS[name], token=TOKEN) as server:
        arguments = command(
            server, tiny_model, pictures, state / "s.db", "--verbose", "--json", "--give-up-after", "0.3"
        )
        result = run(arguments, ENGINE_API_TOKEN=TOKEN)
        assert result.returncode in ((0, 3) if name == "in a rejection" else (1,)), result.stderr
        assert any(request.headers["authorization"] == f"Bearer {TOKEN}" for request in server.requests)
        status = run([*ENGINE, "status", "--state", str(state / "s.db"), "--json"], ENGINE_API_TOKEN=TOKEN)
    written = b"".join(path.read_bytes() for path in state.iterdir())
    everything = (result.stdout + result.stderr + status.stdout + status.stderr).encode() + written
    assert len(written) > 1000 and b"Traceback" not in everything
    for form in forms():
        assert form not in everything, name


def test_the_token_is_in_no_argument(pictures, tiny_model, tmp_path) -> None:
    seen: list[str] = []

    def look(_: Request) -> Reply | None:
        seen.extend(process.cmdline())
        return None

    with MediaServer(CATALOGUE, look, token=TOKEN) as server:
        running = start(command(server, tiny_model, pictures, tmp_path / "s.db"), ENGINE_API_TOKEN=TOKEN)
        process = psutil.Process(running.pid)
        running.communicate(timeout=60)
    assert running.returncode == 0 and sys.executable in seen
    assert not any(TOKEN in argument for argument in seen)
    refused = run([*ENGINE, "run", "--token", TOKEN, *urls(server)])
    assert refused.returncode == 2  # there is no such flag


def test_a_bad_token_is_not_shown_either(pictures, tiny_model, tmp_path) -> None:
    file = tmp_path / "token"
    file.write_text("two\nlines-of-a-secret", encoding="utf-8")
    with MediaServer(CATALOGUE) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--token-file", str(file))
        result = run(arguments, ENGINE_API_TOKEN="")
        config = tmp_path / "e.toml"
        config.write_text(f'token = "{TOKEN}"\n', encoding="utf-8")
        unknown = run([*arguments[:-2], "--config", str(config)])
    for each in (result, unknown):
        assert each.returncode == 1 and "secret" not in each.stderr + each.stdout, each.stderr
        assert len(each.stderr.strip().splitlines()) == 1
