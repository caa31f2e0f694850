"""What the outbox keeps for the media API of one medium: its tags with their scores, as JSON."""

import json

from engine.types import Tagged, TagScore

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # made once: it is dear to make


def entry(tagged: Tagged, *, replaces: bool = False) -> str | None:
    """`[[tag, score], ...]` in the order of the model's tags.

    None for a picture without tags, of which nothing is posted, unless it `replaces` tags: having none is a result too.
    """
    if not (tagged.tags or replaces):
        return None
    return _encode(tagged.tags)


def tags_of(entry: str | bytes) -> tuple[TagScore, ...]:
    """What `entry` wrote. Ledgers of earlier versions hold the score as text."""
    pairs = json.loads(entry)
    if pairs and isinstance(pairs[0][1], str):
        return tuple(TagScore(tag, float(score)) for tag, score in pairs)
    return tuple(map(TagScore._make, pairs))
