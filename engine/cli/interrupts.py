"""Ctrl-C outside a run (for that see `console.interruptible`): no traceback at any moment, no cursor left hidden.

Nothing is imported here that takes time: the handler must be there before the rest of the program is.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
"""The exit code."""
Handler = Callable[[int, FrameType | None], None]
_SHOW_CURSOR = b"\x1b[?25h\r\n"  # a progress bar may have hidden it


def end_now(number: int = 0, frame: FrameType | None = None) -> None:
    """End the process at this moment; a handler of signals that waits for nothing and takes no lock.

    It is also the one for the time before a command has begun its work, and after: there is nothing to put in order.
    """
    with suppress(OSError):
        os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + b"interrupted\n")
    os._exit(INTERRUPTED)


def handle(handler: Handler, name: str = "SIGINT") -> None:
    """Let `handler` take this signal, unless whoever started us wants it ignored (`nohup`)."""
    if _can_be_handled(name):
        signal.signal(getattr(signal, name), handler)


@contextmanager
def raising_once() -> Iterator[None]:
    """The first Ctrl-C in the block raises `KeyboardInterrupt`, so that what is open gets closed; the next ends all."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, end_now)
        raise KeyboardInterrupt

    if not _can_be_handled("SIGINT"):
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _can_be_handled(name: str) -> bool:
    number = getattr(signal, name, None)  # Windows has no SIGHUP
    main = threading.current_thread() is threading.main_thread()
    return number is not None and main and signal.getsignal(number) is not signal.SIG_IGN
