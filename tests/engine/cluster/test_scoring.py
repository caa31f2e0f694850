"""The session of a node: what waits is run together."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine.cluster.scoring import SessionWorker
from engine.errors import EngineError, SessionError
from tests.support.machines import Padded
from tests.support.sessions import ColourSession


def rows(count: int, value: int = 0) -> np.ndarray:
    return np.full((count, 4, 4, 3), value, np.uint16)


def test_blocks_with_holes_make_full_batches_and_each_gets_its_own_scores() -> None:
    session, begun = Padded(8), threading.Event()
    first = session.run

    def run(pixels):
        begun.set()
        assert waiting.wait(10)
        return first(pixels)

    waiting = threading.Event()
    session.run = run  # type: ignore[method-assign]
    worker = SessionWorker(lambda _: session, None)
    assert worker.open().batch_size == 8
    with ThreadPoolExecutor(5) as pool:
        blocking = pool.submit(worker.score, rows(1))
        assert begun.wait(10)
        others = [pool.submit(worker.score, rows(5, 10_000 * i)) for i in range(4)]
        while worker._batches._waiting.qsize() < 20:
            pass
        waiting.set()
        scored = [one.result() for one in others]
        assert blocking.result().scores.shape == (1, 5)
    assert session.batches == [1, 8, 8, 4]
    for i, one in enumerate(scored):
        assert one.scores.shape == (5, 5) and np.allclose(one.scores[:, 1], 10_000 * i / 65280)
    assert max(one.items for one in scored) == 21


def test_errors_travel_as_plain_sentences() -> None:
    class Broken(ColourSession):
        def run(self, pixels):
            raise SessionError("the GPU fell out")

    worker = SessionWorker(lambda _: Broken(), None)
    worker.open()
    with pytest.raises(EngineError, match="the GPU fell out") as caught:
        worker.score(rows(2))
    assert type(caught.value) is EngineError
