"""Where the S3 settings come from: the variables and files that the tools of AWS use.

In the order of AWS: keys in the environment; the profile that AWS_PROFILE names (or `default`) in ~/.aws/credentials
and ~/.aws/config, with its keys or its `credential_process`; a container's credentials, if a variable
AWS_CONTAINER_CREDENTIALS_…_URI names them; the metadata service of an EC2 machine, if it is asked for. Where there is
none, as on a NAS, each question to that service waits for a time-out.
"""

import configparser
import json
import shlex
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from engine.errors import ConfigError, Kind, StorageError
from engine.storage.signature import Keys

METADATA = "http://169.254.169.254"  # EC2's address; AWS_EC2_METADATA_SERVICE_ENDPOINT names another
_CONTAINER = "http://169.254.170.2"
_WAIT = 3.0  # seconds for a service on this machine or beside it
_EARLY = timedelta(minutes=5)  # credentials are renewed so long before their end


@dataclass(frozen=True)
class S3Settings:
    """What the environment and the files say.

    Attributes:
        endpoint: of a server that is not AWS, `http://nas:9000`; empty for AWS.
        virtual_host: the bucket is part of the host name, as AWS has it; else the first part of the path.
        credentials: None for requests without a signature (a public bucket).
        ca_bundle: a file of certificates to trust.
    """

    endpoint: str
    region: str
    virtual_host: bool | None
    credentials: "Credentials | None"
    ca_bundle: Path | None


class Credentials:
    """Keys that may have to be renewed; used by many threads."""

    def __init__(self, fetch: Callable[[], Keys], source: str) -> None:
        """`source` is what a message calls the place where they are kept."""
        self.source = source
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: Keys | None = None

    def keys(self) -> Keys:
        """The keys of this moment. Raises `StorageError` where they cannot be had."""
        keys = self._keys
        if keys is None or (keys.expires and keys.expires - datetime.now(UTC) < _EARLY):
            with self._lock:
                if self._keys is None or self._keys is keys:
                    self._keys = self._fetch()
                return self._keys
        return keys

    def renew(self, refused: Keys) -> bool:
        """Reads keys again that the server calls expired; True if they are others now."""
        with self._lock:
            if self._keys is refused:
                self._keys = self._fetch()
            return self._keys != refused


def s3_settings(environment: Mapping[str, str]) -> S3Settings:
    """Reads variables and files.

    Raises:
        ConfigError: a file cannot be read, or a profile is named that is in none.
        StorageError: there are no credentials.
    """
    profile = _profile(environment)

    def setting(*names: str, key: str = "", default: str = "") -> str:
        return next((environment[name] for name in names if environment.get(name)), profile.get(key, "") or default)

    style = environment.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST") or _nested(profile.get("s3", ""), "addressing_style")
    bundle = setting("AWS_CA_BUNDLE", key="ca_bundle")
    return S3Settings(
        endpoint=setting("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", key="endpoint_url").strip(),
        region=setting("AWS_REGION", "AWS_DEFAULT_REGION", key="region", default="us-east-1"),
        virtual_host={"true": True, "virtual": True, "false": False, "path": False}.get(style.lower()),
        credentials=None if _true(environment, "AWS_SKIP_SIGNATURE") else _credentials(environment, profile),
        ca_bundle=Path(bundle).expanduser() if bundle else None,
    )


