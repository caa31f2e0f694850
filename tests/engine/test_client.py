"""The client against a service that is not ours, over real sockets."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.access import ApiConfig, Token, warnings
from engine.answers import BadRecords, NotNow, Rejection, Reply, TooLarge, Yes, classify, parse_retry_after, shown_url
from engine.backoff import Backoff
from engine.client import MediaApi
from engine.errors import ApiAway, ApiError, ConfigError, EngineError, Stopped, Unauthorized, WrongAddress
from engine.flow import Stop
from engine.types import Media, Record
from engine.wire import bulk_body, read_segment, record_body
from tests.support.media_server import LOGIN_PAGE, MediaServer, always, at, from_request, randomly
from tests.support.media_server import Reply as Told

SECRET = "a-token-for-tests"
QUICK = Backoff(base_s=0.001, cap_s=0.002, longest_s=0.002, seed=1)
URL = "http://localhost/post"
PEM = Path(__file__).parents[1] / "support" / "localhost.pem"


def api_for(server: MediaServer, *, stop: Stop | None = None, token: Token | None = None, **settings) -> MediaApi:
    config = ApiConfig(server.segment_url, server.recognition_url, server.bulk_url, backoff=QUICK, **settings)
    return MediaApi(config, token or Token(SECRET), stop)


def post(api: MediaApi, body: bytes = b"[]", key: str = "0" * 64):
    return api.run(api.post(body, key)).result(30)


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
        (200, b'{"success": false, "code": 20001}', NotNow),
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


def test_back_off_is_full_jitter_under_a_cap_and_heeds_the_server() -> None:
    backoff = Backoff(base_s=1, cap_s=8, longest_s=100, seed=3)
    for attempt, most in [(0, 1), (1, 2), (2, 4), (3, 8), (9, 8), (5000, 8)]:
        delays = [backoff.delay(attempt) for _ in range(200)]
        assert 0 <= min(delays) < most / 8
        assert most * 7 / 8 < max(delays) <= most
    assert backoff.delay(0, 42) == 42
    assert backoff.delay(0, 1e9) == 100
    assert backoff.delay(0, 0) <= 1


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


# Pages of the catalogue.


def test_segment_sends_and_reads_what_the_contract_says() -> None:
    with MediaServer([(1, "a/b.jpg"), (5, "ü.png"), (9, "c")]) as server:
        api = api_for(server)
        assert api.segment(1, 2) == [Media(1, "a/b.jpg", 1), Media(5, "ü.png", 5)]
        assert api.segment(6, 2) == [Media(9, "c", 9)]
        assert api.segment(10, 2) == []
        api.close()
    assert server.requests[0].body == b'{"segmentStart": 1, "limit": 2, "storageStatus": "ALL_DL"}'
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert server.violations == []


def test_ids_as_strings_go_back_as_strings() -> None:
    with MediaServer([(2**62, "a")], string_ids=True) as server:
        api = api_for(server)
        (media,) = api.segment(0, 10)
        api.close()
    assert media == Media(2**62, "a", str(2**62))
    assert record_body(media, Record("^_^ü", "0.500")) == (
        f'{{"mediaId": "{2**62}", "tagKey": "^_^ü", "similarity": "0.500"}}'.encode()
    )


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


def test_a_page_that_never_advances_stops() -> None:
    with MediaServer(page=lambda start, limit: {"data": [{"id": 1, "storageUrl": "a"}]}) as server:
        api = api_for(server)
        assert api.segment(1, 10)
        with pytest.raises(ApiError, match="never end"):
            api.segment(2, 10)
        api.close()


def test_segment_waits_for_a_service_that_says_not_now() -> None:
    replies = [Told(503), Told(429, b"", {"Retry-After": "1"}), Told(200, b'{"code": 500}'), Told(cut=True)]
    with MediaServer([(1, "a")], *(at([index], reply) for index, reply in enumerate(replies))) as server:
        api = api_for(server)
        assert [media.id for media in api.segment(0, 10)] == [1]
        api.close()
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("told", "error", "text"),
    [
        (Told(400, b"bad limit"), ApiError, "bad limit"),
        (Told(404), WrongAddress, "/api/segment"),
        (Told(302, b"", {"Location": "http://other.example/"}), WrongAddress, "302"),
        (LOGIN_PAGE, WrongAddress, "HTML page"),
        (Told(403), Unauthorized, "ENGINE_API_TOKEN"),
        (Told(200, b"[" * 65_536, endless=True), ApiError, "more than 100000 bytes"),
    ],
)
def test_segment_stops_where_waiting_cannot_help(told: Told, error: type[Exception], text: str) -> None:
    with MediaServer([(1, "a")], always(told)) as server:
        api = api_for(server, max_segment_bytes=100_000)
        with pytest.raises(error, match=text):
            api.segment(0, 10)
        api.close()
    assert len(server.requests) == 1


def test_segment_gives_up_in_time_and_says_what_to_do() -> None:
    with MediaServer([], always(Told(503, b"maintenance"))) as server:
        api = api_for(server, give_up_after_s=0.05)
        with pytest.raises(ApiAway, match=r"maintenance.*run the same command again"):
            api.segment(0, 10)
        api.close()


def test_stop_breaks_off_a_wait_and_a_hanging_request_at_once() -> None:
    release, arrived = threading.Event(), threading.Event()

    def hang(_: object) -> Told:
        arrived.set()
        return Told(wait=release)

    with MediaServer([], hang) as server:
        stop = Stop()
        api = api_for(server, stop=stop)
        after(arrived, stop.set)
        with pytest.raises(Stopped):
            api.segment(0, 10)
        with pytest.raises(Stopped):
            api.segment(0, 10)
        api.close()
        api.close()
        with pytest.raises(Stopped):
            api.segment(0, 10)
        release.set()

    sleeping, stop = threading.Event(), Stop()

    async def sleep(_: float) -> None:
        sleeping.set()
        await asyncio.Event().wait()

    with MediaServer([], always(Told(503))) as server:
        api = MediaApi(ApiConfig(server.segment_url, server.recognition_url), Token(SECRET), stop, sleep)
        after(sleeping, stop.set)
        with pytest.raises(Stopped):
            api.segment(0, 10)
        api.close()


def after(event: threading.Event, call: Callable[[], None]) -> None:
    """Call something as soon as the event is set."""

    def wait() -> None:
        event.wait(30)
        call()

    threading.Thread(target=wait, daemon=True).start()


# Posting.


def test_post_reports_what_the_service_means() -> None:
    media = Media(7, "x", 7)
    body = bulk_body([record_body(media, Record("1girl", "0.998")), record_body(media, Record("o_o", "1.000"))])
    with MediaServer(
        [], at([1], Told(413)), at([2], Told(422, b"bad tag")), at([3], Told(cut=True, store=True))
    ) as server:
        api = api_for(server)
        assert post(api, body) == Yes()
        assert isinstance(post(api, body), TooLarge)
        assert post(api, body) == BadRecords("422: bad tag")
        answer = post(api, body)
        assert isinstance(answer, NotNow)
        assert answer.reached
        api.close()
    assert server.violations == []
    assert server.store == {("7", "1girl"): "0.998", ("7", "o_o"): "1.000"}
    assert body == (
        b'[{"mediaId": 7, "tagKey": "1girl", "similarity": "0.998"}, '
        b'{"mediaId": 7, "tagKey": "o_o", "similarity": "1.000"}]'
    )


def test_no_answer_in_time_and_no_service_are_told_apart() -> None:
    release = threading.Event()
    with MediaServer([], always(Told(wait=release))) as server:
        api = api_for(server, timeout_s=0.1)
        assert post(api) == NotNow("no answer within 0 s")
        release.set()
        api.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    api = MediaApi(ApiConfig("http://localhost/", f"http://127.0.0.1:{port}/x"), Token())
    answer = post(api)
    assert isinstance(answer, NotNow)
    assert not answer.reached
    api.close()


def test_an_endless_answer_to_a_post_is_not_a_yes() -> None:
    with MediaServer([], always(Told(200, b'"x', endless=True))) as server:
        api = api_for(server, max_answer_bytes=10_000)
        with pytest.raises(ApiError, match="more than 10000 bytes"):
            post(api)
        api.close()


# The token.


def test_a_renewed_token_file_is_read_again_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET, encoding="utf-8")
    with MediaServer([(1, "a")]) as server:
        api = api_for(server, token=Token(file=file))
        assert api.segment(0, 1)
        server.token = "the-next-one"
        with pytest.raises(Unauthorized):
            api.segment(0, 1)
        assert len(server.requests) == 2  # the same token is not tried twice
        file.write_text("\ufeffthe-next-one\r\n", encoding="utf-8")
        assert api.segment(0, 1)
        assert len(server.requests) == 4
        server.rules.append(from_request(4, Told(401)))
        file.write_text("a-third-one", encoding="utf-8")
        with pytest.raises(Unauthorized):
            api.segment(0, 1)
        assert len(server.requests) == 6
        api.close()


def test_the_token_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret = 'p"ss/w0rd'
    token = Token(secret)
    echo = json.dumps({"message": f"who is Bearer {secret}?"}).encode()
    assert secret not in f"{token} {token!r} {[token]} {vars(ApiConfig('http://a/', 'http://b/'))}"
    for status in (401, 400, 500, 404, 413):
        with MediaServer([], always(Told(status, echo)), token=secret) as server:
            api = api_for(server, token=token)
            try:
                text = repr(post(api))
            except ApiError as error:
                text = str(error) + repr(error)
            assert "w0rd" not in text
            assert "who is Bearer ***" in text
            api.close()
    assert "w0rd" not in caplog.text
    assert shown_url("https://me:hidden@host:8443/a/b?token=hidden#x") == "https://host:8443/a/b"


def test_token_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Token(file=tmp_path / "none")
    for content, why in [
        (b"", "empty"),
        (b"two words", "space"),
        (b"\x81\x82", "not a text"),
        ("tökn".encode(), "HTTP"),
    ]:
        file = tmp_path / "token"
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=why):
            Token(file=file)
    file.write_text(SECRET, encoding="utf-16")
    assert Token(file=file).value == SECRET


def test_warnings_about_open_files_and_open_wires(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET, encoding="utf-8")
    far = ApiConfig("http://nas.local:8080/segment", "https://nas.local/r")
    near = ApiConfig("http://127.0.0.1:1/s", "http://localhost/r", "http://[::1]:2/b")
    file.chmod(0o600)
    assert warnings(near, Token(file=file)) == []
    assert warnings(far, Token()) == []
    (sentence,) = warnings(far, Token(file=file))
    assert "unencrypted to nas.local" in sentence
    file.chmod(0o644)
    assert ("chmod 600" in "".join(warnings(near, Token(file=file)))) == (hasattr(socket, "AF_UNIX"))


@pytest.mark.parametrize("url", ["", "host/path", "ftp://host/", "http://", "http://h:99999/", "http://a b/"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        ApiConfig(url, "http://host/")


# TLS.


def test_tls_is_verified_and_an_own_authority_possible(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with MediaServer([(1, "a")], tls=context) as server:
        api = api_for(server)
        with pytest.raises(ApiError, match="ca_file"):
            api.segment(0, 1)
        api.close()
        api = api_for(server, ca_file=PEM)
        assert api.segment(0, 1)
        api.close()
    with pytest.raises(ConfigError, match="certificate file"):
        api_for(server, ca_file=tmp_path / "none.pem")


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with MediaServer([(1, "a")], randomly(0.0, [Told(500)])) as server:
        api = api_for(server, give_up_after_s=0.0)
        assert api.segment(0, 1)
        api.close()
