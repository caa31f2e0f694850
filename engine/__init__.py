"""The engine: tags the media of a catalogue and sends the tags where they belong. `pipeline.py` shows all of it."""

import os
from typing import TYPE_CHECKING

# ONNX Runtime 1.29 and later reports to Microsoft on Linux and macOS, from its import on: a device id, the CPU, the
# model's metadata. Whoever tags private pictures must not have to know that. It looks at this variable once, when it
# is imported, so it is set here: all our packages import this one first, and their child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


if TYPE_CHECKING:
    from engine.tagger import Tagger

__all__ = ["Tagger"]


def __getattr__(name: str) -> object:
    """`Tagger` is imported when it is asked for: it brings numpy, OpenCV and more, which `engine --help` needs not."""
    if name == "Tagger":
        from engine.tagger import Tagger

        return Tagger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
