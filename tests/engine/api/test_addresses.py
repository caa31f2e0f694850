"""Which addresses of the media API are taken, and what is said about those that should not stay."""

import socket
from pathlib import Path

import pytest

from engine.api.addresses import ApiConfig, warnings
from engine.api.token import Token
from engine.errors import ConfigError

SECRET = "a-token-for-tests"


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
