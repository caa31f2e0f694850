"""Ctrl-C at any moment: no traceback, and a cursor that can be seen."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.runs.test_run import catalogue, pictures
from tests.support.media_rules import Reply
from tests.support.media_server import BULK, MediaServer
from tests.support.runs import ENGINE, command, environment

__all__ = ["pictures"]  # the fixture

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends console events to a process group, not signals")

TELLING = [sys.executable, "-X", "importtime", *ENGINE[1:]]
"""Says on stderr what was imported, a line each: a clock for the time before a command begins."""


@pytest.mark.parametrize("after", ["typer.models", "typer", "engine.cli.commands", "engine.config", "numpy"])
@pytest.mark.parametrize("times", [1, 2])
def test_while_the_program_is_loaded(after: str, times: int) -> None:
    process = subprocess.Popen(
        [*TELLING, "run", "--help"], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    for line in process.stderr:
        if line.rpartition("|")[2].strip() == after:
            break
    else:
        pytest.fail(f"{after} was never imported")
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode in (0, 130) and "Traceback" not in said and "Error" not in said
    if after != "numpy":  # the last one: it may have been through
        assert process.returncode == 130 and "interrupted" in said


class Terminal:
    """A command whose stderr is a terminal."""

    def __init__(self, arguments: list[str]) -> None:
        import pty

        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            arguments, env=environment(TERM="xterm-256color"), stdout=subprocess.DEVNULL, stderr=theirs
        )
        os.close(theirs)
        self.said = ""

    def read_until(self, text: str) -> None:
        while text not in self.said:
            try:
                self._read()
            except OSError:
                pytest.fail(f"ended without {text!r}: {self.said}")

    def read_all(self) -> None:
        try:
            while True:
                self._read()
        except OSError:  # nobody has the other end any more
            os.close(self._ours)

    def _read(self) -> None:
        self.said += os.read(self._ours, 65536).decode("utf-8", "replace")


def test_twice_during_a_run_the_cursor_comes_back(pictures, tiny_model: Path, tmp_path: Path) -> None:
    with MediaServer(catalogue(pictures), lambda request: Reply(503) if request.path == BULK else None) as server:
        terminal = Terminal(command(server, tiny_model, pictures, tmp_path / "s.db"))
        terminal.read_until("\x1b[?25l")  # hidden by the progress bar
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until("Ctrl-C again")
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_all()
        assert terminal.process.wait(10) == 130
    assert terminal.said.rindex("\x1b[?25h") > terminal.said.rindex("\x1b[?25l")
    assert "Traceback" not in terminal.said


def test_again_while_an_interrupted_run_is_reported(pictures, tiny_model: Path, tmp_path: Path) -> None:
    with MediaServer(catalogue(pictures), lambda request: Reply(503) if request.path == BULK else None) as server:
        terminal = Terminal(command(server, tiny_model, pictures, tmp_path / "s.db"))
        terminal.read_until("\x1b[?25l")
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until("images in")  # the summary
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_all()
        assert terminal.process.wait(10) == 130 and "Traceback" not in terminal.said
