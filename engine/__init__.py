"""The engine: tags the media of a catalogue and sends the tags where they belong. `pipeline.py` shows all of it."""

import os

# ONNX Runtime 1.29 and later reports to Microsoft on Linux and macOS, from its import on: a device id, the CPU, the
# model's metadata. Whoever tags private pictures must not have to know that. It looks at this variable once, when it
# is imported, so it is set here: all our packages import this one first, and their child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
