"""The model: reads a model folder and runs it by ONNX Runtime on a device of this machine."""
