"""What a run is doing at this moment, on a signal: the stages' figures, the stack of every thread, the ledger's counts.

SIGUSR1 asks for it, on Windows Ctrl-Break, which Java programs answer in the same way. The run goes on.
"""

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from engine.cli.console import say
from engine.flow.channels import Meter
from engine.types import Outcome

if sys.platform == "win32":
    SIGNAL = signal.SIGBREAK
else:
    SIGNAL = signal.SIGUSR1

Counts = Callable[[], Mapping[Outcome, int]]


@contextmanager
def dump_on_signal(meters: Sequence[Meter], counts: Counts) -> Iterator[None]:
    """Within the block, write a dump to stderr at each signal; from the main thread only.

    A thread of its own writes it, for the signal may interrupt the main thread while that holds a lock. The handler
    puts into a `SimpleQueue`, whose `put` is reentrant.
    """
    asked: SimpleQueue[bool] = SimpleQueue()

    def handle(number: int, frame: FrameType | None) -> None:
        asked.put(True)

    def write() -> None:
        while asked.get():
            _write(meters, counts)

    writer = threading.Thread(target=write, name="dump", daemon=True)
    writer.start()
    before = signal.signal(SIGNAL, handle)
    try:
        yield
    finally:
        signal.signal(SIGNAL, before)
        asked.put(False)


def _write(meters: Sequence[Meter], counts: Counts) -> None:
    """The ledger comes last: where it is the one that hangs, all else is on the screen already."""
    parts: tuple[Callable[[], str], ...] = (lambda: stages(meters), stacks, lambda: ledger(counts()))
    for part in parts:
        try:
            say(part())
        except Exception as error:  # a dump is there to look at a run that is ill, and must not end it
            say(f"this part of the dump failed: {type(error).__name__}: {error}")


def stages(meters: Sequence[Meter]) -> str:
    """A line for each stage; times are seconds summed over its threads."""
    head = ("stage", "threads", "items", "queued", "busy s", "waited for input", "for output")
    rows = [
        (
            m.name,
            m.threads,
            f"{m.items:,}",
            f"{m.depth():,}",
            *(f"{s:,.1f}" for s in (m.busy, m.waiting_in, m.waiting_out)),
        )
        for m in meters
    ]
    lines = ["{:<8} {:>7} {:>9} {:>7} {:>9} {:>17} {:>11}".format(*row) for row in (head, *rows)]
    return "\n".join(["--- dump: the stages", *lines])


def stacks() -> str:
    """Where each thread is, the innermost call last; source lines only, no values, so nothing secret is among them."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = ["--- dump: the threads"]
    for ident, frame in sys._current_frames().items():
        if ident == threading.get_ident():  # this one, which only writes the dump
            continue
        name = names.get(ident, "not started by Python")
        parts.append(f"thread {name} ({ident}):\n" + "".join(traceback.format_stack(frame)).rstrip())
    return "\n".join(parts)


def ledger(counts: Mapping[Outcome, int]) -> str:
    """How many media stand at each outcome."""
    found = ", ".join(f"{count:,} {outcome.value}" for outcome, count in counts.items())
    return f"--- dump: the ledger\n{found}\n--- end of the dump"
