"""CoreML: the GPU and the neural engine of a Mac. Not measured.

The ONNX Runtime for macOS has it built in. Inside, Core ML itself shares the work out between CPU, GPU and neural
engine; that cannot be seen from here. It takes no int8 files.
"""

from engine.model.devices.device import SessionRequest
from engine.model.devices.provider import Options, Provider


def coreml_options(request: SessionRequest) -> Options:
    """The options of the CoreML provider, named as in its documentation."""
    return {
        "ModelFormat": "MLProgram",  # the older NeuralNetwork computes in 16 bits whatever the file says
        "MLComputeUnits": "ALL",
        "RequireStaticInputShapes": "1",
        "ModelCacheDirectory": str(request.config.cache / "coreml"),  # compiling takes long
    }


DEVICE = Provider(
    name="coreml",
    hardware="a Mac's GPU and neural engine",
    provider="CoreMLExecutionProvider",
    extra="cpu",
    precisions=frozenset({"fp32", "fp16"}),
    systems=("darwin",),
    options=coreml_options,
)
