"""The ONNX Runtime module itself: exactly one of its distributions, quiet, and what it says when it fails."""

from importlib import metadata
from typing import Any

from engine.errors import SessionError

Ort = Any
"""The onnxruntime module, or an object of one of its classes: it has no type hints."""

DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-training",
)
"""Every one of them writes the same package folder, so the one installed last wins, in parts."""
ERROR, FATAL = 3, 4
"""ONNX Runtime's log severities. FATAL where what matters reaches us as an exception or is asked for."""

OUT_OF_MEMORY = (
    "failed to allocate",
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "available memory of",
    "alloc_failed",  # CUDNN_STATUS_, CUBLAS_STATUS_
    "cuda failure 2:",
)


class Unavailable(SessionError):
    """A device cannot be used here: what is missing, and the cure. `auto` then takes the CPU and says why.

    `absent`: there is no such device at all, which is no news to a user who did not ask for it.
    """

    def __init__(self, reason: str, cure: str, *, absent: bool = False) -> None:
        super().__init__(f"{reason}: {cure}")
        self.reason = reason
        self.absent = absent


def import_runtime() -> Ort:
    """The onnxruntime module. Raises `SessionError` when there is none, or two that overwrite each other."""
    there = installed()
    if len(there) > 1:
        raise SessionError(
            f"{' and '.join(there)} are both installed and overwrite each other: "
            f"`pip uninstall -y {' '.join(there)}`, then `pip install deepdanbooru-engine[cuda]` (or [cpu])"
        )
    try:
        import onnxruntime
    except ImportError as error:
        if error.name == "onnxruntime":
            raise SessionError(
                "there is no ONNX Runtime: `pip install deepdanbooru-engine[cpu]`, or [cuda] for an NVIDIA GPU"
            ) from None
        raise SessionError(
            f"ONNX Runtime is installed but does not start ({first_line(error)}): on Windows the Microsoft Visual C++ "
            "redistributable is the usual cure, else install it again"
        ) from None
    onnxruntime.set_default_logger_severity(ERROR)
    return onnxruntime


def installed() -> list[str]:
    """The ONNX Runtime distributions whose files are really there."""
    return [name for name in DISTRIBUTIONS if _owns_package(name)]


def _owns_package(distribution: str) -> bool:
    try:
        files = metadata.files(distribution)
    except metadata.PackageNotFoundError:
        return False
    # A distribution that keeps no list of its files (conda, distribution packages) is taken at its word.
    return files is None or any(file.parts[:2] == ("onnxruntime", "__init__.py") for file in files)


def first_line(error: BaseException) -> str:
    """What a user can read of an exception."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def is_out_of_memory(error: BaseException) -> bool:
    """ONNX Runtime has no exception type for it: known by its words, on host and device."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY)
