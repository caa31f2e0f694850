"""The progress of a run on stderr."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from engine.flow.channels import Meter
from engine.report.summary import Tally, duration
from engine.types import Position


class ProgressLine:
    """Images, images/s, time left, failures and the limiting stage, while the run lasts.

    A terminal shows one line that changes; anything else gets a new line every `interval_s`.
    """

    def __init__(
        self,
        stream: TextIO,
        tally: Tally,
        meters: Sequence[Meter],
        position: Callable[[], Position],
        last_id: Callable[[], int | None],
        *,
        interval_s: float = 10.0,
        ask_after_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`position`: how far the listing of the catalogue is; `last_id`: asks the API for the catalogue's last id.

        `ask_after_s`: seconds after which the last id is asked for, once, for the time left; a shorter run needs none.
        """
        self._interval_s, self._ask_after_s, self._clock = interval_s, ask_after_s, clock
        self._tally, self._meters, self._position, self._last_id = tally, meters, position, last_id
        self._highest: int | None = None
        self._asking: threading.Thread | None = None
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
        if self._live:
            done, left = self._tally.images, self._left(now)
            total = None if left is None else done + left[0]
            self._live.update(self._task, description=self._line(now), completed=done, total=total)
        elif now - self._printed >= self._interval_s:
            self._printed = now
            self._console.print(self._line(now), soft_wrap=True)

    def close(self) -> None:
        """Take the line off a terminal."""
        if self._live:
            self._live.stop()

    def _ask(self) -> None:
        with suppress(Exception):  # without an answer there is no estimate; the source reports a failing API
            self._highest = self._last_id()

    def _line(self, now: float) -> str:
        t, elapsed = self._tally, now - self._began
        left = self._left(now)
        parts = [f"{t.images:,} images", f"{t.images / elapsed:.1f}/s" if elapsed else ""]
        parts.append(f"about {duration(left[1])} left" if left else "")
        parts.append(f"{t.failed:,} failed" if t.failed else "")
        parts.append(f"{max(self._meters, key=lambda m: m.busy / max(1, m.threads)).name} limits" if t.images else "")
        return "  ".join(part for part in parts if part)

    def _left(self, now: float) -> tuple[int, float] | None:
        """Estimates of the media and the seconds that are left; None where there is no ground for them yet.

        The ids have gaps. The estimate supposes as many media per id in the rest of the catalogue as so far.
        """
        position, last = self._position(), self._highest
        if position.ended or last is None or position.first_id is None or not self._tally.images:
            return None
        density = position.seen / (position.id - position.first_id + 1)
        media = int(max(0, last - position.id) * density)
        return media, media * (now - self._began) / self._tally.images
