"""Pictures in a bucket of S3: AWS, MinIO, SeaweedFS, Ceph, and all that speak its protocol.

Two requests are asked: GET of an object, HEAD for its state. A first look lists one key; the right to list is not
needed, as a server that says "access denied" to it has taken the keys and knows the bucket.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape

from engine.errors import ConfigError, EngineError, Kind, StorageError, Unreadable
from engine.storage.access import LOOK, Access
from engine.storage.connections import Answer, Server, file_state, kind_of_status, shown, split
from engine.storage.credentials import s3_settings
from engine.storage.keys import first_found, object_name, plain, short, spellings, too_large
from engine.storage.reading import Reading
from engine.storage.signature import Keys, encoded, query, signed
from engine.types import FileState

_LONGEST = 1024  # bytes of a key: S3's limit
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")

_KINDS = {  # docs.aws.amazon.com, "Error responses"; what is not here goes by its status
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion"), Kind.MISSING),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled"), Kind.DENIED),
    **dict.fromkeys(("InvalidObjectState", "KeyTooLongError", "XMinioInvalidObjectName"), Kind.REFUSED),
    **dict.fromkeys(
        [
            *("SignatureDoesNotMatch", "InvalidAccessKeyId", "NoSuchBucket", "RequestTimeTooSkewed"),
            *("AuthorizationHeaderMalformed", "InvalidBucketName", "PermanentRedirect", "TemporaryRedirect"),
            *("ExpiredToken", "InvalidToken", "InvalidSecurity", "AccountProblem", "NotSignedUp"),
            *("MethodNotAllowed", "NotImplemented"),
        ],
        Kind.MISCONFIGURED,
    ),
    **dict.fromkeys(
        ["SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "OperationAborted"],
        Kind.TRANSIENT,
    ),
}
_PORT = "check the port of AWS_ENDPOINT_URL (of MinIO, 9000 is S3 and 9001 its page for people)"
_PATH_STYLE = "set AWS_VIRTUAL_HOSTED_STYLE_REQUEST=false, and leave the bucket out of AWS_ENDPOINT_URL"
_EXPIRED = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_REPLACED = (*_EXPIRED, "InvalidAccessKeyId", "SignatureDoesNotMatch")  # perhaps: others may be there meanwhile


class S3Storage:
    """`s3://bucket[/prefix]`. Endpoint, region and keys come from where AWS's tools have them (`credentials.py`)."""

    def __init__(
        self, root: str, access: Access | None = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Looks at the bucket. Raises `StorageError` for what no wait mends, or where nothing answers."""
        access = access or Access()
        self._root, self._clock = root, clock
        bucket, _, prefix = re.sub(r"^s3://", "", root, flags=re.IGNORECASE).partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise ConfigError(f"{root} names no bucket: write s3://bucket or s3://bucket/prefix")
        self._bucket = bucket
        self._prefix = prefix.rstrip("/") + "/" if prefix.rstrip("/") else ""
        self._settings = settings = s3_settings(access.environment)
        self._credentials = settings.credentials
        self._server, self._path = self._address(access)
        self._may_list = True
        try:
            self.check()
        except StorageError as error:
            if error.kind is not Kind.TRANSIENT:
                raise

    def open(self, key: str, *, max_bytes: int) -> Reading:
        """Asks for the object of a key: as it is, then as its other `spellings`, then as a plain path."""
        return first_found(_candidates(key), lambda spelled: self._object("GET", spelled, key)).reading(
            max_bytes, too_large
        )

    def state(self, key: str) -> FileState:
        """Size and time of a key's object."""
        return file_state(first_found(_candidates(key), lambda spelled: self._object("HEAD", spelled, key)))

    def check(self) -> None:
        """Lists one key. Keys that may read but not list pass, if the bucket is there."""
        values = {"list-type": "2", "max-keys": "1", "prefix": self._prefix}
        try:
            body = self._ask("GET", "", query(values), LOOK).text()
        except Unreadable as error:
            if error.kind is not Kind.DENIED:
                raise self._trouble(error) from None
            self._may_list = False
            self._check_bucket()
            return
        self._may_list = True
        if "<ListBucketResult" in body:
            if "<Key>" not in body:
                where = f"with the prefix {self._prefix}" if self._prefix else "at all"
                raise self._wrong(f"the bucket {self._bucket} holds no object {where}: check bucket and prefix")
        elif "<ListAllMyBucketsResult" in body:
            raise self._wrong(f"{self._server.name} does not know the bucket by the name of the host: {_PATH_STYLE}")
        else:
            raise self._wrong(f"what answers at {self._server.name} is not S3 ({shown(body)}): {_PORT}")

    def _check_bucket(self) -> None:
        """Asks for an object that is not there: a denied list does not say whether there is such a bucket."""
        try:
            self._ask("GET", "/" + encoded(self._prefix + "no-such-object", safe="/"), "", LOOK).close()
        except Unreadable as error:
            if error.kind not in (Kind.MISSING, Kind.DENIED):
                raise self._trouble(error) from None

    def _trouble(self, error: Unreadable) -> StorageError:
        """What keeps the bucket from being read, with a cure."""
        text, kind = str(error), error.kind
        if isinstance(error, _Refused) and kind in (Kind.MISSING, Kind.REFUSED):
            kind = Kind.MISCONFIGURED
            if not error.code:
                text += f", which is no answer of S3: {_PORT}"
        elif kind is Kind.AWAY and self._settings.endpoint and self._server.host.startswith(f"{self._bucket}."):
            text += f"; or, where the server wants the bucket in the path: {_PATH_STYLE}"
        return StorageError(f"the storage {self._root}: {text}", kind, error.retry_after)

    def _wrong(self, text: str) -> StorageError:
        return StorageError(f"the storage {self._root}: {text}", Kind.MISCONFIGURED)

    def _address(self, access: Access) -> tuple[Server, str]:
        """The server, and what comes before a key in the path."""
        settings = self._settings
        endpoint = settings.endpoint
        virtual = settings.virtual_host
        if virtual is None:  # AWS wants it so, and certificates do not hold for a bucket with a dot
            virtual = not endpoint and "." not in self._bucket
        endpoint = endpoint or f"https://s3.{settings.region}.amazonaws.com"
        if "://" not in endpoint:
            raise ConfigError(f"AWS_ENDPOINT_URL is {endpoint}, without a scheme: write http://{endpoint} or https://…")
        parts = split(endpoint)
        host = f"{self._bucket}.{parts.netloc}" if virtual else parts.netloc
        path = parts.path.rstrip("/")
        server = Server(f"{parts.scheme}://{host}", access.timeout_s, access.ca_file or settings.ca_bundle)
        return server, path if virtual else f"{path}/{encoded(self._bucket)}"

    def _object(self, method: str, spelled: str, key: str) -> Answer:
        name = self._prefix + object_name(spelled, _LONGEST - len(self._prefix.encode()))
        try:
            return self._ask(method, "/" + encoded(name, safe="/"), "")
        except Unreadable as error:
            kind = error.kind
            if kind is Kind.REFUSED and plain(name) != name:
                kind = Kind.MISSING  # a server that makes paths of its keys: it takes no such name, so it has none
            if kind is Kind.MISSING:
                text = f"no such object: {short(key)}"
            elif error.kind is Kind.DENIED and not self._may_list:
                text = f"no such object, or these keys may not read it: {short(key)} ({error})"
            else:
                text = f"cannot read {short(key)}: {error}"
            raise Unreadable(text, kind, error.retry_after) from None

    def _ask(self, method: str, key_path: str, query_text: str, timeout_s: float | None = None) -> Answer:
        """One request, and a second one if its keys are not taken any more and others are there now."""
        keys = self._keys()
        try:
            return self._ask_once(method, key_path, query_text, keys, timeout_s)
        except _Refused as error:
            if not (error.code in _REPLACED and keys and self._credentials and self._renewed(keys)):
                raise
        return self._ask_once(method, key_path, query_text, self._keys(), timeout_s)

    def _ask_once(
        self, method: str, key_path: str, query_text: str, keys: Keys | None, timeout_s: float | None
    ) -> Answer:
        path = self._path + key_path or "/"
        host = self._server.host
        region = self._settings.region
        headers = signed(method, host, path, query_text, keys, region, self._clock()) if keys else {}
        target = f"{path}?{query_text}" if query_text else path
        answer = self._server.ask(method, target, headers, timeout_s)
        if answer.status == 200:
            return answer
        raise self._refusal(answer, keys)

    def _refusal(self, answer: Answer, keys: Keys | None) -> "_Refused":
        """What another answer than 200 means, in the server's own words."""
        body = answer.text()
        code, said = _element(body, "Code"), _element(body, "Message")
        kind = _KINDS.get(code) or kind_of_status(answer.status)
        if not code and kind in (Kind.MISSING, Kind.REFUSED) and body:
            said = shown(body)  # of another service: S3 answers in XML, with a code
        if answer.status in (301, 307, 308):
            kind = Kind.MISCONFIGURED
        cure = self._cure(code, answer, body, keys)
        text = " ".join(filter(None, (f"{answer.status}", code, f"({shown(said)})" if said else "")))
        return _Refused(
            f"{self._server.name} says {text}" + (f": {cure}" if cure else ""), kind, answer.retry_after(), code
        )

    def _cure(self, code: str, answer: Answer, body: str, keys: Keys | None) -> str:
        where = self._credentials.source if self._credentials else "the environment"
        region = _element(body, "Region") or answer.headers.get("x-amz-bucket-region", "")
        if code == "RequestTimeTooSkewed":
            return f"the clock of this machine is wrong{self._clock_error(answer)}: set it"
        if region and region != self._settings.region:
            return f"the bucket is in another region: set AWS_REGION={region}"
        cures = {
            "SignatureDoesNotMatch": f"the secret key (AWS_SECRET_ACCESS_KEY) from {where} is not that of "
            f"{keys.access_key if keys else 'these keys'}",
            "InvalidAccessKeyId": f"the server does not know the access key (AWS_ACCESS_KEY_ID) from {where}",
            "NoSuchBucket": f"there is no bucket {self._bucket}: check --storage, and AWS_ENDPOINT_URL, which is "
            f"{self._settings.endpoint or 'not set'}",
            "NoSuchKey": "AWS_ENDPOINT_URL seems to hold the bucket already: leave it out there",
            **dict.fromkeys(_EXPIRED, f"the keys from {where} have expired: renew them"),
        }
        return cures.get(code, "")

    def _clock_error(self, answer: Answer) -> str:
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", ""))
        except ValueError:
            return ""
        minutes = round((self._clock() - theirs.astimezone(UTC)).total_seconds() / 60)
        return f" ({abs(minutes)} minutes {'before' if minutes > 0 else 'behind'} the server's)"

    def _keys(self) -> Keys | None:
        try:
            return self._credentials.keys() if self._credentials else None
        except StorageError as error:
            raise Unreadable(str(error), error.kind) from None

    def _renewed(self, keys: Keys) -> bool:
        try:
            return bool(self._credentials and self._credentials.renew(keys))
        except EngineError:
            return False


class _Refused(Unreadable):
    def __init__(self, message: str, kind: Kind, retry_after: float | None, code: str) -> None:
        super().__init__(message, kind, retry_after)
        self.code = code


def _candidates(key: str) -> Iterator[str]:
    yield from spellings(key)
    if plain(key) != key and plain(key):
        yield plain(key)


def _element(body: str, name: str) -> str:
    """The text of an XML element of an error; a parser is more than such a document needs."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", body)
    return unescape(found[1]).strip() if found else ""
