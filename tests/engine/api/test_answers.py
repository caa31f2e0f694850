"""What an answer means, row by row of the contract's table, and what is read from a page. No network."""

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.answers import BadRecords, NotNow, Rejection, Reply, TooLarge, Yes, classify, parse_retry_after
from engine.api.messages import read_segment
from engine.errors import ApiError, EngineError, Unauthorized, WrongAddress
from engine.types import Media

URL = "http://localhost/post"


# What an answer means: a row of the contract's table each.

HTML = b"<!DOCTYPE html><p>please sign in"


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, b"", Yes),
        (204, b"", Yes),
        (201, b"stored", Yes),
        (200, b'{"code": 200}', Yes),
        (200, b'{"code": "0", "data": 1}', Yes),
        (200, b'{"success": true, "code": null}', Yes),
        (200, b"[1, 2]", Yes),
        (200, b"[" * 100_000, Yes),
        (200, b'{"code": 500, "msg": "busy"}', NotNow),
        (200, b'{"code": "503"}', NotNow),
        (200, b'{"success": false}', NotNow),
        (200, b'{"success": false, "code": 503}', NotNow),
        (200, b'{"code": 401}', Unauthorized),
        (200, b'{"code": "403"}', Unauthorized),
        (200, HTML, WrongAddress),
        (200, b"\xef\xbb\xbf \n" + HTML, WrongAddress),
        (401, b"", Unauthorized),
        (403, b"", Unauthorized),
        (413, b"", TooLarge),
        *((status, b"", WrongAddress) for status in (301, 302, 304, 307, 308, 404, 405, 406, 415, 501)),
        *((status, b"", NotNow) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
        *((status, b"", BadRecords) for status in (400, 402, 407, 409, 410, 411, 414, 418, 422, 451)),
    ],
)
def test_table_of_answers(status: int, body: bytes, meaning: type) -> None:
    reply = Reply(URL, status, body)
    if issubclass(meaning, EngineError):
        with pytest.raises(meaning, match="http://localhost/post"):
            classify(reply)
    else:
        assert type(classify(reply)) is meaning


def test_plain_text_labelled_html_is_a_yes_and_a_page_is_not() -> None:
    assert classify(Reply(URL, 200, b"ok", "text/html;charset=UTF-8")) == Yes()
    with pytest.raises(WrongAddress, match="login page"):
        classify(Reply(URL, 200, b"<?xml version='1.0'?><html/>", "text/html"))


def test_unknown_code_stops_before_the_first_yes_and_is_a_no_after_it() -> None:
    reply = Reply(URL, 200, b'{"code": 20000, "msg": "success"}')
    with pytest.raises(ApiError) as error:
        classify(reply)
    assert 'ok_codes = ["0", "200", "20000"]' in str(error.value)
    assert '"msg": "success"' in str(error.value)
    assert isinstance(classify(reply, said_yes=True), NotNow)
    assert classify(reply, ok_codes=("20000",)) == Yes()
    with pytest.raises(ApiError):  # a "no" that would be asked for ever: whoever set it up must see it
        classify(Reply(URL, 200, b'{"success": false, "code": 20001}'))
    with pytest.raises(ApiError):
        classify(Reply(URL, 200, b'{"code": false}'))  # False == 0 in Python, not here


def test_rejected_records_are_read_and_an_unreadable_list_stops() -> None:
    body = {"rejected": [{"mediaId": 7, "tagKey": "x", "reason": "no\nsuch tag"}, {"mediaId": "8"}]}
    assert classify(Reply(URL, 207, json.dumps(body).encode())) == Yes(
        (Rejection("7", "x", "no such tag"), Rejection("8", None, "no reason given"))
    )
    assert classify(Reply(URL, 200, b'{"rejected": null}')) == Yes()
    for value in ([1], [{"mediaId": None}], [{"mediaId": True}], "all", {"count": 3}):
        with pytest.raises(ApiError, match="cannot be read"):
            classify(Reply(URL, 207, json.dumps({"rejected": value}).encode()))


