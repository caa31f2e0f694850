"""TensorRT: an NVIDIA GPU, by a program that is compiled for the model on this very card. Not measured.

The first start compiles for minutes; the engine, as NVIDIA calls the result, is kept in the cache folder, for this
card, version and batch size. What TensorRT does not take goes to CUDA, never to the CPU.
"""

from contextlib import suppress
from importlib import import_module

from engine.model.devices.cuda_check import PROVIDER as CUDA
from engine.model.devices.cuda_check import check_cuda, find_driver
from engine.model.devices.device import FILES, SessionRequest
from engine.model.devices.nvml import open_gpu
from engine.model.devices.provider import Options, Provider
from engine.model.devices.vram import plan_vram
from engine.model.onnx_runtime import Ort


def tensorrt_options(request: SessionRequest) -> Options:
    """The options of the TensorRT provider, named as in its documentation; true and false are words there."""
    folder = request.config.cache / "tensorrt"
    folder.mkdir(parents=True, exist_ok=True)
    precision = request.precision.name
    return {
        "device_id": "0",
        "trt_fp16_enable": str(precision == "fp16"),
        "trt_int8_enable": str(precision == "int8"),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_engine_cache_prefix": f"{request.precision.sha256[:16]}-{precision}",
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


def prepare(ort: Ort) -> None:
    """Raise `Unavailable` where CUDA itself does not work; load TensorRT's libraries where pip installed them."""
    check_cuda(ort, find_driver())
    with suppress(ImportError, OSError):  # without them ONNX Runtime looks where the system has libraries
        import_module("tensorrt")


def batch(request: SessionRequest) -> int:
    """As for CUDA, from the free memory."""
    gpu = open_gpu(find_driver().pci_bus)
    plan = plan_vram(
        gpu.memory() if gpu else None,
        weights=request.precision.file.stat().st_size,
        shape=request.model.preprocessing,
        element=2 if request.precision.name == "fp16" else 4,
        config=request.config,
    )
    return plan.batch_size


DEVICE = Provider(
    name="tensorrt",
    hardware="an NVIDIA GPU",
    provider="TensorrtExecutionProvider",
    extra="tensorrt",
    precisions=FILES,
    options=tensorrt_options,
    others=(CUDA,),
    prepare=prepare,
    batch=batch,
)
