"""Checks whether CUDA can work here, and finds out what is missing if not: ONNX Runtime would silently take the CPU.

Not tried on a GPU. What it says without one is tested with stand-ins, and was compared once with the real
onnxruntime-gpu (docs/decisions/sessions.md).
"""

import contextlib
import ctypes
import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import first_line
from engine.model.devices.device import Unavailable
from engine.model.onnx_runtime import ERROR, FATAL, Ort

PROVIDER = "CUDAExecutionProvider"
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NEEDED_DRIVER = {12: "525", 13: "580"}
"""The oldest driver for each major version of CUDA (NVIDIA's compatibility table)."""

CONV = bytes.fromhex(  # an ONNX model: y = Conv(x, x), float [1, 1, 1, 1], opset 17
    "08083a4e0a0f0a01780a01781201792204436f6e761201675a1b0a017812160a14080112100a0208010a0208010a0208010a"
    "020801621b0a017912160a14080112100a0208010a0208010a0208010a02080142040a001011"
)
"""Enough for a provider to show whether it works."""

Load = Callable[[str], Any]
"""Loads a shared library by its name: `ctypes.CDLL`, or a stand-in in a test."""


@dataclass(frozen=True, slots=True)
class Driver:
    """The NVIDIA driver: the newest CUDA it can run, as (major, minor), and the PCI bus id of CUDA's device 0."""

    cuda: tuple[int, int]
    pci_bus: str


def check_cuda(ort: Ort, driver: Driver, load: Load = ctypes.CDLL) -> None:
    """Load CUDA's libraries and make sure that ONNX Runtime really uses them. Raises `Unavailable`.

    A model of one convolution of one number is enough to tell. Trying the real model would take longer: without CUDA,
    ONNX Runtime loads all of it onto the CPU before that can be seen.
    """
    if PROVIDER not in ort.get_available_providers():
        name = getattr(ort, "package_name", "onnxruntime")
        raise Unavailable(
            f"this ONNX Runtime ({name} {ort.__version__}) is built without CUDA",
            f"`pip uninstall -y {name}`, then `pip install deepdanbooru-engine[cuda]`",
        )
    built_for = _major(ort)
    if driver.cuda[0] < built_for:
        raise Unavailable(
            f"the NVIDIA driver runs CUDA up to {driver.cuda[0]}.{driver.cuda[1]}, this ONNX Runtime needs {built_for}",
            f"update the driver to {NEEDED_DRIVER.get(built_for, 'a newer one')} or later, or "
            "`pip uninstall -y onnxruntime-gpu` and `pip install deepdanbooru-engine[cuda12]`",
        )
    printed = _preload(ort)
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    ort.set_default_logger_severity(FATAL)
    try:
        session = ort.InferenceSession(CONV, options, providers=[PROVIDER], enable_fallback=0)
        session.disable_fallback()
        used, failure = session.get_providers()[0], ""
        session.run(None, {"x": np.ones((1, 1, 1, 1), np.float32)})  # cuDNN is loaded only now
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        used, failure = "", first_line(error)
    finally:
        ort.set_default_logger_severity(ERROR)
    if used != PROVIDER:
        raise Unavailable(_missing(ort, printed, load) or failure or "ONNX Runtime does not take CUDA", cure(ort))


def cure(ort: Ort) -> str:
    """How to get the CUDA libraries that this ONNX Runtime was built for, as a sentence for the user."""
    extra = "cuda" if _major(ort) >= 13 else "cuda12"
    return f"`pip install deepdanbooru-engine[{extra}]` brings CUDA's libraries and cuDNN"


def _major(ort: Ort) -> int:
    """The major version of CUDA that ONNX Runtime was built for; 12 where it does not say."""
    found = re.match(r"\d+", str(getattr(ort, "cuda_version", "") or ""))
    return int(found[0]) if found else 12


def find_driver(load: Load = ctypes.CDLL) -> Driver:
    """Ask the NVIDIA driver what it can run. Raises `Unavailable` where there is no driver or no usable GPU."""
    try:
        cuda = load(DRIVER)
    except OSError:
        raise Unavailable(
            f"there is no NVIDIA driver ({DRIVER} cannot be loaded)",
            "install it (a container needs `--gpus all`), or use --device cpu",
            absent=True,
        ) from None
    version, bus = ctypes.c_int(0), ctypes.create_string_buffer(32)
    failed = cuda.cuInit(0)  # each call of the CUDA Driver API returns 0 for success
    if not failed:
        cuda.cuDriverGetVersion(ctypes.byref(version))
        failed = cuda.cuDeviceGetPCIBusId(bus, len(bus), 0)
    if failed:
        raise Unavailable(
            f"the NVIDIA driver finds no usable GPU (CUDA error {failed})",
            "see `nvidia-smi`; CUDA_VISIBLE_DEVICES must not hide it, and after an update of the driver the machine "
            "must start again",
        )
    return Driver((version.value // 1000, version.value % 1000 // 10), bus.value.decode())


def _preload(ort: Ort) -> str:
    """Load the CUDA libraries that pip installed. Returns what ONNX Runtime prints of those that it did not find."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        ort.preload_dlls()
    return printed.getvalue()


def _missing(ort: Ort, printed: str, load: Load) -> str:
    """What keeps ONNX Runtime's CUDA provider from loading, in words; empty if nothing does.

    The provider's own library is loaded here, because on Linux the error names the library that is missing. On Windows
    it does not, so there the names come from what the preloading `printed`. This must come after ONNX Runtime's own
    attempt: the provider library reads a pointer from the process once, on load; loaded earlier it would read null.
    """
    folder = Path(ort.__file__).parent / "capi"
    name = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
    try:
        load(str(folder / name.format("shared")))
        load(str(folder / name.format("cuda")))
    except OSError as error:
        reason = first_line(error)
        found = re.match(r"(\S+\.so[.\d]*): cannot open shared object", reason)
        libraries = [found[1]] if found else re.findall(r"Failed to load (.+?\.(?:so[.\d]*|dll)):", printed)
        if libraries:
            names = ", ".join(dict.fromkeys(re.split(r"[\\/]", library)[-1] for library in libraries))
            return f"CUDA's library {names} is missing"
        return f"ONNX Runtime's CUDA part does not load ({reason})"
    return ""
