"""Whether CUDA can work, and what is missing."""

from typing import Any

import onnxruntime
import pytest

from engine.model.devices.cuda_check import Driver, check_cuda, find_driver
from engine.model.devices.device import Unavailable
from tests.support.onnxruntime_gpu import FakeDriver, FakeRuntime, loader


def test_cuda_that_works(capfd: pytest.CaptureFixture[str]) -> None:
    ort = FakeRuntime(said="Failed to load libnvrtc.so.13: no such file")
    load = loader(FakeDriver(13010), "not even tried, for it works")
    driver = find_driver(load)
    assert driver == Driver((13, 1), "0000:01:00.0")
    check_cuda(ort, driver, load)
    assert ort.preloaded == 1
    assert capfd.readouterr().out == ""  # stdout is for results


@pytest.mark.parametrize(
    ("ort", "load", "sentence"),
    [
        (FakeRuntime(), loader(None), r"there is no NVIDIA driver .*: install it"),
        (FakeRuntime(), loader(FakeDriver(error=100)), r"finds no usable GPU \(CUDA error 100\): see `nvidia-smi`"),
        (onnxruntime, loader(FakeDriver()), r"is built without CUDA: `pip uninstall -y onnxruntime`, then .*\[cuda\]`"),
        (
            FakeRuntime("13.0"),
            loader(FakeDriver(12040)),
            r"runs CUDA up to 12\.4, this ONNX Runtime needs 13: update the driver to 580 or later, or .*\[cuda12\]`",
        ),
        (
            FakeRuntime("13.0"),
            loader(FakeDriver(), "libcublasLt.so.13: cannot open shared object file: No such file or directory"),
            r"^CUDA's library libcublasLt\.so\.13 is missing: `pip install deepdanbooru-engine\[cuda\]`",
        ),
        (
            FakeRuntime("12.8", said="Failed to load C:\\x\\cublas64_12.dll: x\nFailed to load cudnn64_9.dll: x\n"),
            loader(FakeDriver(12080), "Could not find module (or one of its dependencies)"),
            r"CUDA's library cublas64_12\.dll, cudnn64_9\.dll is missing: `pip install deepdanbooru-engine\[cuda12\]`",
        ),
        (FakeRuntime(), loader(FakeDriver(), "invalid ELF header"), r"CUDA part does not load \(invalid ELF header\)"),
        (FakeRuntime(), loader(FakeDriver()), r"^ONNX Runtime does not take CUDA: `pip install "),
    ],
)
def test_what_is_missing_and_the_cure(ort: Any, load: Any, sentence: str) -> None:
    if isinstance(ort, FakeRuntime):
        ort.libraries_work = False
    with pytest.raises(Unavailable, match=sentence):
        check_cuda(ort, find_driver(load), load)
