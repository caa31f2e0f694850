"""Progress of a command that works through a known number of steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


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
