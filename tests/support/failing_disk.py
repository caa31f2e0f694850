"""Imported by a child process before the engine runs: for a while reads from the folder fail with EIO.

The folder can be listed all the while.
TEST_EIO holds how many files are read before, and for how many seconds it lasts from there on.
"""

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

from engine.storage import folder

_before, _seconds = (float(part) for part in os.environ["TEST_EIO"].split(","))
_log = Path(os.environ["TEST_EIO_LOG"])
_lock = threading.Lock()
_state = {"read": 0.0, "until": 0.0}
_open = folder.FolderStorage._descriptor


def _failing(self: Any, path: str, key: str) -> Any:
    with _lock:
        _state["read"] += 1
        if _state["read"] == _before:
            _state["until"] = time.monotonic() + _seconds
        fails = time.monotonic() < _state["until"]
    if fails:
        with _lock, _log.open("a", encoding="utf-8") as log:
            log.write(f"{time.monotonic()}\n")
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return _open(self, path, key)


folder.FolderStorage._descriptor = _failing  # type: ignore[method-assign]
