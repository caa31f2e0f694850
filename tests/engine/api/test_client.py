"""The client against a service that is not ours, over real sockets."""

import asyncio
import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.api.addresses import ApiConfig
from engine.api.answers import BadRecords, NotNow, TooLarge, Yes
from engine.api.backoff import Backoff
from engine.api.client import MediaApi
from engine.api.messages import bulk_body, pairs, record_bodies, replace_body, tags_in
from engine.api.token import Token
from engine.errors import ApiAway, ApiError, ConfigError, Stopped, Unauthorized, WrongAddress
from engine.flow.channels import Stop
from engine.types import Media, TagScore
from tests.support.media_server import LOGIN_PAGE, MediaServer, always, at, randomly
from tests.support.media_server import Reply as Told

SECRET = "a-token-for-tests"
QUICK = Backoff(base_s=0.001, cap_s=0.002, longest_s=0.002, seed=1)
PEM = Path(__file__).parents[2] / "support" / "localhost.pem"


def api_for(server: MediaServer, *, stop: Stop | None = None, token: Token | None = None, **settings) -> MediaApi:
    config = ApiConfig(server.segment_url, server.recognition_url, server.bulk_url, backoff=QUICK, **settings)
    return MediaApi(config, token or Token(SECRET), stop)


def post(api: MediaApi, body: bytes = b"[]", key: str = "0" * 64):
    return api.run(api.post(body, key)).result(30)


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
    assert record_bodies(media, pairs([TagScore("^_^ü", 0.500)])) == (
        f'{{"mediaId": "{2**62}", "tagKey": "^_^ü", "similarity": "0.500"}}'.encode(),
    )


@given(st.lists(st.tuples(st.text(), st.floats(0, 1)), max_size=5), st.one_of(st.integers(0), st.just("12")), st.text())
@example([('"}, {"tagKey": "a', 0.5), ('a",', 0.25), ("\t\n\u2028\\", 1.0), ("[", 0.0)], 1, '"\n')
def test_bodies_are_as_json_writes_them_whatever_the_tags(
    tags: list[tuple[str, float]], wire_id: int | str, model: str
) -> None:
    media, text = Media(1, "a", wire_id), pairs(tags)
    fields = [{"tagKey": tag, "similarity": f"{score:05.3f}"} for tag, score in tags]
    records = [json.dumps({"mediaId": wire_id, **one}, ensure_ascii=False).encode() for one in fields]
    item = {"mediaId": wire_id, "model": model, "tags": fields}
    assert list(record_bodies(media, text)) == records
    assert replace_body(media, model, text) == json.dumps(item, ensure_ascii=False).encode()
    assert tags_in(text) == [tag for tag, _ in tags]


def test_a_file_version_is_text_whatever_it_was_and_a_version_of_the_entity_is_none() -> None:
    told = [
        {"id": 1, "storageUrl": "a", "fileVersion": "81234-17"},
        {"id": 2, "storageUrl": "b", "fileVersion": 17},
        {"id": 3, "storageUrl": "c", "version": 5},
        {"id": 4, "storageUrl": "d", "fileVersion": None},
        {"id": 5, "storageUrl": "e", "fileVersion": True},
    ]
    with MediaServer(page=lambda start, limit: {"data": told}) as server:
        api = api_for(server)
        assert [media.version for media in api.segment(0, 10)] == ["81234-17", "17", None, None, None]
        api.close()


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


@pytest.mark.parametrize("told", [Told(400, b"limit above 100"), Told(500, b"out of memory")])
def test_a_larger_segment_that_the_service_does_not_bear_is_not_asked_for_again(told: Told) -> None:
    large = lambda request: told if json.loads(request.body)["limit"] > 100 else None  # noqa: E731
    with MediaServer([(i, "a") for i in range(1000)], large) as server:
        api = api_for(server)
        assert len(api.segment(0, 100)) == len(api.segment(0, 200)) == len(api.segment(0, 400)) == 100
        api.close()
    assert [json.loads(request.body)["limit"] for request in server.requests] == [100, 200, 100, 100]


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
    body = bulk_body(record_bodies(media, pairs([TagScore("1girl", 0.998), TagScore("o_o", 1.000)])))
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


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "gzip, gzip, gzip", "br", "deflate"])
def test_an_encoding_that_was_not_asked_for_is_refused_unread(encoding: str) -> None:
    bomb = gzip.compress(gzip.compress(b'{"code": 200}' + b" " * 10_000_000))
    with MediaServer([(1, "a")], always(Told(200, bomb, {"Content-Encoding": encoding}))) as server:
        api = api_for(server)
        for ask in (lambda: api.segment(0, 1), lambda: post(api)):
            with pytest.raises(ApiError, match=r"encoding.*not asked"):
                ask()
        server.rules[0] = always(Told(503, bomb, {"Content-Encoding": encoding}))
        assert post(api) == NotNow("503 with an empty body")
        server.rules[0] = always(Told(200, b'{"code": 200}', {"Content-Encoding": "identity"}))
        assert post(api) == Yes()
        api.close()


# A first contact.


def never_answers(segment_url: str, text: str, **settings) -> None:
    config = ApiConfig(segment_url, segment_url, backoff=QUICK, **{"first_answer_s": 0.05, **settings})
    api = MediaApi(config, Token(SECRET))
    try:
        with pytest.raises(WrongAddress, match=text) as raised:
            api.segment(0, 10)
        assert "check the address" in str(raised.value)
    finally:
        api.close()


class Book:
    """Which addresses said yes, in memory."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def has_said_yes(self, address: str) -> bool:
        return address in self.known

    def note_yes(self, address: str) -> None:
        self.known.add(address)


def test_a_name_or_port_that_never_answered_ends_with_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    never_answers(f"http://127.0.0.1:{port}/x", f"nothing listens at 127.0.0.1:{port}")
    never_answers("http://no-such-host.invalid/x", "the name no-such-host.invalid is not known")
    never_answers(f"http://127.0.0.1:{port}/x", "nothing listens", first_answer_s=100, give_up_after_s=0.05)


def test_http_and_https_mistaken_for_each_other_end_with_a_sentence() -> None:
    with MediaServer([(1, "a")]) as server:
        never_answers(server.segment_url.replace("http:", "https:"), "is it http://")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with MediaServer([(1, "a")], tls=context) as server:
        never_answers(server.segment_url.replace("https:", "http:"), "is it https://")


def test_what_answered_before_is_waited_for() -> None:
    book = Book()
    with MediaServer([(1, "a")]) as server:
        api = api_for(server)
        api.close()
        api = MediaApi(ApiConfig(server.segment_url, server.recognition_url), Token(SECRET), book=book)
        assert api.segment(0, 1) and not api.has_said_yes(server.recognition_url)
        api.close()
        assert book.known == {server.segment_url, server.url}
    asked, attempts = threading.Event(), 0

    async def sleep(_: float) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 30:
            asked.set()
        await asyncio.sleep(0.001)

    stop = Stop()
    config = ApiConfig(server.segment_url, server.recognition_url, backoff=QUICK, first_answer_s=0.01)
    api = MediaApi(config, Token(SECRET), stop, sleep, book=book)
    after(asked, stop.set)
    with pytest.raises(Stopped):
        api.segment(0, 1)
    assert attempts >= 30
    api.close()


def test_a_service_that_answers_not_now_is_waited_for_from_the_first_time() -> None:
    with MediaServer([(1, "a")], lambda request: Told(503) if request.index < 20 else None) as server:
        api = api_for(server, first_answer_s=0.0)
        assert api.segment(0, 1)
        api.close()
    assert len(server.requests) == 21


# TLS and proxies.


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
