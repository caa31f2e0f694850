"""What the outbox keeps for the media API of one medium: its tags with their scores, as JSON."""

import json

from engine.types import Tagged, TagScore


def entry(tagged: Tagged) -> str | None:
    """`[[tag, score], ...]` in the order of the model's tags; None for a picture without tags: nothing is posted."""
    return json.dumps(tagged.tags, ensure_ascii=False, separators=(",", ":")) if tagged.tags else None


def tags_of(entry: str | bytes) -> tuple[TagScore, ...]:
    """What `entry` wrote. Ledgers of earlier versions hold the score as text."""
    return tuple(TagScore(tag, float(score)) for tag, score in json.loads(entry))
