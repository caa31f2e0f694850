"""On a node, before it takes part: the same engine, the model folder, a storage that can be read.

Each check returns sentences without the node's name; the run puts that before them. That a device works is seen when
the session is opened there (`engine.cluster.scoring`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.cluster.messages import Work
from engine.errors import EngineError, first_line
from engine.files import replacing
from engine.flow.stage import in_thread
from engine.model.cache import cache_folder
from engine.model.folder import MANIFEST, TAGS, Model, sha256_of

PACKAGES = ("simplejpeg", "opencv-python-headless", "pillow", "numpy")
"""What decides of a row's pixels."""
PATIENCE_S = 20.0
"""Seconds that the storage has for its answer."""


@dataclass(frozen=True)
class Versions:
    """What must be the same everywhere, or a picture's tags would depend on the node.

    Attributes:
        source: SHA-256 of the engine's own files.
    """

    engine: str
    source: str
    packages: Mapping[str, str]


def versions() -> Versions:
    """Those of this machine."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0")
        digest.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return Versions(_version("deepdanbooru-engine"), digest.hexdigest(), {name: _version(name) for name in PACKAGES})


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model folder that a session needs.

    Attributes:
        folder: where they lie at the run's machine, and perhaps at the same place on a node.
        sha256: of each, by its name.
    """

    folder: Path
    sha256: Mapping[str, str]

    @property
    def key(self) -> str:
        """Names these files."""
        return hashlib.sha256(repr(sorted(self.sha256.items())).encode()).hexdigest()[:16]

    @property
    def sent(self) -> Path:
        """Where they lie on a node that got them sent."""
        return cache_folder() / "cluster" / self.key

    def are_in(self, folder: Path) -> bool:
        """Reads them all, 0.6 GB a second."""
        try:
            return all(sha256_of(folder / name) == sha256 for name, sha256 in self.sha256.items())
        except OSError:
            return False


def model_files(model: Model, precision: str) -> ModelFiles:
    """Those of one precision, and of fp32, which helps where a batch of another gives no numbers."""
    used = {precision, "fp32"} & model.precisions.keys() or {model.precision(precision).name}
    sha256 = {MANIFEST: sha256_of(model.folder / MANIFEST), TAGS: model.tags_sha256}
    for name in used:
        one = model.precision(name)
        sha256 |= {file.name: digest for file, digest in ((one.file, one.sha256), *one.data)}
    return ModelFiles(model.folder.absolute(), sha256)


@dataclass(frozen=True)
class Checked:
    """What a node answered.

    Attributes:
        troubles: sentences with the cure; the node cannot take part.
        warnings: sentences; it can.
        model: the model folder there; None if it must be sent, or none is needed.
    """

    troubles: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    model: Path | None = None


def check(wanted: Versions, work: Work, files: ModelFiles | None) -> Checked:
    """All of it on this node. Raises nothing."""
    here, troubles = versions(), []
    if (here.engine, here.source) != (wanted.engine, wanted.source):
        troubles.append(
            f"the engine there is {here.engine} ({here.source[:8]}), not {wanted.engine} ({wanted.source[:8]}) as "
            "here: install the same version there, and start Ray there again"
        )
    others = [
        f"{name} is {there}, not {wanted.packages[name]}"
        for name, there in here.packages.items()
        if there != wanted.packages[name]
    ]
    warnings = [f"{', '.join(others)}: scores may differ in their last digits"] if others else []
    troubles += _import_trouble()
    troubles += storage_trouble(work)
    model = None
    if files:
        model = next((folder for folder in (files.folder, files.sent) if files.are_in(folder)), None)
    return Checked(tuple(troubles), tuple(warnings), model)


def _import_trouble() -> list[str]:
    """What the loader needs and this node does not have."""
    try:
        import_module("engine.cluster.loading")
    except ImportError as error:
        return [f"{error.name or first_line(error)} is not installed there: install the engine as it is installed here"]
    return []


def storage_trouble(work: Work, patience_s: float = PATIENCE_S) -> list[str]:
    """What is wrong with the storage as seen from here; nothing if it can be read."""
    cure = "mount it there as it is mounted here, or take the node out with `ray stop`"
    try:
        in_thread(lambda: work.storage().check()).result(patience_s)
    except TimeoutError:
        return [f"the storage gives no answer there within {patience_s:g} s: {cure}"]
    except EngineError as error:
        return [f"{error}; {cure}"]
    return []


def keep_model(files: ModelFiles, *contents: npt.NDArray[np.uint8]) -> Path:
    """Write the files that were sent, in the order of `ModelFiles.sha256`; the folder. Raises `OSError`."""
    files.sent.mkdir(parents=True, exist_ok=True)
    for name, content in zip(files.sha256, contents, strict=True):
        with replacing(files.sent / name) as part:
            content.tofile(part)
    if not files.are_in(files.sent):
        raise OSError("what was written is not what was sent")
    return files.sent
