"""Progress of a command that works through a known number of things."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.report.summary import duration
from engine.report.time_left import Rate


@contextmanager
def steps(what: str, of: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr that the yielded function moves on by one; a plain line where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{what}: {of:,} steps", markup=False, highlight=False, soft_wrap=True)
        yield lambda: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=of)
        yield lambda: bar.advance(task)


@contextmanager
def counting(
    what: str,
    of: int,
    *,
    stream: TextIO | None = None,
    interval_s: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[int], None]]:
    """A bar with speed and time left; the yielded function takes how many of `of` are done, a few times a second.

    `stream`: where to, stderr by default. Where that is no terminal, a line every `interval_s` says the same.
    """
    console = Console(file=stream, stderr=stream is None, highlight=False)
    rate, printed = Rate(), clock()

    def line(done: int, now: float) -> str:
        speed = rate.a_second(now)
        parts = [f"{what}: {done:,} of {of:,}", f"{speed:,.0f}/s" if speed else ""]
        parts.append(f"about {duration((of - done) / speed)} left" if speed and done < of else "")
        return "  ".join(part for part in parts if part)

    def tell(done: int) -> None:
        nonlocal printed
        now = clock()
        rate.note(now, done)
        if now - printed >= interval_s:
            printed = now
            console.print(line(done, now), markup=False, soft_wrap=True)

    if not console.is_terminal:
        yield tell
        return
    with Progress(
        BarColumn(30), TextColumn("{task.description}", markup=False), console=console, transient=True
    ) as bar:
        task = bar.add_task(line(0, printed), total=of)

        def draw(done: int) -> None:
            now = clock()
            rate.note(now, done)
            bar.update(task, completed=done, description=line(done, now))

        yield draw
