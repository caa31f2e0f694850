"""The media API's messages, written and read: pure functions, no network."""

import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache

from engine.api.answers import Reply
from engine.errors import ApiError
from engine.types import Media

MAX_ID = 2**63 - 1  # the largest Java long and the largest integer of SQLite
Pair = tuple[str, float]
"""A tag and its score in 0..1; a `TagScore` is one."""


def segment_body(start: int, limit: int) -> bytes:
    """The request for a page of the catalogue."""
    return json.dumps({"segmentStart": start, "limit": limit, "storageStatus": "ALL_DL"}).encode()


# The bodies are as `json.dumps` writes them, which would take four times as long: there may be millions of records.


def record_body(media: Media, tag: Pair) -> bytes:
    """One record, UTF-8 JSON, keys in the order of the contract; also the body of a request in single mode."""
    name, score = tag
    return (
        f'{{"mediaId": {json.dumps(media.wire_id)}, "tagKey": {_quoted(name)}, "similarity": "{similarity(score)}"}}'
    ).encode()


def replace_body(media: Media, model: str, tags: Sequence[Pair]) -> bytes:
    """All tags that a model gives a medium, as one item of a replace request; without tags, it takes all away."""
    listed = '"}, '.join([f"{_OPENINGS[name]}{score:05.3f}" for name, score in tags]) + ('"}' if tags else "")
    return f'{{"mediaId": {json.dumps(media.wire_id)}, "model": {_quoted(model)}, "tags": [{listed}]}}'.encode()


class _Openings(dict[str, str]):
    """A record of a replace request up to its score, by the tag's name: made once, for each picture has it again."""

    def __missing__(self, name: str) -> str:
        opening = self[name] = f'{{"tagKey": {_quoted(name)}, "similarity": "'
        return opening


_OPENINGS = _Openings()


@lru_cache(maxsize=100_000)  # more than any model has tags
def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def similarity(score: float) -> str:
    """A score as the contract writes it: Python's format `05.3f`, which `replace_body` has too."""
    return f"{score:05.3f}"


def bulk_body(records: Sequence[bytes]) -> bytes:
    """The body of a bulk or replace request, from the bodies of its items."""
    return b"[" + b", ".join(records) + b"]"


def idempotency_key(ledger: str, body: bytes) -> str:
    """The key of a bulk or replace request: the same for one that is sent again, another for other records or ledgers.

    `ledger` is the ledger's own identity, without which a second ledger would be answered with the first one's yes.
    """
    return hashlib.sha256(ledger.encode() + body).hexdigest()


def read_segment(reply: Reply, start: int) -> list[Media]:
    """The media of a page, ascending by id, none below `start`; of an id that is listed twice, the last one.

    Raises:
        ApiError: not JSON; `data` missing or null; an id that is not a number; or only media below `start`, as such a
            catalogue would never end. A `storageUrl` that is no string becomes "", so that only that medium fails.
    """
    try:
        value = reply.json()
    except ValueError as error:
        raise _unreadable(reply, f"is not JSON ({reply.clean(str(error))})") from None
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, list):
        raise _unreadable(reply, "has no list under `data`")
    media = {item.id: item for item in (_read_item(reply, item) for item in data) if item.id >= start}
    if data and not media:
        raise _unreadable(reply, f"lists only media below the id {start} that was asked for, so it would never end")
    return [media[key] for key in sorted(media)]


def _read_item(reply: Reply, item: object) -> Media:
    wire_id = item.get("id") if isinstance(item, dict) else None
    number = wire_id if isinstance(wire_id, int) and not isinstance(wire_id, bool) else None
    if isinstance(wire_id, str) and re.fullmatch("[0-9]{1,19}", wire_id):
        number = int(wire_id)
    if number is None or not 0 <= number <= MAX_ID or not isinstance(item, dict):
        raise _unreadable(
            reply, f"holds an item whose id is not a whole number from 0 to {MAX_ID}: {reply.clean(json.dumps(item))}"
        )
    url = item.get("storageUrl")
    # Half a surrogate pair is a legal JSON string that no file name, database or terminal can hold.
    text = url.encode("utf-8", "backslashreplace").decode() if isinstance(url, str) else ""
    # Not `version`: entities of many services carry one that counts their changes, our own tags among them.
    version = item.get("fileVersion")
    told = isinstance(version, str | int) and not isinstance(version, bool)
    wire_id = wire_id if isinstance(wire_id, str) else number
    return Media(number, text, wire_id, reply.clean(str(version)) if told else None)


def _unreadable(reply: Reply, what: str) -> ApiError:
    return ApiError(f"the segment that {reply.url} answered {what}: {reply.shown() or 'an empty body'}")
