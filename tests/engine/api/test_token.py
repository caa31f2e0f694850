"""The token goes to the API and nowhere else."""

import json
from pathlib import Path

import pytest

from engine.api.addresses import ApiConfig
from engine.api.answers import shown_url
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
