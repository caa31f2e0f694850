"""The progress of a run on stderr."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from engine.flow.channels import Meter
from engine.report.summary import Tally, counted, duration
from engine.report.time_left import Rate, Standing, media_left
from engine.types import Position


class ProgressLine:
    """Images, images/s, media done of all, time left, failures and the limiting stage, while the run lasts.

    A terminal shows one line that changes; anything else gets a new line every `interval_s`.
    """

    def __init__(
        self,
        stream: TextIO,
        tally: Tally,
        meters: Sequence[Meter],
        standing: Callable[[], Standing],
        last_id: Callable[[], int | None],
        *,
        interval_s: float = 10.0,
        ask_after_s: float = 2.0,
        follows: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`standing`: how the run stands; `last_id`: asks the API for the catalogue's last id.

        `ask_after_s`: seconds after which the last id is asked for, once, for the time left; a shorter run needs none.
        `follows`: whether the run waits for new media: it lists all the time, and that limits nothing.
        """
        self._interval_s, self._ask_after_s, self._clock = interval_s, ask_after_s, clock
        self._tally, self._meters, self._standing, self._last_id = tally, meters, standing, last_id
        self._follows = follows
        self._highest: int | None = None
        self._asking: threading.Thread | None = None
        self._rate = Rate()
        self._before: int | None = None
        self._outbox = standing().unsettled  # what an earlier run left there: the ledger does not count it as pending
        self._console = Console(file=stream, highlight=False)
        self._began = self._printed = clock()
        self._live: Progress | None = None
        if self._console.is_terminal:
            self._live = Progress(
                SpinnerColumn(), BarColumn(30), TextColumn("{task.description}"), console=self._console, transient=True
            )
            self._task = self._live.add_task("starting", total=None)
            self._live.start()

    def tick(self) -> None:
        """Show how the run is now. The main thread calls it a few times a second."""
        now = self._clock()
        if now - self._began > self._ask_after_s and not self._asking:
            self._asking = threading.Thread(target=self._ask, name="last-id", daemon=True)
            self._asking.start()
        standing = self._standing()
        self._rate.note(now, standing.settled)
        if self._live:
            done, total = self._done_of_all(standing)
            self._live.update(self._task, description=self._line(now, standing), completed=done, total=total)
        elif now - self._printed >= self._interval_s:
            self._printed = now
            self._console.print(self._line(now, standing), soft_wrap=True)

    def close(self) -> None:
        """Take the line off a terminal."""
        if self._live:
            self._live.stop()

    def _ask(self) -> None:
        with suppress(Exception):  # without an answer there is no estimate; the source reports a failing API
            self._highest = self._last_id()

    def seconds_left(self) -> float | None:
        """An estimate; None where there is no ground for one yet."""
        left, rate = media_left(self._standing(), self._highest), self._rate.a_second(self._clock())
        return left / rate if left is not None and rate else None

    def _line(self, now: float, standing: Standing) -> str:
        t, elapsed = self._tally, now - self._began
        (done, total), seconds = self._done_of_all(standing), self.seconds_left()
        about = "" if standing.position.ended else "about "
        parts = [counted(t.images, "image"), f"{t.images / elapsed:.1f}/s" if elapsed else ""]
        parts.append("" if total is None else f"{done:,} of {about}{total:,} done")
        parts.append("" if seconds is None else f"about {duration(seconds)} left")
        parts.append(f"{t.failed:,} failed" if t.failed else "")
        stages = [m for m in self._meters if not (self._follows and m.name == "source")]
        idle = self._follows and not standing.unsettled
        limits = max(stages, key=lambda m: m.busy / max(1, m.threads)).name
        parts.append(f"{limits} limits" if t.images and not idle else "")
        return "  ".join(part for part in parts if part)

    def _done_of_all(self, standing: Standing) -> tuple[int, int | None]:
        """Media that are done, in earlier runs too, and all of the catalogue; with a limit, those of this run."""
        left = media_left(standing, self._highest)
        before = 0 if standing.position.limit is not None else self._settled_before(standing.position)
        done = before + standing.settled
        return done, None if left is None else done + left

    def _settled_before(self, position: Position) -> int:
        """What the ledger held when the first sweep began; later ones begin anywhere."""
        if self._before is None and position.first_id is not None:
            self._before = max(0, position.settled - self._outbox)
        return self._before or 0
