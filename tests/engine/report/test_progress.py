"""The progress line where there is no terminal, and how durations are written."""

import io
import threading
from collections.abc import Callable

import pytest

from engine.flow.channels import Meter
from engine.report.progress import ProgressLine
from engine.report.summary import Tally, duration
from engine.report.time_left import Standing
from engine.types import Position


class Clock:
    """Stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def line(stream: io.StringIO, tally: Tally, last_id: Callable[[], int | None], clock: Clock) -> ProgressLine:
    decode, infer = Meter("decode"), Meter("infer")
    infer.add(busy=1.0)
    # Every second id has a medium; of those listed, 20 were settled by earlier runs, 40 beyond them too.
    position = Position(first_id=1001, id=1100, seen=50, admitted=30, waiting=4, settled=60)

    def standing() -> Standing:
        return Standing(position, settled=tally.done, unsettled=26 - tally.done)

    return ProgressLine(stream, tally, [decode, infer], standing, last_id, clock=clock)


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
    tally = Tally(images=26)
    progress = line(stream, tally, last_id, clock)
    for clock.now in (100, 102):  # short runs need no estimate
        progress.tick()
    assert not asked
    clock.now = 103
    progress.tick()
    assert answered.wait(10)
    asked[0].join()
    for clock.now, tally.done in ((110, 6), (115, 16), (120, 26)):
        progress.tick()
    assert len(asked) == 1
    # 1,000 ids are left, half of them have a medium, and 40 of these are settled; 4 more wait: 464 at 2 a second.
    # Of the 60 that were settled, 26 were in the outbox: done now.
    expected = "26 images  1.3/s  60 of about 524 done  about 3 min 52 s left  infer limits"
    assert stream.getvalue().splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2, "4.2 s"), (42.4, "42 s"), (312, "5 min 12 s"), (15_540, "4 h 19 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("unsettled", "limits"), [(0, []), (3, ["infer limits"])])
def test_a_run_that_waits_for_new_media_is_not_limited_by_listing(unsettled: int, limits: list[str]) -> None:
    stream, clock = io.StringIO(), Clock()
    source, infer = Meter("source"), Meter("infer")
    source.add(busy=9.0)
    infer.add(busy=1.0)
    standing = Standing(Position(ended=True), settled=1, unsettled=unsettled)
    meters = [source, infer]
    progress = ProgressLine(stream, Tally(images=1), meters, lambda: standing, lambda: None, follows=True, clock=clock)
    clock.now += 10
    progress.tick()
    progress.close()
    [printed] = stream.getvalue().splitlines()
    assert printed.startswith("1 image  0.1/s")
    assert [part for part in printed.split("  ") if "limits" in part] == limits
