"""`engine bench estimate --nodes N`: on paper, what limits a cluster. Nothing is measured here.

Each limit is a number of images/s, from a figure of the user's place (what the storage, a link and the API give) and
one of the engine (bytes and records a picture, what its own machine takes), of which `engine bench cluster` measured
those that can be measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BOOKS_CPU_MS = 0.34
"""Milliseconds of processor time a picture of a run's own process for scores, ledger and delivery, on the machine that
`engine bench cluster` was run on; it took 2,900 images/s so."""
DISPATCH_CPU_MS = 0.35
"""The same for handing out blocks to eight sessions and taking their scores back, with a ledger and no delivery."""
BETWEEN_NODES = 0.1
"""Share of the rows that went from one node to another, there."""
RECORD_KB = 0.06
"""A record in a bulk request, in thousands of bytes."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a cluster is made of.

    Attributes:
        nodes: each with one GPU.
        pace: images/s of a GPU.
        images: pictures of the catalogue.
        file_kb: of a picture's file, in thousands of bytes.
        storage_mb: MB/s that the storage gives in all.
        link_mb: MB/s of each machine's network.
        api_records: records/s that the media API takes.
        records: of a picture.
        decode_ms: processor time that reading, decoding and fitting a picture take.
    """

    nodes: int
    pace: float = 20.0
    images: int = 10_000_000
    file_kb: float = 500.0
    storage_mb: float = 110.0
    link_mb: float = 110.0
    api_records: float = 5_000.0
    records: float = 40.0
    decode_ms: float = 50.0


@dataclass(frozen=True, slots=True)
class Limit:
    """Attributes:
    images_per_second: of the whole cluster, where this is the limit.
    why: the numbers behind it.
    """

    name: str
    images_per_second: float
    why: str


def limits(place: Place, tags: int, row_bytes: int) -> list[Limit]:
    """What each part can take; the lowest is the limit. `tags`: of the model; `row_bytes`: of a fitted picture."""
    scores_kb = 4 * tags / 1000
    rows_kb = BETWEEN_NODES * row_bytes / 1000
    node_kb = place.file_kb + 2 * rows_kb + scores_kb
    out_kb = RECORD_KB * place.records
    own_ms = BOOKS_CPU_MS + DISPATCH_CPU_MS
    return [
        Limit("the GPUs", place.nodes * place.pace, f"{place.nodes:,} x {place.pace:g} images/s"),
        Limit(
            "the storage",
            1000 * place.storage_mb / place.file_kb,
            f"{place.storage_mb:,.0f} MB/s, {place.file_kb:,.0f} kB a picture",
        ),
        Limit(
            "the nodes' network",
            place.nodes * 1000 * place.link_mb / node_kb,
            f"{place.link_mb:,.0f} MB/s each; a picture is {place.file_kb:,.0f} kB of file, {2 * rows_kb:,.0f} of rows "
            f"from and to other nodes, {scores_kb:,.0f} of scores",
        ),
        Limit(
            "the run's own network",
            1000 * place.link_mb / (scores_kb + out_kb),
            f"{place.link_mb:,.0f} MB/s; for a picture {scores_kb:,.1f} kB of scores come in, {out_kb:.1f} kB of "
            "records go out",
        ),
        Limit(
            "the media API",
            place.api_records / place.records,
            f"{place.api_records:,.0f} records/s, {place.records:g} a picture",
        ),
        Limit(
            "the run's own process",
            1000 / own_ms,
            f"of one core a picture takes {BOOKS_CPU_MS:.2f} ms for scores, ledger and delivery, and at worst "
            f"{DISPATCH_CPU_MS:.2f} ms for handing out (engine bench cluster)",
        ),
    ]


def estimate(place: Place, tags: int, row_bytes: int) -> dict[str, Any]:
    """The limits, from the lowest; when each is reached; how long the catalogue takes."""
    found = sorted(limits(place, tags, row_bytes), key=lambda one: one.images_per_second)
    lowest = found[0]
    cores = place.pace * place.decode_ms / 1000
    return {
        "estimate": True,
        "nodes": place.nodes,
        "images": place.images,
        "pace": place.pace,
        "limit": lowest.name,
        "images_per_second": round(lowest.images_per_second, 1),
        "hours": round(place.images / lowest.images_per_second / 3600, 1),
        "cores_a_gpu": round(cores, 1),
        "rows": [_row(one, place) for one in found],
        "sentence": _sentence(place, found),
    }


def _row(limit: Limit, place: Place) -> dict[str, Any]:
    by_nodes = limit.name in ("the GPUs", "the nodes' network")
    return {
        "name": limit.name,
        "images_per_second": round(limit.images_per_second, 1),
        "gpus": None if by_nodes else round(limit.images_per_second / place.pace, 1),
        "hours": round(place.images / limit.images_per_second / 3600, 1),
        "why": limit.why,
    }


def _sentence(place: Place, found: Sequence[Limit]) -> str:
    lowest = found[0]
    hours = place.images / lowest.images_per_second / 3600
    return (
        f"{place.images:,} pictures on {place.nodes:,} GPUs of {place.pace:g} images/s: {lowest.name} limits, at "
        f"{lowest.images_per_second:,.0f} images/s; {hours:,.1f} h"
    )
