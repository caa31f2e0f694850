"""Credentials as the tools of AWS have them; no question to a metadata service that nobody asked for."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.errors import ConfigError, StorageError
from engine.storage.credentials import s3_settings
from engine.storage.signature import Keys
from tests.support.file_server import FileServer, Reply


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = of-default\naws_secret_access_key = s1\n\n"
        "[nas]\naws_access_key_id = of-nas\naws_secret_access_key = s2\naws_session_token = t2\n",
        encoding="utf-8",
    )
    (folder / "config").write_text(
        "[default]\nregion = eu-north-1\n\n[profile nas]\nregion = garage\nendpoint_url = http://nas:9000\n"
        "s3 =\n  max_concurrent_requests = 4\n  addressing_style = virtual\n",
        encoding="utf-8",
    )
    return tmp_path


def keys(**environment: str) -> Keys:
    credentials = s3_settings(environment).credentials
    assert credentials
    return credentials.keys()


def test_the_environment_comes_first(home: Path) -> None:
    found = keys(AWS_ACCESS_KEY_ID="k", AWS_SECRET_ACCESS_KEY="s", AWS_SESSION_TOKEN="t", HOME=str(home))
    assert found == ("k", "s", "t", None)
    assert "s" not in repr(found).removeprefix("Keys")


def test_the_profile_default_and_the_one_that_is_named(home: Path) -> None:
    assert keys(HOME=str(home))[:2] == ("of-default", "s1")
    assert s3_settings({"HOME": str(home)}).region == "eu-north-1"
    settings = s3_settings({"HOME": str(home), "AWS_PROFILE": "nas"})
    assert (settings.region, settings.endpoint, settings.virtual_host) == ("garage", "http://nas:9000", True)
    assert keys(HOME=str(home), AWS_PROFILE="nas") == ("of-nas", "s2", "t2", None)


def test_variables_win_over_the_profile(home: Path) -> None:
    settings = s3_settings(
        {
            "HOME": str(home),
            "AWS_PROFILE": "nas",
            "AWS_ENDPOINT_URL": "http://other:1",
            "AWS_REGION": "r",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        }
    )
    assert (settings.region, settings.endpoint, settings.virtual_host) == ("r", "http://other:1", False)


def test_files_may_lie_elsewhere(home: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (home / ".aws" / "credentials").rename(moved)
    assert keys(AWS_SHARED_CREDENTIALS_FILE=str(moved), HOME="/nowhere")[0] == "of-default"


def test_a_file_that_is_broken_does_not_show_its_secrets(home: Path) -> None:
    (home / ".aws" / "credentials").write_text("aws_secret_access_key = very-secret\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="credentials cannot be read") as caught:
        s3_settings({"HOME": str(home)})
    assert "very-secret" not in str(caught.value)


def test_a_command_of_the_profile(home: Path) -> None:
    given = json.dumps({"Version": 1, "AccessKeyId": "c", "SecretAccessKey": "s", "Expiration": "2099-01-01T00:00:00Z"})
    script = home / "keys.py"
    script.write_text(f"print({given!r})", encoding="utf-8")
    config = home / ".aws" / "config"
    config.write_text(f'[profile own]\ncredential_process = "{sys.executable}" "{script}"\n', encoding="utf-8")
    found = keys(HOME=str(home), AWS_PROFILE="own")
    assert found[:2] == ("c", "s") and found.expires and found.expires.year == 2099
    script.write_text("raise SystemExit(3)", encoding="utf-8")
    with pytest.raises(StorageError, match="credential_process gives no keys"):
        keys(HOME=str(home), AWS_PROFILE="own")


def test_the_metadata_service_is_asked_only_where_it_is_named(tmp_path: Path) -> None:
    role = json.dumps({"AccessKeyId": "m", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"})

    def rule(path: str, headers: dict[str, str]) -> Reply | None:
        if path == "/latest/api/token" and headers["x-aws-ec2-metadata-token-ttl-seconds"]:
            return Reply(body=b"a-token")
        return None if headers.get("x-aws-ec2-metadata-token") == "a-token" else Reply(401)

    prefix = "/latest/meta-data/iam/security-credentials/"
    with FileServer({prefix: b"role\n", prefix + "role": role.encode()}, rule) as server:
        environment = {"HOME": str(tmp_path), "AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url}
        with pytest.raises(StorageError, match="no keys for S3"):
            s3_settings(environment)
        assert not server.requests
        assert keys(**environment, AWS_EC2_METADATA_DISABLED="false")[:3] == ("m", "s", "t")


def test_a_containers_keys_are_renewed_before_they_end() -> None:
    bodies = iter(["2000-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])

    def rule(path: str, headers: dict[str, str]) -> Reply | None:
        assert headers["authorization"] == "proof"
        body = {"AccessKeyId": "c", "SecretAccessKey": "s", "Token": "t", "Expiration": next(bodies)}
        return Reply(body=json.dumps(body).encode())

    with FileServer({}, rule) as server:
        environment = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/keys",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "proof",
            "HOME": "/nowhere",
        }
        credentials = s3_settings(environment).credentials
        assert credentials
        assert credentials.keys().expires == datetime(2000, 1, 1, tzinfo=UTC)
        assert credentials.keys().expires == credentials.keys().expires == datetime(2099, 1, 1, tzinfo=UTC)
        assert len(server.requests) == 2


def test_requests_without_a_signature(tmp_path: Path) -> None:
    assert s3_settings({"HOME": str(tmp_path), "AWS_SKIP_SIGNATURE": "true"}).credentials is None
