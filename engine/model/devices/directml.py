"""DirectML: any GPU under Windows that knows DirectX 12, without CUDA. Not measured.

Its documentation demands a session without memory pattern and in sequential mode, and no two runs at once.
"""

from engine.model.devices.device import FILES
from engine.model.devices.provider import Provider

DEVICE = Provider(
    name="directml",
    hardware="a GPU",
    provider="DmlExecutionProvider",
    extra="directml",
    precisions=FILES,
    # Its ONNX Runtime is installed for nothing else, so `auto` takes it.
    auto=FILES,
    systems=("win32",),
    options=lambda request: {"device_id": "0"},
    one_at_a_time=True,
)
