"""The progress line where there is no terminal, and how durations are written."""

import io
import threading
import time

import pytest

from engine.flow.channels import Meter
from engine.report.progress import ProgressLine
from engine.report.summary import Tally, duration
from engine.types import Position


def line(stream: io.StringIO, tally: Tally, last_id, **settings: float) -> ProgressLine:
    decode, infer = Meter("decode"), Meter("infer")
    infer.add(busy=1.0)
    position = Position(first_id=1001, id=1100, seen=50)  # every second id is a medium
    return ProgressLine(stream, tally, [decode, infer], lambda: position, last_id, **settings)


def test_a_line_is_printed_once_in_an_interval() -> None:
    stream, tally = io.StringIO(), Tally(images=1200, failed=3)
    progress = line(stream, tally, lambda: None, interval_s=3600)
    progress.tick()
    assert not stream.getvalue()
    progress = line(stream, tally, lambda: None, interval_s=0)
    progress.tick()
    progress.close()
    [printed] = stream.getvalue().splitlines()
    assert printed.startswith("1,200 images  ") and printed.endswith("  3 failed  infer limits")
    assert "left" not in printed


def test_the_last_id_is_asked_for_once_and_gives_the_time_left() -> None:
    stream, asked = io.StringIO(), []
    patient = line(stream, Tally(images=50), lambda: asked.append(1), ask_after_s=3600)
    patient.tick()
    assert not asked
    progress = line(stream, Tally(images=50), lambda: asked.append(2) or 2100, interval_s=0, ask_after_s=-1)
    progress.tick()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "last-id"] or [None]
    if thread:
        thread.join(timeout=10)
    progress.tick()
    assert asked == [2]
    assert " left" in stream.getvalue().splitlines()[-1]
    found = progress._left(time.monotonic())
    assert found and found[0] == 500  # half of the 1,000 ids that are left


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2, "4.2 s"), (42.4, "42 s"), (312, "5 min 12 s"), (15_540, "4 h 19 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
