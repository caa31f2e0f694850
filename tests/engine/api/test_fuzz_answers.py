"""Whatever a service answers: a yes, one of three kinds of no, or an error that is a sentence. No other exception.

`ENGINE_FUZZ=50000 pytest tests/engine/api/test_fuzz_answers.py --timeout 0` tries more than the few of every day.
"""

import json
import math
import os
import string
from datetime import UTC, datetime

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.api.answers import BadRecords, NotNow, Rejection, Reply, TooLarge, Yes, classify, parse_retry_after
from engine.api.messages import MAX_ID, read_segment
from engine.errors import ApiError

COUNT = int(os.environ.get("ENGINE_FUZZ", "300"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
fuzz = settings(
    max_examples=COUNT, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

text = st.text(st.characters(exclude_categories=()), max_size=30)  # half surrogates too: JSON can spell them
numbers = st.integers() | st.floats() | st.integers(2**62, 2**70) | st.sampled_from([0, 200, 401, 403, 429, 500])
scalars = st.none() | st.booleans() | numbers | text | numbers.map(str)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))
records = st.fixed_dictionaries({}, optional={"mediaId": scalars, "tagKey": values, "reason": values})
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "code": values, "success": values, "rejected": values | st.lists(records, max_size=4) | records, "x": values,
    },
)  # fmt: skip
items = st.fixed_dictionaries({}, optional={"id": scalars, "storageUrl": values, "size": values})
good_items = st.fixed_dictionaries({"id": st.integers(0, MAX_ID), "storageUrl": text})
pages = st.fixed_dictionaries({"data": st.lists(good_items | items, max_size=5) | values}, optional={"code": values})


def as_body(value: object) -> bytes:
    return json.dumps(value).encode()


def mutated(body: bytes, cuts: list[tuple[int, int]]) -> bytes:
    """Bytes overwritten, and the rest cut off where the value is 256."""
    data = bytearray(body)
    for at, value in cuts:
        if data and value < 256:
            data[at % len(data)] = value
        elif data:
            del data[at % len(data) :]
    return bytes(data)


def bodies(structured: st.SearchStrategy) -> st.SearchStrategy[bytes]:
    damage = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 256)), max_size=3)
    whole = structured.map(as_body)
    return st.binary(max_size=200) | whole | values.map(as_body) | st.builds(mutated, whole, damage)


def fit_to_show(words: str) -> bool:
    """Printable, on one line, and something SQLite and a terminal can hold."""
    words.encode("utf-8")
    return words.isprintable() and len(words) < 1500


@fuzz
@given(
    status=st.integers(100, 599) | st.sampled_from([200, 201, 207]),
    body=bodies(envelopes),
    content_type=st.sampled_from(["", "application/json", "text/html;charset=x"]) | text,
    retry_after=st.none() | text | st.integers().map(str),
    cut=st.booleans(),
    said_yes=st.booleans(),
)
@example(200, b'{"rejected": [{"mediaId": 7, "tagKey": "\\ud800", "reason": "\\ud800"}]}', "", None, False, True)
@example(200, b'{"code": ' + b"9" * 5000 + b"}", "", None, False, True)
@example(200, b"[" * 100_000, "", None, False, True)
def test_every_answer_means_something(status, body, content_type, retry_after, cut, said_yes) -> None:
    reply = Reply("http://a/b", status, body, content_type, retry_after, cut)
    try:
        answer = classify(reply, said_yes=said_yes, now=NOW)
    except ApiError as error:
        assert fit_to_show(str(error))
        return
    if isinstance(answer, Yes):
        assert 200 <= status < 300
        for rejection in answer.rejected:
            assert isinstance(rejection, Rejection)
            assert fit_to_show(rejection.media_id) and fit_to_show(rejection.reason)
            assert rejection.tag is None or rejection.tag.encode("utf-8") is not None  # it is compared, never shown
    else:
        assert isinstance(answer, NotNow | TooLarge | BadRecords) and fit_to_show(answer.text)
    if isinstance(answer, NotNow) and answer.retry_after is not None:
        assert 0 <= answer.retry_after < math.inf


@fuzz
@given(body=bodies(pages), start=st.integers(0, MAX_ID))
@example(b'{"data": [{"id": "' + b"9" * 19 + b'", "storageUrl": "x"}]}', 0)
@example(b'{"data": [{"id": ' + b"9" * 5000 + b"}]}", 0)
@example(b'{"data": [{"id": "\xd9\xa1"}]}', 0)
def test_every_segment_is_a_page_that_advances_or_a_sentence(body, start) -> None:
    try:
        page = read_segment(Reply("http://a/b", 200, body), start)
    except ApiError as error:
        assert fit_to_show(str(error))
        return
    ids = [media.id for media in page]
    assert ids == sorted(set(ids)) and all(start <= number <= MAX_ID for number in ids)
    for media in page:
        assert type(media.wire_id) in (int, str) and int(media.wire_id) == media.id
        media.storage_url.encode("utf-8")


@fuzz
@given(
    value=st.text(max_size=40)
    | st.text(string.printable, max_size=40)
    | st.datetimes().map(lambda date: date.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    | st.from_regex(r"\A[A-Z][a-z]{2}, [0-9]{1,3} (Jan|Feb|Mai) [0-9]{1,6} [0-9:]{1,9} [-+A-Z0-9]{0,6}\Z")
)
@example("9" * 400)
@example("²")
@example("Thu, 01 Jan 99999 00:00:00 GMT")
@example("Thu, 01 Jan 1970 00:00:00 -9999")
def test_every_retry_after_is_a_time_or_nothing(value) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds < math.inf
