"""What travels between the stages. Frozen, no behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
"""A decoded picture: uint8 [height, width, 3], RGB, C-contiguous."""
Row = npt.NDArray[np.unsignedinteger[Any]]
"""A fitted picture: [height, width, 3], RGB, C-contiguous, of the dtype that the model takes, one of WHITE."""
WHITE: Mapping[str, int] = {"uint16": 65280, "uint8": 255}
"""The dtypes that a row may have, and what white is in them: uint16 holds a value times 256, uint8 rounds it."""
Scores = npt.NDArray[np.float32]
"""Scores: float32 [tags] of one picture or [n, tags] of a batch, in 0..1."""


class Outcome(StrEnum):
    """How a medium stands in the ledger."""

    PENDING = "pending"  # listed, not yet tagged
    OUTBOX = "outbox"  # tagged; some of its results have still to arrive at a sink
    DONE = "done"  # its results have arrived at every sink (or there was nothing to send)
    FAILED = "failed"  # cannot be read or decoded; the reason says why
    REJECTED = "rejected"  # a sink, the media API for example, refused its results for good
    SKIPPED = "skipped"  # not a picture


@dataclass(frozen=True, slots=True)
class Media:
    """One item of the catalogue.

    Attributes:
        id: the media id as a number, for order and identity.
        storage_url: where its file lies below the storage root, as the API gave it.
        wire_id: the id exactly as the API wrote it (int or decimal string); `mediaId` goes back like this.
        version: changes when the file does, or when it shall be tagged again; None from an API that does not tell.
    """

    id: int
    storage_url: str
    wire_id: int | str
    version: str | None = None


class TagScore(NamedTuple):
    """One tag of a picture and its score, 0..1, as the model gave it. Whoever sends or prints it chooses the digits."""

    tag: str
    score: float


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture becomes a row of the batch; comes from the model's manifest, never from code.

    Attributes:
        kind: the family, see `engine.families.known`.
        height: rows of the model's input.
        width: columns of the model's input.
        dtype: of a row, one of WHITE; folders made before there was uint16 have uint8.
        changes: the traits that the model has different from its family, as (name, value).
    """

    kind: str
    height: int
    width: int
    dtype: str = "uint16"
    changes: tuple[tuple[str, str | bool], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Tagged:
    """A medium that went through the model.

    Attributes:
        media: which one.
        tags: those that the selection took (score >= threshold), in the order of the model's tags.
        scores: float32 [tags], of every tag of the model.
        features: float32 [features], the picture's feature vector; None if none was asked for.
        hash: of what the picture looks like, see `engine.vectors.hash`; None if none was asked for.
    """

    media: Media
    tags: tuple[TagScore, ...]
    scores: Scores
    features: Scores | None = None
    hash: int | None = None


Entry = str | bytes
"""What a sink wants to have kept of one medium until it has gone there, in the sink's own form."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a sweep of the catalogue is.

    Attributes:
        first_id: the first id of the sweep; None before the first page.
        id: the latest one.
        seen: how many media lie between them.
        admitted: how many of these are still to be tagged.
        waiting: how many of these have not yet been handed on.
        settled: how many media in the sweep's range the ledger knew to be settled when the sweep began.
        limit: how many media more `--limit` lets through; None without one.
        ended: whether the sweep has come to the end of the catalogue, or to the limit.
    """

    first_id: int | None = None
    id: int = 0
    seen: int = 0
    admitted: int = 0
    waiting: int = 0
    settled: int = 0
    limit: int | None = None
    ended: bool = False


class FileState(NamedTuple):
    """Size in bytes and modification time of a file, to notice that it was replaced."""

    size: int
    time: float
