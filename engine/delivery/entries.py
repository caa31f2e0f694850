"""What the outbox keeps for the media API of one medium: its tags with their scores, as `engine.api.messages.pairs`."""

import json

from engine.api.messages import pairs
from engine.types import Entry, Tagged


def entry(tagged: Tagged, *, replaces: bool = False) -> str | None:
    """Its tags, in the order of the model's.

    None for a picture without tags, of which nothing is posted, unless it `replaces` tags: having none is a result too.
    """
    if not (tagged.tags or replaces):
        return None
    return pairs(tagged.tags)


def pairs_of(entry: Entry) -> str:
    """What `entry` wrote. Ledgers of earlier versions hold JSON, `[[tag, score], ...]`, the score as number or text."""
    text = entry.decode() if isinstance(entry, bytes) else entry
    return pairs([(tag, float(score)) for tag, score in json.loads(text)]) if text.startswith("[") else text
