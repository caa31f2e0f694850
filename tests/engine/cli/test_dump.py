"""What a dump shows, and that it is one whatever the main thread holds."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli import dump
from engine.cli.dump import SIGNAL, dump_on_signal, ledger, stacks, stages
from engine.errors import LedgerError
from engine.flow.channels import Meter
from engine.types import Outcome

needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-Break to a console, not to a process")


def meter() -> Meter:
    found = Meter("decode")
    found.threads = 2
    found.depth = lambda: 1234
    found.add(busy=1.5, waiting_in=2.5, waiting_out=3.5, items=5000)
    return found


def test_a_stage_is_a_line_of_its_figures() -> None:
    assert stages([meter()]).splitlines()[-1].split() == ["decode", "2", "5,000", "1,234", "1.5", "2.5", "3.5"]


def test_the_ledger_is_all_its_counts() -> None:
    assert "3 failed, 0 rejected" in ledger(dict.fromkeys(Outcome, 0) | {Outcome.FAILED: 3})


def test_every_thread_is_named_with_its_stack() -> None:
    waiting, go = threading.Event(), threading.Event()

    def hang_in_the_network() -> None:
        waiting.set()
        go.wait(30)

    thread = threading.Thread(target=hang_in_the_network, name="read")
    thread.start()
    try:
        assert waiting.wait(30)
        # All but the one that asks.
        assert f"thread read ({thread.ident}):" in stacks() and "in hang_in_the_network" in stacks()
        assert f"({threading.get_ident()})" not in stacks()
    finally:
        go.set()
        thread.join()


def in_a_process_of_its_own(what: Callable[[], None]) -> None:
    """A signal is for a whole process, and other tests have threads in this one."""
    module, root = what.__module__, Path(__file__).parents[3]
    code = f"from {module} import {what.__name__}; {what.__name__}()"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr


def asked_while_the_main_thread_holds_a_lock() -> None:
    said: list[str] = []
    lock, written = threading.Lock(), threading.Semaphore(0)

    def say(text: str) -> None:
        said.append(text)
        if "the ledger" in text:
            written.release()

    def counts() -> dict[Outcome, int]:
        assert lock.acquire(timeout=10)
        lock.release()
        return dict.fromkeys(Outcome, 0)

    setattr(dump, "say", say)  # noqa: B010 - mypy knows it as a name of another module
    with dump_on_signal([meter()], counts):
        with lock:
            for _ in range(3):
                signal.raise_signal(SIGNAL)
        assert all(written.acquire(timeout=30) for _ in range(3))
    assert len(said) == 9 and "thread MainThread" in said[1], said


def asked_where_the_ledger_fails() -> None:
    said: list[str] = []
    ended = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if "failed" in text:
            ended.set()

    def counts() -> dict[Outcome, int]:
        raise LedgerError("the disk fails")

    setattr(dump, "say", say)  # noqa: B010 - mypy knows it as a name of another module
    with dump_on_signal([], counts):
        signal.raise_signal(SIGNAL)
        assert ended.wait(30)
    assert said[-1].endswith("LedgerError: the disk fails"), said


def left_again() -> None:
    before, running = signal.getsignal(SIGNAL), set(threading.enumerate())
    with dump_on_signal([], dict):
        (writer,) = set(threading.enumerate()) - running
    assert signal.getsignal(SIGNAL) is before
    writer.join(30)
    assert not writer.is_alive()


@needs_signals
def test_it_comes_while_the_main_thread_holds_a_lock_and_again_and_again() -> None:
    in_a_process_of_its_own(asked_while_the_main_thread_holds_a_lock)


@needs_signals
def test_a_ledger_that_fails_does_not_end_the_run() -> None:
    in_a_process_of_its_own(asked_where_the_ledger_fails)


@needs_signals
def test_afterwards_the_signal_means_what_it_did_and_no_thread_is_left() -> None:
    in_a_process_of_its_own(left_again)
