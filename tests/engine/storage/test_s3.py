"""S3 against a real server: what is mistaken is said at once, what breaks off is told apart, odd keys are found."""

import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import obstore
import pytest
from obstore.store import S3Store

from engine.errors import EngineError, Kind, StorageError, Unreadable
from engine.storage import Access, Storage, open_storage
from engine.storage.s3 import S3Storage
from tests.support.file_server import FileServer, Reply
from tests.support.seaweed import ADMIN, PEM, READER, Seaweed

LIMIT = 10**7


def opened(server: Seaweed, root: str = "s3://pictures", timeout_s: float = 10.0, **variables: str) -> Storage:
    environment = {k: v for k, v in (server.environment() | variables).items() if v}
    return open_storage(root, Access(timeout_s, environment=environment))


def read(storage: Storage, key: str) -> bytes:
    with storage.open(key, max_bytes=LIMIT) as reading:
        return reading.whole()


MISTAKES = {
    "secret": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY.*is not that of"),
    "key": ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
    "keys": ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no keys for S3", "AWS_PROFILE"),
    "half": ({"AWS_SECRET_ACCESS_KEY": ""}, "only one is set", "needs both"),
    "scheme": ({"AWS_ENDPOINT_URL": "nas:9000"}, "without a scheme", "write http://nas:9000"),
    "host": ({"AWS_ENDPOINT_URL": "http://nowhere.invalid:9000"}, "cannot be found", "check the name"),
    "virtual": ({"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}, "cannot be found", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"),
    "profile": ({"AWS_PROFILE": "nobody"}, "names the profile nobody", "which is not in"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said_before_the_first_picture(seaweed: Seaweed, mistake: str) -> None:
    variables, code, cure = MISTAKES[mistake]
    began = time.monotonic()
    with pytest.raises(EngineError, match=f"(?s){code}.*{cure}") as caught:
        opened(seaweed, "s3://pictures", 10.0, **variables)
    assert time.monotonic() - began < 15
    assert "\n" not in str(caught.value) and seaweed.environment()["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


@pytest.mark.parametrize("keys", [ADMIN, READER], ids=["may list", "may only read"])
def test_a_wrong_bucket_is_said(seaweed: Seaweed, keys) -> None:
    with pytest.raises(StorageError, match=r"NoSuchBucket.*there is no bucket nothere") as caught:
        opened(seaweed, "s3://nothere", AWS_ACCESS_KEY_ID=keys[0], AWS_SECRET_ACCESS_KEY=keys[1])
    assert caught.value.kind is Kind.MISCONFIGURED


def test_a_wrong_prefix_is_said(seaweed: Seaweed) -> None:
    seaweed.put("pictures", "sub/one.jpg", b"one")
    assert read(opened(seaweed, "s3://pictures/sub/"), "one.jpg") == b"one"
    with pytest.raises(StorageError, match="no object with the prefix su/: check bucket and prefix"):
        opened(seaweed, "s3://pictures/su")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wrong_clock_is_said_with_its_error(seaweed: Seaweed, hours: int) -> None:
    access = Access(environment=seaweed.environment())
    said = rf"RequestTimeTooSkewed.*clock of this machine.*60 minutes {'before' if hours > 0 else 'behind'}"
    with pytest.raises(StorageError, match=said):
        S3Storage("s3://pictures", access, lambda: datetime.now(UTC) + timedelta(hours=hours))


def test_a_wrong_port_is_said(seaweed: Seaweed) -> None:
    with pytest.raises(StorageError, match=r"nothing answers at .*port right") as caught:
        opened(seaweed, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert caught.value.kind is Kind.AWAY
    for name in ("master.port", "filer.port", "volume.port"):  # each speaks HTTP, and is not S3
        with pytest.raises(StorageError, match=r"no answer of S3: check the port|is not S3") as caught:
            opened(seaweed, AWS_ENDPOINT_URL=f"http://127.0.0.1:{seaweed.ports[name]}")
        assert caught.value.kind is Kind.MISCONFIGURED


def test_the_page_for_people_is_told_from_s3(seaweed: Seaweed) -> None:
    page = Reply(200, b"<!doctype html><title>MinIO Console</title>", {"Content-Type": "text/html"})
    with FileServer({}, lambda *_: page) as console, pytest.raises(StorageError, match=r"is not S3 \(MinIO Console\)"):
        opened(seaweed, AWS_ENDPOINT_URL=console.url)


def test_a_server_that_wants_the_bucket_in_the_path_is_told(seaweed: Seaweed) -> None:
    buckets = Reply(200, b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>")
    with (
        FileServer({}, lambda *_: buckets) as server,
        pytest.raises(StorageError, match="AWS_VIRTUAL_HOSTED_STYLE_REQUEST=false"),
    ):
        opened(seaweed, AWS_ENDPOINT_URL=server.url)


def test_a_bucket_in_the_endpoint_is_said(seaweed: Seaweed) -> None:
    with pytest.raises(StorageError, match=r"NoSuchKey.*hold the bucket already"):
        opened(seaweed, AWS_ENDPOINT_URL=f"{seaweed.url}/pictures")


def test_the_region_that_the_server_names_is_the_cure(seaweed: Seaweed) -> None:
    body = (
        b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting 'eu-central-1'</Message>"
        b"<Region>eu-central-1</Region></Error>"
    )
    with (
        FileServer({}, lambda *_: Reply(400, body, {"Content-Type": "application/xml"})) as server,
        pytest.raises(StorageError, match="set AWS_REGION=eu-central-1") as caught,
    ):
        opened(seaweed, AWS_ENDPOINT_URL=server.url)
    assert caught.value.kind is Kind.MISCONFIGURED


def test_certificates_that_are_not_trusted_are_said_and_one_setting_cures_it(seaweed: Seaweed) -> None:
    with pytest.raises(StorageError, match=r"is not trusted.*ca_file") as caught:
        opened(seaweed, AWS_ENDPOINT_URL=seaweed.tls_url)
    assert caught.value.kind is Kind.MISCONFIGURED
    environment = seaweed.environment()
    environment["AWS_ENDPOINT_URL"] = seaweed.tls_url.replace("127.0.0.1", "localhost")
    assert read(open_storage("s3://pictures", Access(ca_file=PEM, environment=environment)), "there.jpg") == b"there"
    environment["AWS_CA_BUNDLE"] = str(PEM)
    assert read(open_storage("s3://pictures", Access(environment=environment)), "there.jpg") == b"there"


def test_http_and_https_mistaken_for_each_other_are_said(seaweed: Seaweed) -> None:
    with pytest.raises(StorageError, match="does not speak TLS: write http://"):
        opened(seaweed, AWS_ENDPOINT_URL=seaweed.url.replace("http:", "https:"))
    with pytest.raises(StorageError, match="wants TLS: write https://"):
        opened(seaweed, AWS_ENDPOINT_URL=seaweed.tls_url.replace("https:", "http:"))


def test_keys_that_may_not_list_read_and_tell_what_is_missing(seaweed: Seaweed) -> None:
    storage = opened(seaweed, AWS_ACCESS_KEY_ID=READER[0], AWS_SECRET_ACCESS_KEY=READER[1])
    storage.check()
    assert read(storage, "there.jpg") == b"there"
    with pytest.raises(Unreadable) as caught:
        read(storage, "none.jpg")
    assert caught.value.missing


def test_a_server_that_may_not_tell_what_is_missing_denies_it_and_the_root_is_there(seaweed: Seaweed) -> None:
    """AWS and MinIO say 403 of a missing object to keys that may not list."""

    def rule(path: str, headers: dict[str, str]) -> Reply | None:
        if path == "/pictures/a%20b.jpg":
            return Reply(200, b"found")
        return Reply(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>")

    with FileServer({}, rule) as server:
        storage = opened(seaweed, AWS_ENDPOINT_URL=server.url)
        storage.check()
        assert read(storage, "a%20b.jpg") == b"found"
        with pytest.raises(Unreadable, match=r"no such object, or these keys may not read it: 'none.jpg'") as caught:
            read(storage, "none.jpg")
    assert caught.value.kind is Kind.DENIED


@pytest.mark.parametrize(
    "key",
    ["a//b.jpg", "/a.jpg", "back\\slash.jpg", "./a.jpg", "a/./b.jpg", "C:/x.jpg", "//nas/x.jpg", "con", "a:b?c*d"],
)
def test_keys_that_are_no_paths_are_signed_and_sent_as_they_are(seaweed: Seaweed, key: str) -> None:
    """SeaweedFS itself makes a path of each key, so a server of the tests looks at what it is sent."""
    body = f"body of {key}".encode()
    with FileServer({}) as server:
        server.files.update({"/pictures/" + quote(key, safe="/~"): body})
        server.rule = lambda path, _: Reply(200, b"<ListBucketResult><Key>a</Key>") if "list-type" in path else None
        assert read(opened(seaweed, AWS_ENDPOINT_URL=server.url), key) == body
    seaweed.put("pictures", "plain/ab/one.jpg", b"one")
    storage = opened(seaweed, "s3://pictures/plain")
    for spelled in ("/ab/one.jpg", "ab\\one.jpg", "ab//one.jpg", "./ab/./one.jpg"):
        assert read(storage, spelled) == b"one"


def test_hard_names_are_those_that_another_client_wrote(seaweed: Seaweed) -> None:
    other = S3Store(
        "pictures",
        endpoint=seaweed.url,
        access_key_id=ADMIN[0],
        secret_access_key=ADMIN[1],
        region="us-east-1",
        client_options={"allow_http": True},
    )
    storage = opened(seaweed)
    for name in (
        "a b",
        "a+b",
        "a%2Fb",
        "100%",
        "ä/日本",
        "(1)[2]{3}",
        "a&b=c;d",
        "#1?",
        "it's",
        '"q"',
        "~-._",
        "a@b:c,d!$*",
    ):
        obstore.put(other, f"names/{name}.jpg", name.encode())
        assert read(storage, f"names/{name}.jpg") == name.encode(), name


CODES = {
    (503, "SlowDown"): Kind.TRANSIENT,
    (500, "InternalError"): Kind.TRANSIENT,
    (502, ""): Kind.TRANSIENT,
    (429, ""): Kind.TRANSIENT,
    (400, "RequestTimeout"): Kind.TRANSIENT,
    (403, "AccessDenied"): Kind.DENIED,
    (403, "SignatureDoesNotMatch"): Kind.MISCONFIGURED,
    (403, "RequestTimeTooSkewed"): Kind.MISCONFIGURED,
    (404, "NoSuchBucket"): Kind.MISCONFIGURED,
    (404, "NoSuchKey"): Kind.MISSING,
    (404, ""): Kind.MISSING,
    (403, "InvalidObjectState"): Kind.REFUSED,
}


@pytest.mark.parametrize(("status", "code"), CODES)
def test_what_a_server_says_goes_by_its_code(seaweed: Seaweed, status: int, code: str) -> None:
    body = (
        f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>it &lt;says&gt;</Message></Error>" if code else ""
    )

    def rule(path: str, headers: dict[str, str]) -> Reply:
        if "list-type" in path:
            return Reply(200, b"<ListBucketResult><Key>a</Key></ListBucketResult>")
        return Reply(status, body.encode(), {"Retry-After": "7", "Content-Type": "application/xml"})

    with FileServer({}, rule) as server:
        storage = opened(seaweed, AWS_ENDPOINT_URL=server.url)
        with pytest.raises(Unreadable) as caught:
            read(storage, "a.jpg")
    assert caught.value.kind is CODES[status, code]
    assert caught.value.retry_after == 7
    if caught.value.kind is not Kind.MISSING:
        assert str(status) in str(caught.value) and code in str(caught.value)


def test_a_storm_at_the_start_is_no_mistake(seaweed: Seaweed) -> None:
    slow = Reply(503, b"<Error><Code>SlowDown</Code></Error>", {"Retry-After": "3"})
    with FileServer({}, lambda *_: slow) as server:
        storage = opened(seaweed, AWS_ENDPOINT_URL=server.url)
        with pytest.raises(StorageError, match="SlowDown") as caught:
            storage.check()
    assert (caught.value.kind, caught.value.retry_after) == (Kind.TRANSIENT, 3)


def test_expired_keys_are_read_again_from_their_file(seaweed: Seaweed, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = old\naws_secret_access_key = s\n", encoding="utf-8")

    def rule(path: str, headers: dict[str, str]) -> Reply | None:
        if "Credential=new/" in headers["authorization"]:
            return Reply(200, b"<ListBucketResult><Key>a</Key>") if "list-type" in path else Reply(200, b"picture")
        return Reply(400, b"<Error><Code>ExpiredToken</Code></Error>") if file.read_text().count("new") else None

    with FileServer({}, rule) as server:
        server.rule = lambda path, _: Reply(200, b"<ListBucketResult><Key>a</Key>")
        environment = {"AWS_ENDPOINT_URL": server.url, "AWS_SHARED_CREDENTIALS_FILE": str(file), "HOME": str(tmp_path)}
        storage = open_storage("s3://pictures", Access(environment=environment))
        server.rule = rule
        file.write_text("[default]\naws_access_key_id = new\naws_secret_access_key = s\n", encoding="utf-8")
        assert read(storage, "a.jpg") == b"picture"


def test_without_keys_nothing_is_asked_of_the_network(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(StorageError, match="no keys for S3"):
        open_storage("s3://pictures", Access(environment={"HOME": str(tmp_path)}))
    assert time.monotonic() - began < 1


@pytest.fixture
def own_seaweed(tmp_path: Path, seaweed: Seaweed) -> Iterator[Seaweed]:
    """A server that may be killed."""
    with Seaweed(tmp_path) as server:
        server.put("pictures")
        for i in range(50):
            server.put("pictures", f"{i}.jpg", os.urandom(50_000))
        yield server


@pytest.mark.full
def test_a_server_that_is_killed_hung_and_started_again(own_seaweed: Seaweed) -> None:
    storage = opened(own_seaweed, timeout_s=0.5)
    before = {i: read(storage, f"{i}.jpg") for i in range(50)}
    kinds: set[Kind] = set()
    stop, back, rounds = threading.Event(), threading.Event(), threading.Semaphore(0)

    def reader() -> None:
        while not stop.is_set():
            good = 0
            for i, body in before.items():
                try:
                    good += read(storage, f"{i}.jpg") == body
                except Unreadable as error:
                    kinds.add(error.kind)
            if back.is_set() and good == len(before):
                rounds.release()
                return

    threads = [threading.Thread(target=reader, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    own_seaweed.pause()
    with pytest.raises(StorageError, match=r"nothing came from|no connection") as caught:
        storage.check()
    assert caught.value.kind in (Kind.TRANSIENT, Kind.AWAY)
    own_seaweed.resume()
    own_seaweed.kill()
    with pytest.raises(StorageError, match=r"nothing answers|broke off") as caught:
        storage.check()
    assert caught.value.kind in (Kind.TRANSIENT, Kind.AWAY)
    back.set()
    own_seaweed.start()
    assert all(rounds.acquire(timeout=60) for _ in threads)  # it answers 500 until its volumes are there
    stop.set()
    for thread in threads:
        thread.join(60)
    assert kinds and kinds <= {Kind.TRANSIENT, Kind.AWAY}
