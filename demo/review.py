"""A tag that is often wrong, for review: guessed by the pictures that look alike, and twenty answers that mend it.

The demo's own model is right nearly always, so there would be nothing to learn from reviewing its tags.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np

from demo.score import f1
from engine.vectors.store import VectorStore, vectors_of

if TYPE_CHECKING:  # needs the extra service, which --help must not
    from service.embedded import Running

SHOWN = "hat"
"""What is guessed, and what answers are about."""
GUESSED = f"{SHOWN}_(guess)"
"""The key of the guessed tag."""
ANSWERS = 20
NEIGHBOURS = 9
MOST = 10_000
"""Pictures that are compared with each other, those with the lowest ids."""
LEAST = 0.05
"""Guesses below are not posted."""


@dataclass(frozen=True)
class Moved:
    """A threshold before and after twenty answers; F1 of both against the truth."""

    before: float
    after: float
    low: float
    high: float
    f1_before: float
    f1_after: float


def guesses(state: Path, having: Collection[int]) -> dict[int, float]:
    """For each picture with a vector how much of its nearest neighbours is among those `having` the tag, 0..1."""
    with closing(VectorStore(vectors_of(state))) as store:
        rows = store.first(MOST)
    ids = np.array([row.media_id for row in rows])
    vectors = np.stack([row.kept * np.float32(row.scale) for row in rows if row.kept is not None])
    vectors -= np.median(vectors, axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    near = np.argsort(-likeness, axis=1)[:, :NEIGHBOURS]
    weights = np.maximum(np.take_along_axis(likeness, near, axis=1), 1e-6)
    shares = (weights * np.isin(ids, list(having))[near]).sum(axis=1) / weights.sum(axis=1)
    return dict(zip(ids.tolist(), shares.round(3).tolist(), strict=True))


def post_guesses(service: "Running", state: Path, tags: Mapping[str, Collection[str]]) -> dict[int, float]:
    """Posts the guessed tag beside what the demo's model posted, and returns it. `tags`: those of each path."""
    paths = _paths(service)
    having = [media_id for media_id, path in paths.items() if SHOWN in tags.get(path, ())]
    found = {one: score for one, score in guesses(state, having).items() if score >= LEAST and one in paths}
    records = [{"mediaId": one, "tagKey": GUESSED, "similarity": f"{score:.3f}"} for one, score in found.items()]
    _ask(service, "/media/recognition/bulk", records)
    return found


def answer(service: "Running", guessed: Mapping[int, float], truth: Mapping[str, Collection[str]]) -> Moved:
    """Answers the first twenty questions by the truth, looks at the threshold, and takes the answers back."""
    paths = _paths(service)
    queue = _ask(service, f"/review/queue?{urlencode({'tag': GUESSED, 'limit': ANSWERS})}")
    said = [{"mediaId": one["mediaId"], "yes": SHOWN in truth[one["storageUrl"]]} for one in queue["pictures"]]
    given = _ask(service, "/review/verdicts", {"tag": GUESSED, "verdicts": said, "who": "demo"})
    best = _ask(service, f"/review/estimate?{urlencode({'tag': GUESSED})}")["best"]
    _ask(service, f"/edits/{given['id']}/undo", {"who": "demo"})
    shown = {path: [SHOWN] for path, tags in truth.items() if SHOWN in tags}
    scores = {
        threshold: f1(shown, {paths[one]: [SHOWN] for one, score in guessed.items() if score >= threshold})
        for threshold in (LEAST, best["threshold"])
    }
    return Moved(LEAST, best["threshold"], best["low"], best["high"], *scores.values())


def address(service: "Running") -> str:
    """Where a person gives the answers."""
    return f"{service.url}/review?{urlencode({'tag': GUESSED})}"


def _paths(service: "Running") -> dict[int, str]:
    segment = _ask(service, "/media/segment", {"segmentStart": 0, "limit": MOST, "storageStatus": "ALL_DL"})
    return {item["id"]: item["storageUrl"] for item in segment["data"]}


def _ask(service: "Running", path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(service.url + path, data, headers), timeout=30) as found:  # noqa: S310 - our own service
        return json.load(found)
