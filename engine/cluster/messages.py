"""What travels between the run and the nodes. Plain values, no behaviour."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from engine.config import RunConfig
from engine.errors import EngineError
from engine.model.session import Session
from engine.stages.ticket import Failed
from engine.storage import Access, Storage, open_storage
from engine.types import FileState, Media, Preprocessing

P = ParamSpec("P")
T = TypeVar("T")
Rows = npt.NDArray[np.unsignedinteger[Any]]
"""Fitted pictures: [n, height, width, 3], RGB, of the model's dtype."""


@dataclass(frozen=True)
class StorageRoot:
    """Where the pictures lie, in a form that travels. Keys for S3 are those of each node's own environment.

    Attributes:
        token: of the media API, where the storage is of the API's own origin; else empty.
    """

    root: str
    timeout_s: float
    ca_file: Path | None = None
    token: str = field(default="", repr=False)
    token_url: str = ""

    def __call__(self) -> Storage:
        """Raises as `open_storage`."""
        return open_storage(self.root, Access(self.timeout_s, self.ca_file, _Token(self.token), self.token_url))


@dataclass(frozen=True)
class _Token:
    value: str = field(repr=False)

    def reread(self) -> bool:
        """A node has no file to read it from again."""
        return False


@dataclass(frozen=True)
class Work:
    """What all blocks of a run have in common.

    Attributes:
        run: names the run; a worker that served another one begins anew.
        storage: opens where the pictures lie, on the node.
        hashes: whether the hash of what a picture looks like is wanted.
    """

    run: str
    storage: Callable[[], Storage]
    preprocessing: Preprocessing
    config: RunConfig
    hashes: bool = False


class Item(NamedTuple):
    """One medium of a block, and what its ticket says of it."""

    media: Media
    last_chance: bool
    failed: Failed | None


class Fitted(NamedTuple):
    """Its picture is this row of the block's rows."""

    row: int
    hash: int | None


class Failure(NamedTuple):
    reason: str
    file: FileState | None


class Skipped(NamedTuple):
    reason: str
    file: FileState | None


class LookedAt(NamedTuple):
    replaced: bool


class Again(NamedTuple):
    """Its read failed, perhaps only for the moment."""


Found = Fitted | Failure | Skipped | LookedAt | Again
"""What became of a medium on a node."""


class Span(NamedTuple):
    """What a node's part of a stage did: seconds, and items."""

    busy: float = 0.0
    waiting_in: float = 0.0
    waiting_out: float = 0.0
    items: int = 0


@dataclass(frozen=True)
class Loaded:
    """What a task made of a block, besides the rows.

    Attributes:
        found: of each medium in the block's order; None where the task gave it up because of `trouble`.
        trouble: what the node's storage suffers from, in a sentence; None if it is well.
        said: sentences for the user.
        reading, decoding: since the last block of this process.
    """

    found: list[Found | None]
    reading: Span
    decoding: Span
    trouble: str | None = None
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opened:
    """A session that works, on its node.

    Attributes:
        why: the device and the reason for it, in one line.
    """

    batch_size: int
    device: str
    precision: str
    why: str


@dataclass(frozen=True)
class Scored:
    """Of a block's rows: float32 [n, tags + features]; and what the session did so far."""

    scores: npt.NDArray[np.float32]
    busy: float
    items: int
    peak_vram_mb: float | None = None


OpenSession = Callable[[Path | None], Session]
"""Opens the session on a node; it is given the model folder there."""


class NodeLost(Exception):
    """What was asked for is gone with its node, or the node cannot be asked."""


class WorkerLost(Exception):
    """The process that loaded a block died: perhaps for memory, perhaps of a picture."""


class SessionLost(Exception):
    """The process of a session died."""


def plain_errors(call: Callable[P, T]) -> Callable[P, T]:
    """What ends a run, as a plain `EngineError` with the same sentence: not every error of a kind can travel."""

    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except EngineError as error:
            raise EngineError(str(error)) from None

    return wrapped
