"""The progress line where there is no terminal, and how durations are written."""

import io
import threading
from collections.abc import Callable

import pytest

from engine.flow.channels import Meter
from engine.report.progress import ProgressLine
from engine.report.summary import Tally, duration
from engine.types import Position


class Clock:
    """Stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def line(stream: io.StringIO, tally: Tally, last_id: Callable[[], int | None], clock: Clock) -> ProgressLine:
    decode, infer = Meter("decode"), Meter("infer")
    infer.add(busy=1.0)
    position = Position(first_id=1001, id=1100, seen=50)  # every second id has a medium
    return ProgressLine(stream, tally, [decode, infer], lambda: position, last_id, clock=clock)


def test_a_line_is_printed_every_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = line(stream, Tally(images=1200, failed=3), lambda: None, clock)
    for clock.now in (100, 109, 110, 119, 120):
        progress.tick()
    progress.close()
    expected = ["1,200 images  120.0/s  3 failed  infer limits", "1,200 images  60.0/s  3 failed  infer limits"]
    assert stream.getvalue().splitlines() == expected


def test_the_last_id_is_asked_for_once_and_gives_the_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    asked: list[threading.Thread] = []

    def last_id() -> int:
        asked.append(threading.current_thread())
        answered.set()
        return 2100

    answered = threading.Event()
    progress = line(stream, Tally(images=50), last_id, clock)
    for clock.now in (100, 105):  # short runs need no estimate
        progress.tick()
    assert not asked
    clock.now = 106
    progress.tick()
    assert answered.wait(10)
    asked[0].join()
    for clock.now in (110, 125):
        progress.tick()
    assert len(asked) == 1
    # 1,000 ids are left, and half of them have a medium: 500 at 2 a second.
    assert stream.getvalue().splitlines()[-1] == "50 images  2.0/s  about 4 min 10 s left  infer limits"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2, "4.2 s"), (42.4, "42 s"), (312, "5 min 12 s"), (15_540, "4 h 19 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
