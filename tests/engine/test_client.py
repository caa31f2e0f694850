"""The client against a service that is not ours, over real sockets."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.access import ApiConfig, Token, warnings
from engine.answers import BadRecords, NotNow, TooLarge, Yes, shown_url
from engine.backoff import Backoff
from engine.client import MediaApi
from engine.errors import ApiAway, ApiError, ConfigError, Stopped, Unauthorized, WrongAddress
from engine.flow import Stop
from engine.types import Media, Record
from engine.wire import bulk_body, record_body
from tests.support.media_server import LOGIN_PAGE, MediaServer, always, at, from_request, randomly
from tests.support.media_server import Reply as Told

SECRET = "a-token-for-tests"
QUICK = Backoff(base_s=0.001, cap_s=0.002, longest_s=0.002, seed=1)
PEM = Path(__file__).parents[1] / "support" / "localhost.pem"


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
    assert record_body(media, Record("^_^ü", "0.500")) == (
        f'{{"mediaId": "{2**62}", "tagKey": "^_^ü", "similarity": "0.500"}}'.encode()
    )


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