def test_retry_after_in_both_forms() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert parse_retry_after("120", now) == 120
    assert parse_retry_after(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert parse_retry_after(format_datetime(now - timedelta(seconds=90), usegmt=True), now) == 0
    assert parse_retry_after("Thu, 01 Jan 2026 00:00:10 -0000", now) == 10
    assert [parse_retry_after(text, now) for text in (None, "", "soon", "-5", "1e9", "9" * 30)] == [None] * 6
    answer = classify(Reply(URL, 503, retry_after="7"))
    assert isinstance(answer, NotNow)
    assert answer.retry_after == 7


@given(st.binary(max_size=300), st.integers(200, 599), st.text(max_size=20))
def test_no_answer_whatever_crashes(body: bytes, status: int, header: str) -> None:
    reply = Reply(URL, status, body, "application/json", header)
    for read in (classify, lambda r: read_segment(r, 0)):
        try:
            read(reply)
        except EngineError as error:
            assert str(error).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["data", "id", "storageUrl", "code", "success", "rejected", "mediaId"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_no_json_whatever_crashes(value: object, said_yes: bool) -> None:
    reply = Reply(URL, 200, json.dumps({"data": value} if said_yes else value).encode())
    for read in (lambda r: classify(r, said_yes=said_yes), lambda r: read_segment(r, 0)):
        try:
            found = read(reply)
        except EngineError:
            continue
        for media in found if isinstance(found, list) else []:
            assert 0 <= media.id < 2**63
            media.storage_url.encode()


# A page of the catalogue.


def segment_reply(*items: object) -> Reply:
    return Reply("http://host/segment", 200, json.dumps({"data": items, "total": 3}).encode())


def test_a_page_may_be_unordered_repeated_and_reach_behind() -> None:
    page = segment_reply(
        {"id": 9, "storageUrl": "i", "more": 1}, {"id": 7, "storageUrl": "g"}, {"id": 3, "storageUrl": "c"},
        {"id": 9, "storageUrl": "new"}, {"id": 8, "storageUrl": None}, {"id": "07", "storageUrl": "\ud800"},
    )  # fmt: skip
    assert read_segment(page, 7) == [Media(7, "\\ud800", "07"), Media(8, "", 8), Media(9, "new", 9)]


@pytest.mark.parametrize("bad", [-1, 2**63, True, 1.0, None, "", "x1", "-1", "1" * 20, "٣", [1], {}])
def test_an_id_that_is_none_stops_and_is_shown(bad: object) -> None:
    with pytest.raises(ApiError, match="id is not a whole number"):
        read_segment(segment_reply({"id": 1, "storageUrl": "a"}, {"id": bad, "storageUrl": "b"}), 0)


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"{}", b'{"data": null, "msg": "no"}', b'{"data": {}}'])
def test_a_page_without_data_stops_and_shows_the_body(body: bytes) -> None:
    with pytest.raises(ApiError) as error:
        read_segment(Reply("http://host/segment", 200, body), 0)
    assert (body.decode() or "an empty body") in str(error.value)


@pytest.mark.parametrize(("code", "setting"), [("true", "true"), ("20000", "20000"), ('"OK"', "OK"), ("1.5", "1.5")])
def test_the_advice_for_ok_codes_works(code: str, setting: str) -> None:
    reply = Reply("http://a", 200, f'{{"code": {code}}}'.encode())
    with pytest.raises(ApiError, match=re.escape(json.dumps(["0", "200", setting]))):
        classify(reply)
    assert classify(reply, ok_codes=["0", "200", setting]) == Yes()


@pytest.mark.parametrize("code", ["[1]", '{"a": 1}', '"' + "x" * 400 + '"'])
def test_no_advice_where_no_setting_helps(code: str) -> None:
    with pytest.raises(ApiError, match="not known to mean yes") as raised:
        classify(Reply("http://a", 200, f'{{"code": {code}}}'.encode()))
    assert "ok_codes" not in str(raised.value)


@pytest.mark.parametrize("start", ["<!DOCTYPE HTML>\n<html>", "<html lang='en'>"])
def test_of_an_html_page_only_the_title_is_said(start: str) -> None:
    page = f"{start}<head><style>p {{}}</style><title> Not &amp; yet </title></head><body>a long page</body></html>"
    assert Reply(URL, 501, page.encode(), "text/html").shown() == "Not & yet"
    assert "a long page" in Reply(URL, 501, page.replace("title", "b").encode(), "text/html").shown()
    assert Reply(URL, 501, b'{"message": "<html><title>x</title>"}').shown() == '{"message": "<html><title>x</title>"}'
