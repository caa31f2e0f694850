"""The package onnxruntime: finding it installed exactly once, importing it, and reading its errors."""

from importlib import metadata
from typing import Any

from engine.errors import SessionError, first_line

Ort = Any
"""The onnxruntime module, or an object of one of its classes. It has no type hints, so the name stands in for them."""

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
"""What PyPI calls the builds of ONNX Runtime. All install the same folder `onnxruntime` and overwrite each other."""

ERROR, FATAL = 3, 4
"""ONNX Runtime's log severities. FATAL silences sessions whose failures reach the user as an exception anyway."""

OUT_OF_MEMORY = (
    "failed to allocate",
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "available memory of",
    "alloc_failed",  # CUDNN_STATUS_, CUBLAS_STATUS_
    "cuda failure 2:",
)
"""Parts of messages, in lower case: ONNX Runtime has no exception type for a lack of memory."""


def import_onnxruntime() -> Ort:
    """The onnxruntime module, told to log errors only and to report nothing.

    Linux and macOS: engine/__init__.py has switched reporting off. Windows knows only this call: the event of the
    import itself is already written to the system's tracing, where it is lost unless something collects it.

    Raises:
        SessionError: there is none, or more than one.
    """
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
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(ERROR)
    return onnxruntime


def installed() -> list[str]:
    """The ONNX Runtime distributions whose files are really there."""
    return [name for name in DISTRIBUTIONS if _owns_package(name)]


def _owns_package(distribution: str) -> bool:
    """Whether the distribution is installed with its files: an uninstalled one may leave its metadata behind."""
    try:
        files = metadata.files(distribution)
    except metadata.PackageNotFoundError:
        return False
    # conda's and Linux distributions' packages keep no list of their files; their metadata has to do.
    return files is None or any(file.parts[:2] == ("onnxruntime", "__init__.py") for file in files)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in main memory or on a device."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY)