def _credentials(environment: Mapping[str, str], profile: Mapping[str, str]) -> Credentials:
    access, secret = environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", "")
    if access or secret:
        if not (access and secret):
            raise ConfigError("of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set: S3 needs both")
        keys = Keys(access.strip(), secret.strip(), environment.get("AWS_SESSION_TOKEN", "").strip())
        return Credentials(lambda: keys, "the environment")
    if profile.get("aws_access_key_id"):
        return Credentials(lambda: _of_profile(_profile(environment)), f"the profile {_name(environment)}")
    if command := profile.get("credential_process"):
        return Credentials(lambda: _of_process(command), f"the command of the profile {_name(environment)}")
    uri, relative = (environment.get(f"AWS_CONTAINER_CREDENTIALS_{kind}_URI") for kind in ("FULL", "RELATIVE"))
    if uri or relative:
        headers = {"Authorization": environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")}
        url = f"{_CONTAINER}{relative}" if relative else str(uri)
        return Credentials(lambda: _keys(_get(url, headers)), "the container's credentials")
    if (
        environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "false"
        or profile.get("credential_source") == "Ec2InstanceMetadata"
    ):
        base = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or METADATA
        return Credentials(lambda: _of_metadata(base.rstrip("/")), "the metadata service")
    raise StorageError(
        "there are no keys for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a bucket that "
        "is open to all AWS_SKIP_SIGNATURE=true; on a machine of EC2 AWS_EC2_METADATA_DISABLED=false",
        Kind.MISCONFIGURED,
    )


def _name(environment: Mapping[str, str]) -> str:
    return environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or "default"


def _profile(environment: Mapping[str, str]) -> dict[str, str]:
    """All settings of the profile; those of the credentials file win."""
    home = Path(environment.get("HOME") or environment.get("USERPROFILE") or "~")
    name = _name(environment)
    found: dict[str, str] = {}
    here = False
    for variable, default, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        file = Path(environment.get(variable) or home / ".aws" / default).expanduser()
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(file, encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            raise ConfigError(f"{file} cannot be read: {type(error).__name__}") from None  # its text would hold secrets
        if parser.has_section(section):
            found |= dict(parser.items(section))
            here = True
    if not here and name != "default":
        raise ConfigError(f"AWS_PROFILE names the profile {name}, which is not in ~/.aws/credentials or ~/.aws/config")
    return found


def _of_profile(profile: Mapping[str, str]) -> Keys:
    return Keys(
        profile.get("aws_access_key_id", ""),
        profile.get("aws_secret_access_key", ""),
        profile.get("aws_session_token", ""),
    )


def _of_process(command: str) -> Keys:
    """docs.aws.amazon.com, "Process credential provider": a command that prints JSON."""
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=60, check=True)  # noqa: S603 - the user's
        return _keys(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise StorageError(
            f"credential_process gives no keys for S3 ({type(error).__name__}): run it by hand", Kind.MISCONFIGURED
        ) from None


def _of_metadata(base: str) -> Keys:
    """docs.aws.amazon.com, "Use the Instance Metadata Service": version 2."""
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
    token = {"X-aws-ec2-metadata-token": _text(f"{base}/latest/api/token", ttl, "PUT")}
    roles = f"{base}/latest/meta-data/iam/security-credentials/"
    return _keys(_get(roles + _text(roles, token).split("\n")[0].strip(), token))


def _keys(values: Any) -> Keys:  # noqa: ANN401 - JSON
    try:
        end = str(values.get("Expiration") or "").replace("Z", "+00:00")
        token = values.get("SessionToken") or values.get("Token") or ""
        return Keys(
            values["AccessKeyId"], values["SecretAccessKey"], token, datetime.fromisoformat(end) if end else None
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"what was given as keys for S3 holds none ({type(error).__name__})") from None


def _get(url: str, headers: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(_text(url, headers))
    except ValueError:
        raise StorageError(f"{url} gives no keys for S3, but something else", Kind.MISCONFIGURED) from None


def _text(url: str, headers: Mapping[str, str], method: str = "GET") -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url} is no address of a metadata service")
    request = Request(url, headers={name: value for name, value in headers.items() if value}, method=method)  # noqa: S310
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_WAIT) as answer:
            return str(answer.read(1 << 16), "utf-8", "replace")
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise StorageError(f"{url} gives no keys for S3 ({reason})", Kind.AWAY) from None


def _nested(text: str, key: str) -> str:
    """A value of a nested section of ~/.aws/config: `s3 =` and indented lines below it."""
    pairs = (line.partition("=") for line in text.splitlines())
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")


def _true(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("1", "true", "yes")
