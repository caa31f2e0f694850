"""OpenVINO on an Intel GPU, in the processor or on a card. Not measured."""

from engine.model.devices.openvino import OpenVino

DEVICE = OpenVino(
    name="openvino-gpu",
    hardware="an Intel GPU",
    target="GPU",
    hints={"fp32": "f32", "fp16": "f16", "int8": "f16"},
    cure="install Intel's driver with OpenCL (Linux: intel-opencl-icd, and the user in the group `render`; a container "
    "needs `--device /dev/dri`), or use --device openvino",
)
