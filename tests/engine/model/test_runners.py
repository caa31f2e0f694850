"""Runners with real buffers: those that CUDA uses work on the CPU too."""

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.model.folder import Model, Precision
from engine.model.runners import ArrayRunner, IoBindingRunner, input_dtype

PIXELS = np.random.default_rng(0).integers(0, 65281, (5, 64, 64, 3), np.uint16)


def test_bound_buffers_give_the_same_scores(model: Model, fp32: Precision) -> None:
    session = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"])
    expected = ArrayRunner(session, onnxruntime.RunOptions())(PIXELS)
    runner = IoBindingRunner(onnxruntime, session, onnxruntime.RunOptions(), 5, model, "cpu")
    first = runner(PIXELS)
    np.testing.assert_allclose(first, expected, atol=1e-6)
    second = runner(np.ascontiguousarray(PIXELS[::-1]))
    np.testing.assert_allclose(second, expected[::-1], atol=1e-6)
    np.testing.assert_allclose(first, expected, atol=1e-6)  # not the buffer itself
    np.testing.assert_allclose(runner(PIXELS[:2]), expected[:2], atol=1e-6)  # padded


def test_only_the_scores_are_asked_for(fp32: Precision) -> None:
    session = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["scores", "features"]
    asked = []

    def run(names: list[str], *rest: Any) -> Any:
        asked.append(names)
        return session.run(names, *rest)

    watched = SimpleNamespace(run=run, get_inputs=session.get_inputs, get_outputs=session.get_outputs)
    assert ArrayRunner(watched, onnxruntime.RunOptions())(PIXELS).shape == (5, 50)
    assert asked == [["scores"]]


def test_each_thread_has_its_own_buffers(model: Model, fp32: Precision) -> None:
    session = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"])
    runner = IoBindingRunner(onnxruntime, session, onnxruntime.RunOptions(), 1, model, "cpu")
    expected = ArrayRunner(session, onnxruntime.RunOptions())(PIXELS)
    wrong = []

    def work(i: int) -> None:
        for _ in range(20):
            if not np.allclose(runner(PIXELS[i : i + 1]), expected[i : i + 1], atol=1e-6):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("name", "dtype"), [("uint8", np.uint8), ("uint16", np.uint16), ("float", np.float32), ("float16", np.float16)]
)
def test_the_dtype_is_that_of_the_session_input(name: str, dtype: type) -> None:
    session = SimpleNamespace(get_inputs=lambda: [SimpleNamespace(type=f"tensor({name})")])
    assert input_dtype(session) == dtype


def test_a_runner_knows_the_dtype_of_its_model(fp32: Precision) -> None:
    session = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"])
    assert ArrayRunner(session, onnxruntime.RunOptions()).dtype == np.uint16
