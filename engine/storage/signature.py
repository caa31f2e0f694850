"""AWS Signature Version 4 of requests to S3.

docs.aws.amazon.com, "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)". The path is
signed as it is sent: S3 takes `//` and `.` as parts of a name, and so must its client.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote


class Keys(NamedTuple):
    """Credentials; they never show their secret."""

    access_key: str
    secret_key: str
    session_token: str = ""
    expires: datetime | None = None

    def __repr__(self) -> str:
        return f"Keys({self.access_key})"


def encoded(text: str, *, safe: str = "") -> str:
    """Percent-encoded as AWS wants it: all but letters, digits and `-_.~`."""
    return quote(text, safe=safe)


def query(values: Mapping[str, str]) -> str:
    """A query string in the order that is signed."""
    return "&".join(f"{encoded(name)}={encoded(values[name])}" for name in sorted(values))


def signed(
    method: str, host: str, path: str, query: str, keys: Keys, region: str, time: datetime, *, body: bytes = b""
) -> dict[str, str]:
    """The headers of a request besides `Host`, its signature among them.

    Args:
        path: encoded, as it is sent.
        query: encoded and sorted, without `?`.
        time: in UTC; servers take 15 minutes of difference to their own clock.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    if keys.session_token:
        headers["x-amz-security-token"] = keys.session_token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_signing_key(keys.secret_key, scope), text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    del headers["host"]
    return headers


@lru_cache(8)
def _signing_key(secret: str, scope: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
