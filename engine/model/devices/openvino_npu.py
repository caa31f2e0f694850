"""OpenVINO on an Intel NPU, the part of newer processors that does nothing else. Not measured.

It computes with 16 and 8 bits only.
"""

from engine.model.devices.openvino import OpenVino

DEVICE = OpenVino(
    name="openvino-npu",
    hardware="an Intel NPU",
    target="NPU",
    hints={"fp16": "f16", "int8": "f16"},
    cure="install Intel's NPU driver (Linux: intel-level-zero-npu, and the user in the group `render`), or use "
    "--device openvino",
)
