"""`engine run` beside a service that hangs, goes away or changes its token, ended in every way: nothing lost."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.ledger.schema import LedgerView
from tests.support.media_server import BULK, SEGMENT, MediaServer, Reply, Request, always
from tests.support.runs import ENGINE, command, run, start, urls

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals; Windows sends console events to a process group")
MEDIA = 24


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(4)
    for i in range(MEDIA):
        picture = cv2.resize(chance.integers(0, 256, (4, 4, 3), np.uint8), (40 + i, 60), interpolation=cv2.INTER_CUBIC)
        (folder / f"{i:02}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return folder


CATALOGUE = [(i + 1, f"{i:02}.png") for i in range(MEDIA)]


@pytest.fixture(scope="module")
def expected(pictures: Path, tiny_model: Path, tmp_path_factory) -> dict[tuple[str, str], str]:
    with MediaServer(CATALOGUE) as server:
        result = run(command(server, tiny_model, pictures, tmp_path_factory.mktemp("state") / "s.db"))
        assert result.returncode == 0, result.stderr
        return server.store


def counts(state: Path) -> dict[str, int]:
    with LedgerView(state) as view:
        return {outcome.value: count for outcome, count in view.counts().items() if count}


class Stalled:
    """A rule: requests to a path, from the nth on, get no answer until `release`."""

    def __init__(self, path: str, nth: int) -> None:
        self.path, self.nth = path, nth
        self.reached, self.release = threading.Event(), threading.Event()

    def __call__(self, request: Request) -> Reply | None:
        if request.path != self.path or request.nth < self.nth or self.release.is_set():
            return None
        self.reached.set()
        return Reply(503, wait=self.release)


@POSIX
@pytest.mark.parametrize(("name", "path"), [("SIGTERM", BULK), ("SIGHUP", SEGMENT)])
def test_a_polite_end_beside_a_hanging_service(name, path, pictures, tiny_model, tmp_path, expected) -> None:
    number = getattr(signal, name)
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored already where the tests were started")
    stalled = Stalled(path, 1)
    with MediaServer(CATALOGUE, stalled) as server:
        arguments = command(
            server, tiny_model, pictures, tmp_path / "s.db", "--segment-size", "9", "--chunk-records", "30"
        )
        process = start(arguments)
        assert stalled.reached.wait(30)
        second = run(arguments)
        assert second.returncode == 1 and "another run" in second.stderr and "--state" in second.stderr
        began = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
        assert time.monotonic() - began < 10
        assert process.returncode == 130 and "Traceback" not in said and "goes on" in said
        stalled.release.set()
        assert run(arguments).returncode == 0
        assert server.store == expected


@POSIX
def test_ctrl_c_twice_ends_at_once(pictures, tiny_model, tmp_path, expected) -> None:
    stalled = Stalled(BULK, 1)
    with MediaServer(CATALOGUE, stalled) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--chunk-records", "30", "--quiet")
        process = start(arguments)
        assert process.stderr and stalled.reached.wait(30)
        process.send_signal(signal.SIGINT)
        while "Ctrl-C again" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=1.9)  # the polite way would wait longer for the request
        assert process.returncode == 130
        stalled.release.set()
        assert run(arguments).returncode == 0
        assert server.store == expected


@POSIX
def test_nohup_is_respected(pictures, tiny_model, tmp_path, expected) -> None:
    stalled = Stalled(BULK, 1)
    nohup = [sys.executable, "-c", "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
             "os.execv(sys.argv[1], sys.argv[1:])"]  # fmt: skip
    with MediaServer(CATALOGUE, stalled) as server:
        process = start([*nohup, *command(server, tiny_model, pictures, tmp_path / "s.db", "--chunk-records", "30")])
        assert stalled.reached.wait(30)
        process.send_signal(signal.SIGHUP)
        stalled.release.set()
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert server.store == expected


def test_while_the_service_is_away_tagging_goes_on_into_the_outbox_and_waits_when_it_is_full(
    pictures, tiny_model, tmp_path, expected
) -> None:
    away = [True]
    asked = threading.Event()

    def rule(request: Request) -> Reply | None:
        if request.path != BULK or not away[0]:
            return None
        if request.nth >= 3:
            asked.set()
        return Reply(503, b"down", {"Retry-After": "1"})

    state = tmp_path / "s.db"
    with MediaServer(CATALOGUE, rule) as server:
        process = start(command(server, tiny_model, pictures, state, "--outbox-limit", "10", "--json"))
        assert asked.wait(60)
        assert counts(state)["outbox"] == 10 and process.poll() is None
        assert len(server.posts()) < 8  # it knocks; it does not hammer
        away[0] = False
        printed, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert server.store == expected and json.loads(printed)["ledger"]["done"] == MEDIA


def test_giving_up_names_engine_deliver_which_needs_no_model(pictures, tiny_model, tmp_path, expected) -> None:
    state = tmp_path / "s.db"
    with MediaServer(CATALOGUE, always(Reply(500, b"down"), BULK)) as server:
        result = run(command(server, tiny_model, pictures, state, "--give-up-after", "1", "--quiet"))
        assert result.returncode == 1 and "engine deliver" in result.stderr and "Traceback" not in result.stderr
        waiting = counts(state)["outbox"]
        assert waiting > 0
        server.rules.clear()
        deliver = [*ENGINE, "deliver", *urls(server), "--state", str(state)]
        delivered = run(deliver)
        assert delivered.returncode == 0, delivered.stderr
        assert counts(state)["done"] == waiting and len({medium for medium, _ in server.store}) == waiting
        assert run(command(server, tiny_model, pictures, state)).returncode == 0
        assert server.store == expected and server.stored_twice == []
        none = run([*deliver[:-1], str(tmp_path / "typo.db")])
    assert none.returncode == 1 and "there is no state file" in none.stderr
    assert not (tmp_path / "typo.db").exists()


def test_a_token_renewed_in_its_file_is_read_once_more(pictures, tiny_model, tmp_path, expected) -> None:
    file = tmp_path / "token"
    file.write_text("the-first-token", encoding="utf-8")
    file.chmod(0o600)
    renewals = iter(["the-second-token"])

    def rule(request: Request) -> Reply | None:
        """After the 5th request the service takes another token only; the first time, its owner has written it."""
        if server.token == "the-first-token" and request.index == 5:
            server.token = next(renewals)
            file.write_text(server.token, encoding="utf-8")
        if server.token == "the-second-token" and request.index == 20:
            server.token = "a-token-that-is-in-no-file"
        return None

    with MediaServer(CATALOGUE, rule, token="the-first-token") as server:
        arguments = command(
            server, tiny_model, pictures, tmp_path / "s.db", "--token-file", str(file), "--chunk-records", "10",
            "--quiet",
        )  # fmt: skip
        result = run(arguments, ENGINE_API_TOKEN="")
        assert result.returncode == 1 and "refuses the token" in result.stderr
        assert "-token" not in result.stderr.replace("--token", "").replace("the token file", "")
        assert len(server.store) > 10 and len(server.requests) > 20  # the first change was survived
        file.write_text(server.token, encoding="utf-8")
        assert run(arguments, ENGINE_API_TOKEN="").returncode == 0
        assert server.store == expected


@POSIX
def test_a_full_disk_is_one_sentence_and_loses_nothing(pictures, tiny_model, tmp_path, expected) -> None:
    """A limit on the size of files stands in for the full disk."""
    limited = [sys.executable, "-c", "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, "
               "(131072, 131072)); os.execv(sys.argv[1], sys.argv[1:])"]  # fmt: skip
    with MediaServer(CATALOGUE) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--batch-size", "1", "--quiet")
        arguments += ["--chunk-records", "10"]
        result = run([*limited, *arguments])
        assert result.returncode == 1 and "the disk that holds the state file" in result.stderr
        assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 2  # the device, and this
        stored = dict(server.store)
        again = run(arguments)
        assert again.returncode == 0, again.stderr
        assert server.store == expected and stored.items() <= expected.items()
