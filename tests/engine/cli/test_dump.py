"""What a dump shows, and that it is one whatever the main thread holds."""

import os
import signal
import threading

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


@needs_signals
def test_it_comes_while_the_main_thread_holds_a_lock_and_again_and_again(monkeypatch) -> None:
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

    monkeypatch.setattr(dump, "say", say)
    with dump_on_signal([meter()], counts):
        with lock:
            for _ in range(3):
                signal.raise_signal(SIGNAL)
        assert all(written.acquire(timeout=30) for _ in range(3))
    assert len(said) == 9 and "thread MainThread" in said[1]


@needs_signals
def test_a_ledger_that_fails_does_not_end_the_run(monkeypatch) -> None:
    said: list[str] = []
    ended = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if "failed" in text:
            ended.set()

    def counts() -> dict[Outcome, int]:
        raise LedgerError("the disk fails")

    monkeypatch.setattr(dump, "say", say)
    with dump_on_signal([], counts):
        signal.raise_signal(SIGNAL)
        assert ended.wait(30)
    assert said[-1].endswith("LedgerError: the disk fails")


@needs_signals
def test_afterwards_the_signal_means_what_it_did_and_no_thread_is_left() -> None:
    before, running = signal.getsignal(SIGNAL), set(threading.enumerate())
    with dump_on_signal([], dict):
        (writer,) = set(threading.enumerate()) - running
    assert signal.getsignal(SIGNAL) is before
    writer.join(30)
    assert not writer.is_alive()
