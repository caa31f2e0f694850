"""A run that hangs in the middle says on a signal where, and goes on to its end."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from engine.cli.dump import SIGNAL
from tests.support.media_server import BULK, MediaServer, Reply, at
from tests.support.pipelines import draw
from tests.support.runs import ENGINE, command, environment, start, urls

PICTURES = 6

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-Break to a console, not to a process")


def dump_of(process: subprocess.Popen[str]) -> str:
    """Ask for a dump; what the process says until its end."""
    assert process.stderr
    process.send_signal(SIGNAL)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("--- end of the dump"):
            return "".join(said)
    raise AssertionError(f"it ended without a dump: {''.join(said)}")


def dump_with(process: subprocess.Popen[str], text: str) -> str:
    """Dumps until one holds the text: the run may still be on its way to where it hangs."""
    for _ in range(100):
        if text in (said := dump_of(process)):
            return said
    raise AssertionError(f"no dump holds {text!r}, the last one: {said}")


def test_a_run_whose_api_hangs_shows_its_stages_threads_and_ledger(tiny_model: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(PICTURES):
        draw(pictures / f"{number}.png", number)
    asked, go_on = threading.Event(), threading.Event()

    def notice(request) -> None:
        if request.path == BULK:
            asked.set()

    catalogue = [(number + 1, f"{number}.png") for number in range(PICTURES)]
    stalled = at([0], Reply(store=True, wait=go_on), BULK)
    with MediaServer(catalogue, notice, stalled) as server:
        process = start(command(server, tiny_model, pictures, tmp_path / "s.db"))
        try:
            assert asked.wait(60)
            first, second = dump_with(process, f"{PICTURES} outbox"), dump_of(process)
            go_on.set()
            _, rest = process.communicate(timeout=60)
        finally:
            go_on.set()
            process.kill()
            process.wait()
        assert process.returncode == 0, rest
        assert len({media for media, _ in server.store}) == PICTURES
    for said in (first, second):
        stages = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line and line[0].isalpha()}
        assert {"source", "read", "decode", "infer", "record", "deliver"} <= stages.keys()
        assert stages["infer"][:2] == ["1", str(PICTURES)] and stages["deliver"][1] == "0"
        assert "thread MainThread" in said and "thread api" in said and "thread ledger" in said
        assert f"{PICTURES} outbox" in said and "a-token-for-tests" not in said


def test_a_delivery_that_hangs_shows_it_too(tiny_model: Path, tmp_path: Path) -> None:
    draw(tmp_path / "1.png", 1)
    asked, go_on = threading.Event(), threading.Event()
    state = tmp_path / "s.db"

    def notice(request) -> None:
        if request.path == BULK:
            asked.set()

    with MediaServer([(1, "1.png")], notice, at([0, 1], Reply(store=True, wait=go_on), BULK)) as server:
        tagging = subprocess.Popen(
            command(server, tiny_model, tmp_path, state), env=environment(), stderr=subprocess.DEVNULL
        )
        assert asked.wait(60)
        tagging.kill()
        tagging.wait()
        asked.clear()
        process = start([*ENGINE, "deliver", *urls(server), "--state", str(state)])
        try:
            assert asked.wait(60)
            said = dump_of(process)
            go_on.set()
            process.communicate(timeout=60)
        finally:
            go_on.set()
            process.kill()
            process.wait()
        assert process.returncode == 0
    assert "deliver" in said and "1 outbox" in said
