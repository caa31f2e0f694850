"""The token goes to the API and nowhere else."""

import html
import json
import math
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from engine.api.addresses import ApiConfig
from engine.api.answers import Reply, shown_url
from engine.api.backoff import Backoff
from engine.api.client import MediaApi
from engine.api.token import Token
from engine.errors import ApiError, ConfigError, Unauthorized
from tests.support.media_server import MediaServer, always, from_request
from tests.support.media_server import Reply as Told

SECRET = "a-token-for-tests"
QUICK = Backoff(base_s=0.001, cap_s=0.002, longest_s=0.002, seed=1)


def api_for(server: MediaServer, *, token: Token | None = None, **settings) -> MediaApi:
    config = ApiConfig(server.segment_url, server.recognition_url, server.bulk_url, backoff=QUICK, **settings)
    return MediaApi(config, token or Token(SECRET))


def post(api: MediaApi, body: bytes = b"[]", key: str = "0" * 64):
    return api.run(api.post(body, key)).result(30)


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


@pytest.mark.parametrize("url", ["nas:8080/list", "nas/list", "me:hidden@nas/list?token=hidden#x"])
def test_an_address_without_a_scheme_is_shown_as_it_was_given(url: str) -> None:
    assert shown_url(url) in ("nas:8080/list", "nas/list")


BARE = "Zm9v/Ym-Fy+c2VjcmV0=&<wort>"
NOTHING = Token()


def each(form: str) -> str:
    return "".join(form.format(ord(character)) for character in BARE)


@pytest.mark.parametrize(
    "form",
    [
        BARE,
        json.dumps(BARE)[1:-1].replace("/", "\\/"),
        json.dumps(json.dumps(BARE)),
        each("\\u{:04x}"),
        each("\\u{:04X}"),
        each("\\x{:02x}"),
        quote(BARE, safe=""),
        each("%{:02x}"),
        quote(quote(BARE, safe=""), safe=""),
        each("%{:02X}"),
        html.escape(BARE),
        html.escape(html.escape(BARE)),
        each("&#{};"),
        each("&#x{:x};"),
        each("&#x{:04X}"),
        BARE[2:-2],
        BARE[:12],
        BARE[-12:],
    ],
)
def test_a_token_is_hidden_however_it_comes_back(form: str) -> None:
    shown = Token(BARE).scrub(f"who is {form}? {form}")
    assert shown.startswith("who is ") and "***" in shown
    shown = shown.replace("who is ", "")
    plain = html.unescape(unquote(unquote(shown.replace("\\", ""))))
    parts = {text[i : i + 8] for text in (BARE, form) for i in range(len(text) - 7)}
    assert not [part for part in parts if part in shown or part in plain]


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "x", "xx", "xxx", "Bearer ", "user:"])
@pytest.mark.parametrize("after", ["", "y", "yy", " and more"])
def test_a_token_is_hidden_in_base64(encode: Callable[[bytes], bytes], before: str, after: str) -> None:
    form = encode(f"{before}{BARE}{after}".encode()).decode()
    shown = Token(BARE).scrub(f"who is {form}?")
    first, last = math.ceil(8 * len(before) / 6), 8 * len(before + BARE) // 6  # the digits of the token alone
    assert shown == f"who is {form[:first]}***{form[last:]}?"


@pytest.mark.parametrize(
    "text", ["", "who are you?", "a\\u0041 %41 &amp; &#65; \\", "tag 1 of 2: 赤 \U0001f600", BARE[:7]]
)
def test_other_text_is_left_alone(text: str) -> None:
    assert Token(BARE).scrub(text) == text == NOTHING.scrub(text)


def test_a_long_text_is_searched_in_no_time() -> None:
    reply = Reply("http://a", 400, b"x" * 30_000_000, scrub=Token(BARE).scrub)
    start = time.monotonic()
    assert len(reply.shown()) == 301
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("kind", ["plain", "nested", "long", "NUL"])
def test_a_token_given_where_its_file_belongs_is_not_shown(tmp_path: Path, kind: str) -> None:
    given = {"plain": SECRET, "nested": f"no/such/{SECRET}", "long": SECRET * 100, "NUL": SECRET + "\0"}[kind]
    with pytest.raises(ConfigError, match="not the token itself") as raised:
        Token(file=Path(given))
    assert SECRET not in str(raised.value)


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
