"""Opening a model: which device is taken, and what is refused or warned of."""

import ctypes
import hashlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest

from engine.config import DeviceName, RunConfig
from engine.errors import ModelError, SessionError
from engine.model.devices.cpu import Cpu
from engine.model.devices.cuda import Cuda
from engine.model.devices.cuda_check import DRIVER
from engine.model.devices.device import Device, SessionRequest, Unavailable
from engine.model.folder import Model, Precision
from engine.model.open import all_devices, open_session, session_config
from engine.model.session import Placement, SessionConfig
from engine.types import Preprocessing
from tests.support.onnxruntime_gpu import FakeDriver, FakeRuntime, loader

PIXELS = np.random.default_rng(0).integers(0, 65281, (5, 64, 64, 3), np.uint16)


# On the CPU


def test_a_session_on_the_cpu(model: Model, fp32: Precision, tmp_path: Path) -> None:
    session = open_session(model, fp32, SessionConfig(device="cpu", cache=tmp_path))
    assert (session.device, session.precision, session.batch_size) == ("cpu", "fp32", 4)
    assert session.why == "cpu, as asked" and session.peak_vram_mb is None
    found = session.run(PIXELS)
    assert found.shape == (5, 50) and found.dtype == np.float32
    expected = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"]).run(None, {"pixels": PIXELS})
    np.testing.assert_allclose(found, expected[0], atol=1e-6)


def test_two_threads_share_a_session(model: Model, fp32: Precision, tmp_path: Path) -> None:
    session = open_session(model, fp32, SessionConfig(device="cpu", cache=tmp_path))
    expected, found = session.run(PIXELS), []
    threads = [threading.Thread(target=lambda: found.append(session.run(PIXELS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(np.array_equal(one, expected) for one in found)


def test_terminate_ends_what_runs_next(model: Model, fp32: Precision, tmp_path: Path) -> None:
    session = open_session(model, fp32, SessionConfig(device="cpu", cache=tmp_path))
    session.terminate()
    with pytest.raises(SessionError, match="terminate"):
        session.run(PIXELS)


def test_a_changed_model_file_is_refused(model: Model, fp32: Precision, tmp_path: Path) -> None:
    with fp32.file.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"x")
    with pytest.raises(ModelError, match=r"is not the one its model\.json describes"):
        open_session(model, fp32, SessionConfig(device="cpu", cache=tmp_path))


def test_a_file_that_is_no_model(model: Model, fp32: Precision, tmp_path: Path) -> None:
    fp32.file.write_bytes(b"no model")
    forged = replace(fp32, sha256=hashlib.sha256(b"no model").hexdigest())
    with pytest.raises(ModelError, match="cannot use"):
        open_session(model, forged, SessionConfig(device="cpu", cache=tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"preprocessing": Preprocessing("deepdanbooru", 64, 64, "uint8")},
            r"says uint8 \[64, 64, 3\] and gives 50 scores",
        ),
        ({"tags": ("one", "two")}, r"says uint16 \[64, 64, 3\] and gives 2 scores"),
        ({"preprocessing": Preprocessing("deepdanbooru", 64, 32)}, r"says uint16 \[64, 32, 3\] and gives 50 scores"),
    ],
)
def test_a_file_that_is_not_what_its_manifest_says(
    model: Model, fp32: Precision, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=rf"takes uint16 \[64, 64, 3\] and gives 50 scores, its model\.json {said}"):
        open_session(replace(model, **change), fp32, SessionConfig(device="cpu", cache=tmp_path))


def test_a_precision_that_was_never_compared_is_said(
    model: Model, fp32: Precision, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = SessionConfig(device="cpu", cache=tmp_path)
    open_session(model, replace(fp32, name="int8", verdict="pass"), config)
    assert not caplog.messages
    open_session(model, replace(fp32, name="int8", verdict=None), config)
    open_session(model, replace(fp32, name="fp16", verdict="fail"), config)
    assert [message.partition("'s ")[2][:29] for message in caplog.messages] == [
        "int8 was never compared with ",
        "fp16 failed its comparison wi",
    ]


# Which device


def test_an_explicit_cuda_never_becomes_the_cpu(start: Callable[..., Any]) -> None:
    ort = FakeRuntime()
    ort.libraries_work = False
    with pytest.raises(SessionError, match=r"libcufft\.so\.12 is missing"):
        start(ort, missing="libcufft.so.12: cannot open shared object file: No such file or directory")
    with pytest.raises(SessionError, match="does not take CUDA"):
        start(FakeRuntime(cuda_works=False))
    ort = FakeRuntime()
    ort.model_on_cuda = False  # although the small session was
    with pytest.raises(SessionError, match="took CPUExecutionProvider instead of CUDA"):
        start(ort)


def test_auto_takes_the_cpu_and_says_why(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    taken = start(FakeRuntime(), FakeDriver(12040), device="auto")
    assert taken.device == "cpu"
    assert taken.why.startswith("cpu, although there is an NVIDIA GPU: the NVIDIA driver runs CUDA up to 12.4")
    monkeypatch.setattr(ctypes, "CDLL", None)
    taken = start(FakeRuntime(cuda_works=False), device="auto")
    assert (taken.device, taken.batch_size) == ("cpu", 4) and "does not take CUDA" in taken.why


def test_auto_without_a_driver_says_it_briefly(model: Model, tmp_path: Path) -> None:
    taken = open_session(model, model.precision(None), SessionConfig(cache=tmp_path), [Cuda(loader(None)), Cpu()])
    assert taken.why == f"cpu: there is no NVIDIA driver ({DRIVER} cannot be loaded)"


class Npu:
    """A device that cannot be used."""

    name, hardware = "npu", "an NPU"
    precisions = auto = frozenset({"fp32"})

    def check(self, ort: Any) -> str:
        raise NotImplementedError

    def __init__(self, absent: bool) -> None:
        self._absent = absent

    def place(self, request: SessionRequest) -> Placement:
        raise Unavailable("its driver is missing", "install it", absent=self._absent)


@pytest.mark.parametrize(
    ("devices", "why"),
    [
        ([Npu(True), Cuda(loader(None)), Cpu()], r"cpu: its driver is missing; there is no NVIDIA driver \(.+\)"),
        ([Npu(False), Cuda(loader(None)), Cpu()], "cpu, although there is an NPU: its driver is missing: install it"),
        ([Cpu(), Npu(False)], "cpu, as asked"),
    ],
)
def test_auto_walks_the_devices_in_their_order(model: Model, tmp_path: Path, devices: list[Device], why: str) -> None:
    taken = open_session(model, model.precision(None), SessionConfig(cache=tmp_path), devices)
    assert taken.device == "cpu" and re.fullmatch(why, taken.why)


def test_the_last_device_of_auto_says_why_it_fails(model: Model, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="its driver is missing: install it"):
        open_session(model, model.precision(None), SessionConfig(cache=tmp_path), [Cuda(loader(None)), Npu(False)])


def test_an_unknown_device_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"there is no device tpu: it may be auto, cuda, tensorrt, .+, cpu"):
        open_session(model, model.precision(None), SessionConfig(device="tpu", cache=tmp_path))


def test_each_name_in_the_table_is_a_device_that_can_be_asked_for() -> None:
    assert [device.name for device in all_devices()] == list(get_args(DeviceName))
    for name in ("auto", *get_args(DeviceName)):
        assert session_config(RunConfig(device=name)).device == name
