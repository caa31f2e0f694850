"""What the outbox keeps for the media API of one medium: its tags with their scores, as JSON."""

import json
from collections.abc import Sequence
from typing import cast

from engine.types import Tagged

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # made once: it is dear to make


def entry(tagged: Tagged, *, replaces: bool = False) -> str | None:
    """`[[tag, score], ...]` in the order of the model's tags.

    None for a picture without tags, of which nothing is posted, unless it `replaces` tags: having none is a result too.
    """
    if not (tagged.tags or replaces):
        return None
    return _encode(tagged.tags)


def tags_of(entry: str | bytes) -> Sequence[tuple[str, float]]:
    """What `entry` wrote, each pair as JSON has it. Ledgers of earlier versions hold the score as text."""
    pairs: list[tuple[str, float | str]] = json.loads(entry)
    if pairs and isinstance(pairs[0][1], str):
        return [(tag, float(score)) for tag, score in pairs]
    return cast(list[tuple[str, float]], pairs)
