"""The token goes to the API and nowhere else; addresses, certificates, warnings."""

import json
import socket
import ssl
from pathlib import Path

import pytest

from engine.api.access import ApiConfig, Token, warnings
from engine.api.answers import shown_url
from engine.api.backoff import Backoff
from engine.api.client import MediaApi
from engine.errors import ApiError, ConfigError, Unauthorized
from engine.flow.channels import Stop
from tests.support.media_server import MediaServer, always, from_request, randomly
from tests.support.media_server import Reply as Told

SECRET = "a-token-for-tests"
QUICK = Backoff(base_s=0.001, cap_s=0.002, longest_s=0.002, seed=1)
PEM = Path(__file__).parents[2] / "support" / "localhost.pem"


def api_for(server: MediaServer, *, stop: Stop | None = None, token: Token | None = None, **settings) -> MediaApi:
    config = ApiConfig(server.segment_url, server.recognition_url, server.bulk_url, backoff=QUICK, **settings)
    return MediaApi(config, token or Token(SECRET), stop)


def post(api: MediaApi, body: bytes = b"[]", key: str = "0" * 64):
    return api.run(api.post(body, key)).result(30)


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
