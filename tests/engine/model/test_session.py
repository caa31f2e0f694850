"""The session that recovers, with runners that fail on purpose."""

import threading
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.errors import SessionError
from engine.model.session import Placement, RecoveringSession

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


class Runner:
    """Gives each picture's mean in two tags; runs out of memory with more than `fits` pictures."""

    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(self, size: int, fits: int = 1000, scores: float | None = None) -> None:
        self.size, self.fits, self.scores = size, fits, scores

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        assert len(pixels) <= self.size
        if self.size > self.fits:
            raise RuntimeError(
                "[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 1048576"
            )
        if self.scores is not None:
            return np.full((len(pixels), 2), self.scores, np.float32)
        return np.repeat(pixels.mean(axis=(1, 2, 3), dtype=np.float32)[:, None] / 255, 2, axis=1)


def opened(runner, batch_size: int, device: str = "cuda", **more) -> RecoveringSession:
    return RecoveringSession(
        Placement(runner, batch_size),
        shape=(64, 64),
        device=device,
        precision="fp16",
        why="",
        run_options=SimpleNamespace(terminate=False),
        **more,
    )


# Out of memory


def test_out_of_memory_halves_the_batch_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    made = []

    def runner(size: int) -> Runner:
        made.append(size)
        return Runner(size, fits=3)

    session = opened(runner, 8, "cpu")
    found = session.run(PIXELS)
    np.testing.assert_allclose(found[:, 0], PIXELS.mean(axis=(1, 2, 3)) / 255, rtol=1e-5)
    assert made == [8, 4, 2]
    assert caplog.messages == [
        "out of memory with 8 pictures at once: going on with 4",
        "out of memory with 4 pictures at once: going on with 2",
    ]
    assert session.batch_size == 8  # the batches keep their size, they run in parts
    session.run(PIXELS)
    assert made == [8, 4, 2]


def test_the_warm_up_finds_the_batch_that_fits() -> None:
    assert opened(lambda n: Runner(n, fits=4), 16).batch_size == 4


def test_out_of_memory_with_one_picture_ends_it() -> None:
    with pytest.raises(SessionError, match="with a single picture: close what else uses it"):
        opened(lambda n: Runner(n, fits=0), 4)


def test_two_threads_out_of_memory_halve_once(caplog: pytest.LogCaptureFixture) -> None:
    barrier = threading.Barrier(2)

    class Both(Runner):
        def __call__(self, pixels: np.ndarray) -> np.ndarray:
            if self.size == 4:
                barrier.wait(timeout=10)  # both run before either halves
            return super().__call__(pixels)

    session = opened(lambda n: Both(n, fits=2), 4, "cpu")
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(session.run(PIXELS[:4]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(one) for one in found] == [4, 4]
    assert len(caplog.messages) == 1


def test_the_old_runner_is_gone_before_the_next_is_made() -> None:
    """Both would not fit: on a small GPU the second one would be out of memory too."""
    made: list[weakref.ref[Runner]] = []

    def runner(size: int) -> Runner:
        assert all(old() is None for old in made)
        new = Runner(size, fits=2)
        made.append(weakref.ref(new))
        return new

    assert opened(runner, 8).batch_size == 2  # while warming up
    made.clear()
    session = opened(runner, 8, "cpu")
    session.run(PIXELS)
    assert len(made) == 3


def test_the_session_takes_the_dtype_of_its_model() -> None:
    class Wide(Runner):
        dtype = np.dtype(np.uint16)

        def __call__(self, pixels: np.ndarray) -> np.ndarray:
            assert pixels.dtype == np.uint16  # warming up too
            return super().__call__(pixels)

    assert opened(Wide, 4).dtype == np.uint16


# Other failures


def test_another_failure_is_one_sentence() -> None:
    class Broken(Runner):
        def __call__(self, pixels: np.ndarray) -> np.ndarray:
            raise RuntimeError("CUDNN failure\nwith a page of text")

    with pytest.raises(SessionError, match=r"^a batch failed on \w+: CUDNN failure$"):
        opened(Broken, 4)


def test_scores_that_are_no_numbers_are_computed_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    made = []

    def fp32() -> Runner:
        made.append(1)
        return Runner(4)

    session = opened(lambda n: Runner(n, scores=float("nan")), 8, fp32_on_cpu=fp32)
    for _ in range(2):
        np.testing.assert_allclose(session.run(PIXELS)[:, 0], PIXELS.mean(axis=(1, 2, 3)) / 255, rtol=1e-5)
    assert made == [1]
    [message] = caplog.messages
    assert message.startswith("fp16 on cuda gave scores that are no numbers")


@pytest.mark.parametrize(
    ("fp32", "sentence"),
    [
        (None, "no numbers in fp16 on cuda: convert it again with --precision fp32"),
        (lambda: Runner(4, scores=float("inf")), "no numbers, in fp32 too: convert it again"),
    ],
)
def test_no_numbers_in_fp32_either_ends_it(fp32, sentence: str) -> None:
    session = opened(lambda n: Runner(n, scores=float("nan")), 8, fp32_on_cpu=fp32)
    with pytest.raises(SessionError, match=sentence):
        session.run(PIXELS)
