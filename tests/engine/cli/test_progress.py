"""The progress of commands that work through a known number of things."""

import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from engine.cli.progress import counting

ROOT = Path(__file__).parents[3]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_every_ten_seconds_with_speed_and_time_left() -> None:
    out, clock = io.StringIO(), Clock()
    with counting("posting media", 1000, stream=out, clock=clock) as done:
        for tenth in range(251):
            clock.now = tenth / 10
            done(tenth * 2)
    assert out.getvalue().splitlines() == [
        "posting media: 200 of 1,000  20/s  about 40 s left",
        "posting media: 400 of 1,000  20/s  about 30 s left",
    ]


def test_without_a_change_there_is_no_speed_and_at_the_end_no_time_left() -> None:
    out, clock = io.StringIO(), Clock()
    with counting("a [b] c", 10, stream=out, clock=clock) as done:
        for now, count in ((0, 0), (10, 0), (15, 5), (20, 10)):
            clock.now = now
            done(count)
    assert out.getvalue().splitlines() == ["a [b] c: 0 of 10", "a [b] c: 10 of 10  1/s"]


@pytest.mark.skipif(os.name == "nt", reason="a terminal of Linux and macOS")
def test_a_terminal_gets_one_line_that_goes_again() -> None:
    import pty

    code = """
import sys
from engine.cli.progress import counting
with counting("posting media", 4) as done:
    for count in range(5):
        done(count)
print("ended", file=sys.stderr)
"""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        shown = bytearray()
        with suppress(OSError):  # what Linux says at the end
            while part := os.read(ours, 1024):
                shown += part
    os.close(ours)
    assert child.returncode == 0
    text = shown.decode()
    assert "posting media: 4 of 4" in text
    assert text.rstrip().endswith("ended") and "\x1b[2K" in text  # the line was taken off before
