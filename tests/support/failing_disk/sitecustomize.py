"""With this folder on a child's PYTHONPATH: reads of the files below FAILING_FOLDER fail like those of a broken disk.

They begin to fail after FAILING_AFTER reads, for FAILING_S seconds; the folder itself can be listed all the time. When
each failed, in seconds since the first, is written to FAILING_LOG.
"""

import errno
import os
import threading
import time
from pathlib import Path

_files = {path.stat().st_ino for path in Path(os.environ["FAILING_FOLDER"]).iterdir()}
_left, _lasts_s = int(os.environ["FAILING_AFTER"]), float(os.environ["FAILING_S"])
_log = Path(os.environ["FAILING_LOG"]).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - as long as the process
_lock = threading.Lock()
_began = None
_read = os.read


def read(descriptor: int, size: int) -> bytes:
    global _left, _began
    if os.fstat(descriptor).st_ino in _files:
        with _lock:
            now = time.monotonic()
            _left -= 1
            if _left < 0:
                _began = _began or now
                if now - _began < _lasts_s:
                    _log.write(f"{now - _began}\n")
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
    return _read(descriptor, size)


os.read = read
