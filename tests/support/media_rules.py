"""What the service of the tests is sent, what it may be told to answer, and what of a request breaks the contract."""

import json
import random
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SEGMENT, SINGLE, BULK = "/api/segment", "/api/recognition", "/api/recognition/bulk"
REPLACE = "/api/recognition/replace"
RECORD_KEYS = ["mediaId", "tagKey", "similarity"]
REPLACEMENT_KEYS = ["mediaId", "model", "tags"]


@dataclass
class Request:
    """A request as it came; `index` counts from 0 over all requests, `nth` over those to the same path."""

    index: int
    nth: int
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def records(self) -> list[dict[str, Any]]:
        value = json.loads(self.body)
        if self.path == REPLACE:
            return [{"mediaId": item["mediaId"], **tag} for item in value for tag in item["tags"]]
        return [] if self.path == SEGMENT else value if isinstance(value, list) else [value]

    @property
    def replacements(self) -> list[dict[str, Any]]:
        """What replaces tags, as it came."""
        return json.loads(self.body) if self.path == REPLACE else []


@dataclass
class Reply:
    """What to answer. `store` says whether the records are stored first; `cut` resets the connection instead."""

    status: int = 200
    body: bytes = b'{"code": 200}'
    headers: dict[str, str] = field(default_factory=dict)
    store: bool = False
    cut: bool = False
    wait: threading.Event | None = None  # stall until this is set
    endless: bool = False  # repeat the body until the client has had enough


Rule = Callable[[Request], Reply | None]
"""Decides a request; None leaves it to the next rule. Ordinary service is what no rule decides."""


def at(indices: Iterable[int], reply: Reply, path: str | None = None) -> Rule:
    """Those requests (counted over all, or over those to `path`) get this reply."""
    wanted = set(indices)

    def rule(request: Request) -> Reply | None:
        count = request.index if path is None else request.nth
        return reply if path in (None, request.path) and count in wanted else None

    return rule


def always(reply: Reply, path: str | None = None) -> Rule:
    """Every request (to `path`) gets this reply."""
    return lambda request: reply if path in (None, request.path) else None


def from_request(index: int, reply: Reply) -> Rule:
    """Every request from this one on."""
    return lambda request: reply if request.index >= index else None


def randomly(share: float, replies: Sequence[Reply], seed: int = 0) -> Rule:
    """This share of requests gets one of these replies."""
    chance = random.Random(seed)
    return lambda _: chance.choice(replies) if chance.random() < share else None


def poisoned(media_ids: Iterable[int], reply: Reply) -> Rule:
    """Every request that holds a record of these media gets this reply."""
    wanted = {str(media_id) for media_id in media_ids}
    return lambda request: reply if any(str(record["mediaId"]) in wanted for record in request.records) else None


def too_many(limit: int) -> Rule:
    """413 above so many records."""
    return lambda request: Reply(413, b"too large") if len(request.records) > limit else None


# The failures the contract speaks of, for `randomly` and the others.
FAILURES = [
    Reply(500, b"boom"),
    Reply(503, b"", {"Retry-After": "0"}),
    Reply(200, b'{"code": 500, "msg": "busy"}'),
    Reply(200, b'{"success": false}'),
    Reply(cut=True),
    Reply(cut=True, store=True),
]
LOGIN_PAGE = Reply(200, b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html"})


def check(request: Request) -> str | None:
    """What in a request is not exactly as the contract has it."""
    if request.headers.get("content-type") != "application/json; charset=UTF-8":
        return f"Content-Type {request.headers.get('content-type')!r}"
    value = json.loads(request.body.decode("utf-8"))
    if json.dumps(value, ensure_ascii=False).encode() != request.body:
        return "the body is not written as Python's json writes it"
    if request.path == SEGMENT:
        exact = list(value) == ["segmentStart", "limit", "storageStatus"] and value["storageStatus"] == "ALL_DL"
        return None if exact and type(value["segmentStart"]) is type(value["limit"]) is int else f"segment {value}"
    if isinstance(value, list) != (request.path in (BULK, REPLACE)):
        return "a list belongs to the bulk and replace addresses, a record to the other"
    if request.path == REPLACE and (fault := next(filter(None, map(check_replacement, value)), None)):
        return fault
    if request.path != SINGLE and not re.fullmatch("[0-9a-f]{64}", request.headers.get("idempotency-key", "")):
        return "no Idempotency-Key"
    faults = (check_record(record) for record in request.records)
    return next((fault for fault in faults if fault), None)


def check_replacement(item: dict[str, Any]) -> str | None:
    if list(item) != REPLACEMENT_KEYS or type(item["tags"]) is not list:
        return f"keys {list(item)}"
    if type(item["mediaId"]) not in (int, str) or type(item["model"]) is not str or not item["model"]:
        return f"types of {item}"
    faults = (f"keys {list(tag)}" for tag in item["tags"] if list(tag) != RECORD_KEYS[1:])
    return next(faults, None)


def check_record(record: dict[str, Any]) -> str | None:
    if list(record) != RECORD_KEYS:
        return f"keys {list(record)}"
    if type(record["mediaId"]) not in (int, str) or type(record["tagKey"]) is not str:
        return f"types of {record}"
    similarity = record["similarity"]
    exact = type(similarity) is str and re.fullmatch(r"[01]\.[0-9]{3}", similarity)
    return None if exact else f"similarity {similarity!r}"
