"""The media API's messages, written and read: pure functions, no network."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from engine.api.answers import Reply
from engine.errors import ApiError
from engine.types import Media

MAX_ID = 2**63 - 1  # the largest Java long and the largest integer of SQLite


def segment_body(start: int, limit: int) -> bytes:
    """The request for a page of the catalogue."""
    return json.dumps({"segmentStart": start, "limit": limit, "storageStatus": "ALL_DL"}).encode()


# The tags of a picture are one text from when it is tagged until they are sent, for there may be millions: a line for
# each, with its name as JSON, a tab, and its score as the contract writes it. JSON holds no tab and no line break. So a
# body comes of replacing these two, which takes a tenth of the time of making it record by record.


def pairs(tags: Iterable[tuple[str, float]]) -> str:
    """The text of tags and their scores in 0..1, in this order; "" for none."""
    return "\n".join([pair(tag, similarity(score)) for tag, score in tags])


def pair(tag: str, score: str) -> str:
    """A line of `pairs`."""
    return f"{_quoted(tag)}\t{score}"


def tags_in(text: str) -> list[str]:
    """The names in `pairs`."""
    return [json.loads(line.partition("\t")[0]) for line in text.split("\n") if line]


def record_bodies(media: Media, text: str) -> tuple[bytes, ...]:
    """The records of `pairs`, each UTF-8 JSON, keys in the order of the contract; in single mode each is a request."""
    if not text:
        return ()
    opening = f'{{"mediaId": {json.dumps(media.wire_id)}, "tagKey": '
    listed = text.replace("\t", ', "similarity": "').replace("\n", f'"}}\n{opening}')
    return tuple(f'{opening}{listed}"}}'.encode().split(b"\n"))


def replace_body(media: Media, model: str, text: str) -> bytes:
    """All tags that a model gives a medium, `pairs`, as one item of a replace request; without, it takes all away."""
    listed = text.replace("\t", ', "similarity": "').replace("\n", '"}, {"tagKey": ')
    tags = f'{{"tagKey": {listed}"}}' if text else ""
    return f'{{"mediaId": {json.dumps(media.wire_id)}, "model": {_quoted(model)}, "tags": [{tags}]}}'.encode()


@lru_cache(maxsize=100_000)  # more than any model has tags
def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def similarity(score: float) -> str:
    """A score as the contract writes it: Python's format `05.3f`."""
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
