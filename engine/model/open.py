"""Opening a model folder's model on a device. It never runs on another device than the one that was asked for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import get_args

from engine.config import DeviceName, RunConfig
from engine.errors import SessionError
from engine.model.devices.cpu import DEVICE as CPU
from engine.model.devices.device import Device, SessionRequest, Unavailable
from engine.model.folder import BF16, Model, Precision
from engine.model.onnx_runtime import Ort, import_onnxruntime
from engine.model.session import RecoveringSession, SessionConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _PassedOver:
    """A device that `auto` could not take, and what was wrong. Not the exception: its traceback holds the model."""

    hardware: str
    absent: bool
    reason: str
    sentence: str


def open_session(
    model: Model,
    precision: Precision,
    config: SessionConfig,
    devices: Sequence[Device] | None = None,
    ort: Ort | None = None,
) -> RecoveringSession:
    """The model on the device that was asked for. Raises `SessionError` or `ModelError` with the cure.

    `auto` takes the first of the devices that works; the session's `why` tells what was wrong with those before it.
    `devices` (in the order of `auto`) and `ort` (the onnxruntime module) are this machine's unless others are given.
    """
    ort = ort or import_onnxruntime()
    devices = devices or all_devices()
    _warn_if_unverified(precision)
    request = SessionRequest(ort, model, precision, config, ort.RunOptions())
    asked = [device for device in devices if _is_asked(device, config.device, precision.name)]
    passed_over: list[_PassedOver] = []
    for device in asked:
        try:
            return _open(device, request, passed_over)
        except Unavailable as error:
            if device is asked[-1]:
                raise
            passed_over.append(_PassedOver(device.hardware, error.absent, error.reason, str(error)))
    raise SessionError(
        f"there is no device {config.device}: it may be auto, {', '.join(device.name for device in devices)}"
    )


def all_devices() -> list[Device]:
    """The devices of the table `DeviceName`, in its order: each module in `devices/` has an object `DEVICE`."""
    names = (name.replace("-", "_") for name in get_args(DeviceName))
    return [import_module(f"engine.model.devices.{name}").DEVICE for name in names]


def session_config(settings: RunConfig, *, features: bool = False) -> SessionConfig:
    """The part of a run's settings that is the session's. `features`: `SessionConfig.features`."""
    return SessionConfig(
        device=settings.device,
        batch_size=settings.batch_size,
        intra_op_threads=settings.intra_op_threads,
        vram_limit=settings.vram_limit,
        workspace=settings.workspace,
        submitters=settings.submitters,
        features=features,
    )


def _is_asked(device: Device, name: str, precision: str) -> bool:
    """Whether `--device NAME` means this device. Raises `SessionError` where that does not compute the precision."""
    if name == "auto":
        return precision in device.auto
    if name == device.name and precision not in device.precisions:
        raise SessionError(
            f"--device {name} does not compute {precision}, only {', '.join(sorted(device.precisions))}: give another "
            "--precision, or another --device"
        )
    return name == device.name


def _open(device: Device, request: SessionRequest, passed_over: Sequence[_PassedOver]) -> RecoveringSession:
    placement = device.place(request)
    model, precision = request.model, request.precision
    fp32 = model.precisions.get("fp32")
    fp32_on_cpu = None
    if fp32 and (device.name, precision.name) != (CPU.name, "fp32"):
        fp32_on_cpu = partial(CPU.runner, replace(request, precision=fp32))
    return RecoveringSession(
        placement,
        shape=(model.preprocessing.height, model.preprocessing.width),
        device=device.name,
        precision=precision.name,
        why=_why(device, placement.details, passed_over),
        run_options=request.run_options,
        fp32_on_cpu=fp32_on_cpu,
    )


def _why(device: Device, details: str, passed_over: Sequence[_PassedOver]) -> str:
    """The device and the reason for it, in one line. Missing hardware is mentioned only if no device that is present
    failed."""
    if not passed_over:
        return f"{device.name}: {details}" if details else f"{device.name}, as asked"
    taken = f"{device.name} ({details})" if details else device.name
    if broken := [f"although there is {other.hardware}: {other.sentence}" for other in passed_over if not other.absent]:
        return f"{taken}, {'; '.join(broken)}"
    return f"{taken}: {'; '.join(other.reason for other in passed_over)}"


def _warn_if_unverified(precision: Precision) -> None:
    """Conversion to fp32 copies the weights, so only another precision can change the tags; bf16 the device checks."""
    if precision.name not in ("fp32", BF16) and precision.verdict != "pass":
        found = "failed its comparison" if precision.verdict == "fail" else "was never compared"
        log.warning("this model's %s %s with the original's scores: its tags may differ", precision.name, found)
