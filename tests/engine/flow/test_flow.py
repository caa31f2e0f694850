"""Channels, the semaphore and stages, with real threads."""

import threading

import pytest

from engine.errors import Stopped
from engine.flow.channels import Channel, Closed, Meter, Stop, WeightedSemaphore
from engine.flow.stage import Stage


def waits(channel: Channel[int]) -> None:
    channel.get()


def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_items_come_out_in_order_and_then_the_channel_is_closed() -> None:
    channel: Channel[int] = Channel(2, Stop())
    producer = in_thread(lambda: [channel.put(i) for i in range(100)] and channel.close())
    assert [channel.get() for _ in range(100)] == list(range(100))
    producer.join()
    with pytest.raises(Closed):
        channel.get()


def test_a_channel_never_holds_more_than_its_capacity() -> None:
    most = 0
    channel: Channel[bytes] = Channel(10, Stop(), weight=len)

    def produce() -> None:
        for _ in range(200):
            channel.put(b"xxx")
        channel.close()

    in_thread(produce)
    with pytest.raises(Closed):
        while True:
            most = max(most, len(channel) * 3)
            channel.get()
    assert most <= 10


def test_an_item_heavier_than_the_channel_passes_alone() -> None:
    channel: Channel[bytes] = Channel(10, Stop(), weight=len)
    in_thread(lambda: [channel.put(x) for x in (b"12345", b"x" * 99, b"1")])
    assert [len(channel.get()) for _ in range(3)] == [5, 99, 1]


@pytest.mark.parametrize("filled", [False, True])
def test_stop_wakes_whoever_waits(filled: bool) -> None:
    stop = Stop()
    channel: Channel[int] = Channel(1, stop)
    if filled:
        channel.put(0)
    seen: list[type] = []

    def wait() -> None:
        try:
            channel.put(1) if filled else channel.get()
        except Stopped:
            seen.append(Stopped)

    thread = in_thread(wait)
    stop.set()
    thread.join(10)
    assert seen == [Stopped]


def test_the_first_error_is_the_runs_error() -> None:
    stop = Stop()
    first, second = ValueError("first"), ValueError("second")
    stop.set(first)
    stop.set(second)
    assert stop.error is first


def test_a_stage_that_raises_stops_the_run_and_is_not_lost() -> None:
    stop = Stop()
    channel: Channel[int] = Channel(1, stop)

    def fail() -> None:
        raise ValueError("broken stage")

    stages = [Stage(Meter("wait"), 2, lambda: waits(channel), stop), Stage(Meter("fail"), 1, fail, stop)]
    for stage in stages:
        stage.start()
    for stage in stages:
        while not stage.join(10):
            pass
    assert str(stop.error) == "broken stage"


def test_the_last_thread_of_a_stage_closes_the_next_channel() -> None:
    stop = Stop()
    first: Channel[int] = Channel(100, stop)
    second: Channel[int] = Channel(100, stop)

    def work() -> None:
        while True:
            second.put(first.get() * 2)

    Stage(Meter("double"), 4, work, stop, at_end=second.close).start()
    for i in range(50):
        first.put(i)
    first.close()
    seen = []
    with pytest.raises(Closed):
        while True:
            seen.append(second.get())
    assert sorted(seen) == [2 * i for i in range(50)]


def test_what_is_taken_is_waited_for() -> None:
    stop = Stop()
    semaphore = WeightedSemaphore(3, stop)
    semaphore.acquire(2)
    entered = threading.Event()
    thread = in_thread(lambda: (semaphore.acquire(2), entered.set()))
    assert not entered.is_set()
    semaphore.release(2)
    thread.join(10)
    assert entered.is_set()


def test_a_request_larger_than_the_capacity_is_granted_alone() -> None:
    semaphore = WeightedSemaphore(3, Stop())
    semaphore.acquire(10)
    assert semaphore.taken == 10


def test_meters_tell_work_from_waiting() -> None:
    stop, meter = Stop(), Meter("m")
    channel: Channel[int] = Channel(1, stop)
    got = threading.Event()
    thread = in_thread(lambda: (channel.get(meter), got.set()))
    channel.put(1)
    thread.join(10)
    with meter.working(items=3):
        pass
    assert meter.items == 3 and meter.busy > 0 and meter.waiting_in >= 0 and meter.waiting_out == 0


def test_a_thread_that_hangs_can_be_given_up() -> None:
    stop, hanging, release = Stop(), threading.Event(), threading.Event()
    jobs: Channel[int] = Channel(10, stop)
    done: Channel[int] = Channel(10, stop)
    stuck: list[threading.Thread] = []

    def work() -> None:
        while True:
            job = jobs.get()
            if job == 0:
                stuck.append(threading.current_thread())
                hanging.set()
                release.wait(60)
            done.put(job)

    stage = Stage(Meter("read"), 1, work, stop, at_end=done.close)
    stage.start()
    for job in (0, 1, 2):
        jobs.put(job)
    assert hanging.wait(10)
    stage.replace(stuck[0])
    jobs.close()
    assert [done.get(), done.get()] == [1, 2]
    with pytest.raises(Closed):  # the stage has ended without the thread that hangs
        done.get()
    release.set()


def test_a_large_request_is_not_passed_by_small_ones_for_ever() -> None:
    semaphore, order = WeightedSemaphore(10, Stop()), []
    semaphore.acquire(6)

    def take(amount: int) -> None:
        semaphore.acquire(amount)
        order.append(amount)

    threads = []
    for amount in (9, 1, 2):
        threads.append(in_thread(lambda amount=amount: take(amount)))
        while len(semaphore._queue) < len(threads):
            pass
    semaphore.release(6)
    threads[0].join(10)
    assert 9 in order and 2 not in order  # the 1 fits beside it
    semaphore.release(9)
    for thread in threads:
        thread.join(10)
    assert sorted(order) == [1, 2, 9] and semaphore.taken == 3 and not semaphore._queue


def test_another_capacity_holds_at_once_and_takes_nothing_back() -> None:
    semaphore = WeightedSemaphore(2, Stop())
    semaphore.acquire(2)
    thread = in_thread(semaphore.acquire)
    assert not semaphore.exceeded
    semaphore.resize(3)
    thread.join(10)
    assert semaphore.taken == 3
    exceeded = []
    for step in (lambda: semaphore.resize(1), lambda: semaphore.release(2)):
        step()
        exceeded.append(semaphore.exceeded)
    assert exceeded == [True, False] and semaphore.taken == 1


def test_whoever_waits_for_a_share_is_woken_by_the_end() -> None:
    stop, ended = Stop(), []
    semaphore = WeightedSemaphore(1, stop)
    semaphore.acquire()

    def take() -> None:
        with pytest.raises(Stopped):
            semaphore.acquire()
        ended.append(True)

    threads = [in_thread(take) for _ in range(5)]
    stop.set()
    for thread in threads:
        thread.join(10)
    assert len(ended) == 5
