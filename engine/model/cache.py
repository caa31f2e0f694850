"""The cache of optimised models: it makes the second start of a large model thirty times faster, in a third of the RAM.

ONNX Runtime optimises a model's graph at each start, which for the full-size model takes some seconds and three times
the size of its file in memory. The cache keeps the optimised graph, with its weights in a file of their own that is
mapped into memory instead of being read. Such an entry is only good for one version of ONNX Runtime on one kind of CPU,
so both are part of its key. If anything goes wrong with the cache, the model is loaded without it.

    <folder>/models/<model>-<key>/model.onnx, weights.bin, entry.json
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

from engine.files import replacing
from engine.model.folder import Precision, check_file
from engine.model.onnx_runtime import Ort

log = logging.getLogger(__name__)

_EXTERNAL_WEIGHTS = "session.optimized_model_external_initializers_"
_SMALLEST_WEIGHT = 1024  # bytes: smaller weights stay in the graph


def cache_folder() -> Path:
    """The user's folder for what the engine can make again when it is deleted."""
    return platformdirs.user_cache_path("deepdanbooru-engine", appauthor=False)


def cpu_features() -> str:
    """The CPU's name and instruction sets: how ONNX Runtime optimises depends on them."""
    info = ""
    with suppress(OSError):  # only Linux has the file
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        info = "\n".join(sorted(set(re.findall(r"^(?:model name|flags|Features)\s*:.*", text, re.MULTILINE))))
    return f"{platform.machine()} {platform.processor()} {info}"


@dataclass(frozen=True, slots=True)
class ModelCache:
    """The optimised models in a cache folder.

    Attributes:
        folder: the cache folder; made when it is needed.
        smallest: bytes of a model file; a smaller one starts fast anyway and is not kept.
        kept: how many entries there may be, of all models; the ones that were not used for longest are deleted.
        abandoned_s: seconds after which a folder that is still being written belongs to a process that was killed.
        cpu: says what kind of CPU this is.
    """

    folder: Path
    smallest: int = 32_000_000
    kept: int = 6
    abandoned_s: float = 3600
    cpu: Callable[[], str] = cpu_features

    def load(self, ort: Ort, precision: Precision, options: Callable[[], Ort]) -> Ort:
        """A CPU session of the precision's file. The first call makes the entry, later ones use it.

        `ort` is the onnxruntime module, `options` makes new SessionOptions. Raises `ModelError` when the file is not
        the one that its manifest describes, and whatever ONNX Runtime raises.
        """
        file = precision.file
        try:
            entry = self._entry(ort, precision) if file.stat().st_size >= self.smallest else None
        except OSError:  # there is no such file, and check_file tells the user
            entry = None
        if entry is None or not entry.was_made_from(file):
            check_file(precision)
        session = entry and (_open_entry(ort, entry, precision, options) or self._make(ort, entry, precision, options))
        return session or _session(ort, file, options())

    def _entry(self, ort: Ort, precision: Precision) -> "_Entry":
        made_by = (ort.__version__, ort.get_build_info(), "CPUExecutionProvider", "ENABLE_ALL", self.cpu())
        key = hashlib.sha256("\n".join((precision.sha256, *made_by)).encode()).hexdigest()
        return _Entry(self.folder / "models" / f"{precision.sha256[:16]}-{key[:16]}")

    def _make(self, ort: Ort, entry: "_Entry", precision: Precision, options: Callable[[], Ort]) -> Ort:
        """Write the entry and open it, so that this start runs the same graph as later ones. None if that fails."""
        new = _Entry(entry.folder.with_name(f".new-{uuid.uuid4().hex}"))
        try:
            new.folder.mkdir(parents=True)
            if shutil.disk_usage(new.folder).free < 2 * precision.file.stat().st_size:
                raise OSError("too little room on the disk")
            settings = options()
            settings.optimized_model_filepath = str(new.model)
            settings.add_session_config_entry(_EXTERNAL_WEIGHTS + "file_name", new.weights.name)
            settings.add_session_config_entry(_EXTERNAL_WEIGHTS + "min_size_in_bytes", str(_SMALLEST_WEIGHT))
            _session(ort, precision.file, settings)
            for written in (new.model, new.weights):
                with written.open("r+b") as file:
                    os.fsync(file.fileno())  # else a power cut could leave an entry that only looks whole
            new.seal(precision.file)
            _discard(entry.folder)
            new.folder.replace(entry.folder)
            self._delete_old(entry.folder)
        except Exception as error:
            log.debug("no optimised model is kept: %s", error)
            return None
        finally:
            shutil.rmtree(new.folder, ignore_errors=True)
        return _open_entry(ort, entry, precision, options)

    def _delete_old(self, newest: Path) -> None:
        """Delete other entries of the same model, then the oldest beyond `kept`, then what killed processes left."""
        model = newest.name.partition("-")[0]
        others = sorted(
            (path for path in newest.parent.iterdir() if path != newest and not path.name.startswith(".")),
            key=lambda path: path.stat().st_mtime,
            reverse=True,
        )
        same = [path for path in others if path.name.startswith(f"{model}-")]
        rest = [path for path in others if path not in same]
        for path in same + rest[self.kept - 1 :]:
            _discard(path)
        for path in newest.parent.glob(".*-*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > self.abandoned_s:
                    shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class _Entry:
    """A folder of the cache: one optimised model."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def weights(self) -> Path:
        return self.folder / "weights.bin"

    def seal(self, source: Path) -> None:
        """Note size and time of the entry's files, and of the model file they were made from, in entry.json."""
        content = {"source": _stamp(source), "model": _stamp(self.model), "weights": _stamp(self.weights)}
        with replacing(self.folder / "entry.json") as part:
            part.write_text(json.dumps(content), encoding="utf-8")

    def is_whole(self) -> bool:
        """Whether the files are as they were written. ONNX Runtime would crash on a mapped file that was cut short."""
        noted = self._read()
        with suppress(OSError):
            return noted.get("model") == _stamp(self.model) and noted.get("weights") == _stamp(self.weights)
        return False

    def was_made_from(self, source: Path) -> bool:
        """Whether `source` has the size and time it had when its SHA-256 was checked.

        Both can be forged, but what then runs is this entry, which was made from the right file.
        """
        with suppress(OSError):
            return self.is_whole() and self._read().get("source") == _stamp(source)
        return False

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / "entry.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _open_entry(ort: Ort, entry: _Entry, precision: Precision, options: Callable[[], Ort]) -> Ort:
    """A session from the entry; None if there is no such entry or it does not load."""
    if not entry.is_whole():
        return None
    try:
        settings = options()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is optimised already
        session = _session(ort, entry.model, settings)
        if not entry.was_made_from(precision.file):  # a copy, or touched; check_file has just found its content right
            entry.seal(precision.file)
        os.utime(entry.folder)  # marks the entry as used
    except Exception as error:
        log.debug("the cached model %s does not load: %s", entry.folder, error)
        return None
    return session


def _session(ort: Ort, file: Path, options: Ort) -> Ort:
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"], enable_fallback=0)


def _stamp(file: Path) -> list[int]:
    """Size in bytes and time of the last change in ns: at least one of them changes when the file is rewritten."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _discard(folder: Path) -> None:
    """Delete an entry. It is renamed first, so that nobody finds half of it; one that is in use on Windows stays."""
    with suppress(OSError):
        old = folder.with_name(f".old-{uuid.uuid4().hex}")
        folder.replace(old)
        shutil.rmtree(old, ignore_errors=True)
