"""Stand-ins for OpenVINO: an installation without the hardware that is asked for, or that takes something else."""

from types import SimpleNamespace
from typing import Any


class FakeCore:
    """OpenVINO's `Core` on a machine with the devices of `devices`, which compute with `capabilities`."""

    def __init__(self, devices: tuple[str, ...], capabilities: tuple[str, ...], took: tuple[str, str]) -> None:
        self.available_devices, self._capabilities, self._took = list(devices), list(capabilities), took
        self.options: dict[str, Any] = {}

    def get_property(self, device: str, name: str) -> Any:
        return {"FULL_DEVICE_NAME": f"Some {device}", "OPTIMIZATION_CAPABILITIES": self._capabilities}[name]

    def read_model(self, file: Any) -> Any:
        import openvino

        return openvino.Core().read_model(file)

    def compile_model(self, network: Any, device: str, options: dict[str, Any]) -> Any:
        """Compiled by the real OpenVINO on the CPU; says of itself that it took what `took` says."""
        import openvino

        self.options = options
        real = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        said = {"EXECUTION_DEVICES": [self._took[0]], "INFERENCE_PRECISION_HINT": self._took[1]}
        return SimpleNamespace(
            input=real.input,
            output=real.output,
            create_infer_request=real.create_infer_request,
            get_property=said.__getitem__,
        )


def fake_openvino(
    *devices: str, capabilities: tuple[str, ...] = ("FP32", "INT8"), took: tuple[str, str] = ("GPU", "f32")
) -> tuple[Any, FakeCore]:
    """The module, and the core that it gives. Whatever runs needs the real package."""
    core = FakeCore(devices, capabilities, took)
    shape = lambda sides: __import__("openvino").PartialShape(sides)  # noqa: E731
    tensor = lambda array, shared_memory: __import__("openvino").Tensor(array, shared_memory=shared_memory)  # noqa: E731
    return SimpleNamespace(Core=lambda: core, __version__="2026.4.1-1", PartialShape=shape, Tensor=tensor), core
