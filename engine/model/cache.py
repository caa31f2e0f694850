"""Optimised models on disk: the second start of a large model is thirty times faster and takes a third of the memory.

ONNX Runtime optimises a graph anew at each start: for the full-size model some seconds and three times the file in
memory. What comes out is kept, its weights in a file of their own that is mapped, not read. It is good for one version
of ONNX Runtime on one kind of CPU, so both are in the key. Whatever goes wrong here, the model loads without.

    <cache>/models/<model>-<key>/model.onnx, weights.bin, entry.json
"""

import hashlib
import json
import logging
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from engine.model.distribution import Ort
from engine.model.folder import Precision, check_file

log = logging.getLogger(__name__)

SMALLEST = 32_000_000
"""Bytes: smaller files start at once anyway."""
KEPT = 6
"""Entries at most, over all models; the oldest go."""
LEFT_S = 3600
"""Seconds after which a folder that is still being written was left by a process that was killed."""
_KEYS = "session.optimized_model_external_initializers_"
_TINY = 1024  # initialisers below so many bytes stay in the graph


def cache_folder() -> Path:
    """Where this user's engine keeps what it can make again."""
    return platformdirs.user_cache_path("deepdanbooru-engine", appauthor=False)


def load(ort: Ort, precision: Precision, options: Callable[[], Ort], folder: Path, smallest: int = SMALLEST) -> Ort:
    """A CPU session of the precision's file, by way of the cache in `folder`.

    `ort` is the onnxruntime module, `options` makes fresh SessionOptions. Raises `ModelError` when the file is not the
    one its manifest describes, and whatever ONNX Runtime raises.
    """
    file = precision.file
    try:
        entry = _Entry.of(ort, precision, folder) if file.stat().st_size >= smallest else None
    except OSError:  # no such model file: check_file says so
        entry = None
    if entry is None or not entry.describes(file):
        check_file(precision)
    session = entry and (_from(ort, entry, precision, options) or _into(ort, entry, precision, options))
    return session or _session(ort, file, options())


def _from(ort: Ort, entry: "_Entry", precision: Precision, options: Callable[[], Ort]) -> Ort:
    """A session from the entry; None if it is not there, or not what was written."""
    if not entry.is_whole():
        return None
    try:
        settings = options()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is optimised already
        session = _session(ort, entry.model, settings)
        if not entry.describes(precision.file):  # the same file elsewhere, or touched: found the same by check_file
            entry.seal(precision.file)
        os.utime(entry.folder)  # the oldest entries go first
    except Exception as error:
        log.debug("the cached model %s does not load: %s", entry.folder, error)
        return None
    return session


def _into(ort: Ort, entry: "_Entry", precision: Precision, options: Callable[[], Ort]) -> Ort:
    """Write the entry and open it: this start and the next ones run the very same thing. None if it cannot be."""
    new = _Entry(entry.folder.with_name(f".new-{uuid.uuid4().hex}"))
    try:
        new.folder.mkdir(parents=True)
        if shutil.disk_usage(new.folder).free < 2 * precision.file.stat().st_size:
            raise OSError("too little room on the disk")
        settings = options()
        settings.optimized_model_filepath = str(new.model)
        settings.add_session_config_entry(_KEYS + "file_name", new.weights.name)
        settings.add_session_config_entry(_KEYS + "min_size_in_bytes", str(_TINY))
        _session(ort, precision.file, settings)
        for written in (new.model, new.weights):
            with written.open("r+b") as file:
                os.fsync(file.fileno())  # before the name: a power cut must not leave a whole-looking entry
        new.seal(precision.file)
        _discard(entry.folder)
        new.folder.replace(entry.folder)
        _bound(entry.folder)
    except Exception as error:
        log.debug("no optimised model is kept: %s", error)
        return None
    finally:
        shutil.rmtree(new.folder, ignore_errors=True)
    return _from(ort, entry, precision, options)


def _session(ort: Ort, file: Path, options: Ort) -> Ort:
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"], enable_fallback=0)


@dataclass(frozen=True)
class _Entry:
    """A folder of the cache."""

    folder: Path

    @classmethod
    def of(cls, ort: Ort, precision: Precision, cache: Path) -> "_Entry":
        made_by = (ort.__version__, ort.get_build_info(), "CPUExecutionProvider", "ENABLE_ALL", _cpu())
        key = hashlib.sha256("\n".join((precision.sha256, *made_by)).encode()).hexdigest()
        return cls(cache / "models" / f"{precision.sha256[:16]}-{key[:16]}")

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def weights(self) -> Path:
        return self.folder / "weights.bin"

    def seal(self, source: Path) -> None:
        """Write down what the files look like, and what the checked model file did that they were made from."""
        content = {"source": _look(source), "model": _look(self.model), "weights": _look(self.weights)}
        part = self.folder / f".entry-{uuid.uuid4().hex}"
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(self.folder / "entry.json")

    def is_whole(self) -> bool:
        """Whether the files are as they were written. A mapped file that was cut short would end the process."""
        found = self._read()
        with suppress(OSError):
            return found.get("model") == _look(self.model) and found.get("weights") == _look(self.weights)
        return False

    def describes(self, source: Path) -> bool:
        """Whether `source` looks as when its SHA-256 was found right.

        Size and time can be forged, but what then runs is the entry, made from the right file.
        """
        with suppress(OSError):
            return self.is_whole() and self._read().get("source") == _look(source)
        return False

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / "entry.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _look(file: Path) -> list[int]:
    """Size and time of the last change (ns): changes with whatever rewrites the file."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _cpu() -> str:
    """The CPU and its instruction sets: the optimised layout depends on them."""
    info = ""
    with suppress(OSError):  # Linux
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        info = "\n".join(sorted(set(re.findall(r"^(?:model name|flags|Features)\s*:.*", text, re.MULTILINE))))
    return f"{platform.machine()} {platform.processor()} {info}"


def _bound(newest: Path) -> None:
    """Delete older entries of the same model, then the oldest beyond `KEPT`, and what a killed process left."""
    model = newest.name.partition("-")[0]
    others = sorted(
        (path for path in newest.parent.iterdir() if path != newest and not path.name.startswith(".")),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    same = [path for path in others if path.name.startswith(f"{model}-")]
    rest = [path for path in others if path not in same]
    for path in same + rest[KEPT - 1 :]:
        _discard(path)
    for path in newest.parent.glob(".*-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_S:
                shutil.rmtree(path, ignore_errors=True)


def _discard(folder: Path) -> None:
    """Delete an entry, unless another process has it open (Windows). Renamed first: never half an entry."""
    with suppress(OSError):
        old = folder.with_name(f".old-{uuid.uuid4().hex}")
        folder.replace(old)
        shutil.rmtree(old, ignore_errors=True)
