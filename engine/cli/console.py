"""What commands share: errors become one sentence and an exit code, Ctrl-C becomes a stop."""

import errno
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType

import typer

from engine.cli import interrupts
from engine.cli.interrupts import end_now, raising_once
from engine.errors import EngineError

OK, FATAL, USAGE, FINISHED_WITH_FAILURES, INTERRUPTED = 0, 1, 2, 3, interrupts.INTERRUPTED

said = logging.getLogger("engine.said")
"""What the user was told, for `--log-file`; it goes nowhere else, for it is on the screen already."""
said.propagate = False
said.setLevel(logging.INFO)


def say(text: str) -> None:
    """A line for the user, on stderr: stdout is for results."""
    typer.echo(printable(text), err=True)
    said.info("%s", printable(text))


def printable(text: str) -> str:
    """Without control characters: names come from other systems, and a terminal obeys what it is sent."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


@contextmanager
def sentences(*, loading: bool = False) -> Iterator[None]:
    """Turn what a command raises into one sentence on stderr and its exit code.

    `loading`: the command is only being imported, so that Ctrl-C ends all at once, without an exception.
    """
    try:
        with nullcontext() if loading else raising_once():
            yield
    except EngineError as error:
        say(f"error: {error}")
        raise typer.Exit(FATAL) from None
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort, SystemExit):
        raise
    except BrokenPipeError:  # `engine tag . | head`
        with suppress(OSError):
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        raise typer.Exit(FATAL) from None
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in (errno.ENOSPC, errno.EFBIG):
            with suppress(OSError):
                sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            say(f"error: the output cannot be written: {error.strerror}")
            raise typer.Exit(FATAL) from None
        if type(error).__module__.startswith("click") or type(error).__module__.startswith("typer"):
            raise
        say(f"error: the engine has a bug: {type(error).__name__}: {error}; the details are in {_keep_traceback()}")
        raise typer.Exit(FATAL) from None


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C, a closing terminal, a polite kill: the first makes the yielded function true, the second ends it all now.

    The handler only sets a flag: it may run in the middle of whatever the main thread does, locks held. A signal that
    whoever started us wants ignored (`nohup`) stays ignored.
    """
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            end_now()
        asked = True

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP; its SIGBREAK asks for a dump
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {n: signal.signal(n, handle) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, end_now if asked else handler)


def log_to_stderr(verbose: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        format="%(levelname)s %(name)s: %(message)s",
        level=logging.DEBUG if verbose else logging.WARNING,
    )
    for noisy in ("httpx", "httpcore", "asyncio", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _keep_traceback() -> Path:
    with tempfile.NamedTemporaryFile("w", prefix="engine-", suffix=".txt", delete=False, encoding="utf-8") as file:
        traceback.print_exc(file=file)
    return Path(file.name)
