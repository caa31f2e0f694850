"""A web server as a storage: what its answers mean, where the token goes, what breaks off."""

import itertools
import socket
import ssl
import sys
import time
from pathlib import Path

import pytest

from engine.api.token import Token
from engine.errors import ConfigError, Kind, StorageError, Unreadable
from engine.storage import Access, Storage, open_storage
from engine.storage.reading import HEAD
from tests.support.file_server import FileServer, Reply
from tests.support.seaweed import PEM

LIMIT = 10**9


def read(storage: Storage, key: str) -> bytes:
    with storage.open(key, max_bytes=LIMIT) as reading:
        return reading.whole()


def base(path: str, reply: Reply):
    """A rule that gives this reply for one path."""
    return lambda asked, _: reply if asked == path else None


def test_the_whole_address_is_the_root_of_the_keys() -> None:
    with FileServer({"/media/files/ab/one%20%231.jpg": b"one"}) as server:
        for root in (f"{server.url}/media/files", f"{server.url}/media/files/"):
            assert read(open_storage(root), "ab/one #1.jpg") == b"one"


@pytest.mark.parametrize("status", [403, 404, 405, 200])
def test_a_base_that_shows_nothing_is_fine(status: int) -> None:
    with FileServer({"/a.jpg": b"a"}, base("/", Reply(status))) as server:
        assert read(open_storage(server.url), "a.jpg") == b"a"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, Kind.MISSING),
        (410, Kind.MISSING),
        (401, Kind.MISCONFIGURED),
        (403, Kind.DENIED),
        (400, Kind.REFUSED),
        (408, Kind.TRANSIENT),
        (429, Kind.TRANSIENT),
        (500, Kind.TRANSIENT),
        (503, Kind.TRANSIENT),
    ],
)
def test_what_an_answer_means_goes_by_its_status(status: int, kind: Kind) -> None:
    page = b"<html><style>p{}</style><p>so it is</p>"
    with FileServer({}, base("/a.jpg", Reply(status, page, {"Retry-After": "11"}))) as server:
        storage = open_storage(server.url)
        with pytest.raises(Unreadable) as caught:
            read(storage, "a.jpg")
    assert (caught.value.kind, caught.value.retry_after) == (kind, 11)
    if kind is not Kind.MISSING:
        assert f"says {status} (so it is)" in str(caught.value)


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    with FileServer({}) as server:
        url = server.url
    with pytest.raises(StorageError, match=r"nothing answers at .* is it running, and the port right") as caught:
        open_storage(url)
    assert caught.value.kind is Kind.AWAY


@pytest.mark.parametrize("root", ["http://", "http://user:secret@nas/", "https://nas:0/", "http://na s/"])
def test_an_address_that_is_none_is_refused_without_its_secrets(root: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage(root)
    assert "secret" not in str(caught.value)


def test_the_token_goes_to_the_apis_own_origin_and_to_no_other() -> None:
    token = Token("a-token")
    with FileServer({"/other.jpg": b"elsewhere"}) as other, FileServer({"/here.jpg": b"here"}) as own:
        own.rule = base("/moved.jpg", Reply(302, headers={"Location": f"{other.url}/other.jpg"}))
        storage = open_storage(own.url, Access(token=token, token_url=f"{own.url}/api/segment"))
        assert read(storage, "here.jpg") == b"here"
        assert read(storage, "moved.jpg") == b"elsewhere"
        assert all(headers.get("authorization") == "Bearer a-token" for _, _, headers in own.requests)
        assert len(own.requests) == 3  # the look at the base, and two files
        read(open_storage(other.url, Access(token=token, token_url=f"{own.url}/api/segment")), "other.jpg")
        assert len(other.requests) == 3 and not any("authorization" in headers for _, _, headers in other.requests)


def test_a_renewed_token_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old", encoding="utf-8")

    def rule(path: str, headers: dict[str, str]) -> Reply | None:
        return None if headers.get("authorization") == f"Bearer {wanted}" else Reply(401)

    wanted = "old"
    with FileServer({"/a.jpg": b"a"}, rule) as server:
        storage = open_storage(server.url, Access(token=Token(file=file), token_url=server.url))
        wanted = "new"
        with pytest.raises(Unreadable, match="says 401") as caught:
            read(storage, "a.jpg")
        assert caught.value.kind is Kind.MISCONFIGURED
        file.write_text("new", encoding="utf-8")
        assert read(storage, "a.jpg") == b"a"


def test_redirects_end() -> None:
    with FileServer({}, base("/a.jpg", Reply(307, headers={"Location": "/a.jpg"}))) as server:
        storage = open_storage(server.url)
        with pytest.raises(Unreadable, match="leads in circles"):
            read(storage, "a.jpg")


def test_own_certificates_are_trusted_by_one_setting() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with FileServer({"/a.jpg": b"a"}, tls=context) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        assert read(open_storage(url, Access(ca_file=PEM)), "a.jpg") == b"a"
        with pytest.raises(StorageError, match=r"the certificate of .* is not trusted .*ca_file"):
            open_storage(url)
        with pytest.raises(ConfigError, match="cannot be used"):
            open_storage(url, Access(ca_file=PEM.parent / "absent.pem"))


def test_a_body_of_unknown_length_is_read_and_bounded() -> None:
    rule = base("/a.jpg", Reply(body=bytes(range(250)) * 100, sized=False))
    with FileServer({}, rule) as server:
        storage = open_storage(server.url)
        with storage.open("a.jpg", max_bytes=LIMIT) as reading:
            assert reading.size == 25_000 and reading.whole() == bytes(range(250)) * 100
        with pytest.raises(Unreadable, match="more than the limit of 24,999"):
            storage.open("a.jpg", max_bytes=24_999)


def test_a_body_that_stalls_ends_in_time_and_is_transient() -> None:
    with FileServer({}, base("/a.jpg", Reply(body=bytes(300_000), stall_after=100_000))) as server:
        storage = open_storage(server.url, Access(timeout_s=0.3))
        began = time.monotonic()
        with pytest.raises(Unreadable, match="nothing came from") as caught:
            read(storage, "a.jpg")
        assert time.monotonic() - began < 5
    assert caught.value.kind is Kind.TRANSIENT


def test_a_slow_body_is_read_however_long_it_takes() -> None:
    """Five times as long as the time without progress."""
    with FileServer({}, base("/a.jpg", Reply(body=bytes(150_000), pace=100_000))) as server:
        storage = open_storage(server.url, Access(timeout_s=0.3))
        began, progress = time.monotonic(), []
        with storage.open("a.jpg", max_bytes=LIMIT) as reading:
            assert len(reading.whole(lambda: progress.append(time.monotonic()))) == 150_000
    assert time.monotonic() - began > 1
    assert max(b - a for a, b in itertools.pairwise(progress)) < 1


def test_a_body_that_breaks_off_is_never_taken_for_the_whole() -> None:
    with FileServer({}, base("/a.jpg", Reply(body=bytes(300_000), cut_after=200_000))) as server:
        storage = open_storage(server.url)
        with pytest.raises(Unreadable, match="broke off") as caught:
            read(storage, "a.jpg")
    assert caught.value.kind is Kind.TRANSIENT


def test_large_files_that_are_left_after_their_beginning_cost_little() -> None:
    """Ten videos of 200 MB."""
    with FileServer({"/video.mp4": bytes(200 * 10**6)}) as server:
        storage = open_storage(server.url)
        for _ in range(10):
            with storage.open("video.mp4", max_bytes=LIMIT) as reading:
                assert reading.size == 200 * 10**6 and len(reading.head()) == HEAD
        assert server.sent < 10 * 10**6


def test_a_connection_that_the_server_closed_meanwhile_is_made_again() -> None:
    with FileServer({"/a.jpg": b"a"}) as server:
        storage = open_storage(server.url)
        for reply in (Reply(body=b"a", headers={"Connection": "close"}), Reply(body=b"a", hang_up=True)):
            server.rule = base("/a.jpg", reply)
            assert [read(storage, "a.jpg") for _ in range(5)] == [b"a"] * 5


def test_connections_are_kept() -> None:
    with FileServer({f"/{i}.jpg": b"%d" % i for i in range(100)}) as server:
        storage = open_storage(server.url)
        for i in range(100):
            assert read(storage, f"{i}.jpg") == b"%d" % i
            with pytest.raises(Unreadable):
                read(storage, "none.jpg")
            assert storage.state(f"{i}.jpg").size == len(f"{i}")
        assert server.connections == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what a full queue of connections does there")
def test_an_address_that_gives_no_connection_ends_in_time() -> None:
    """As behind a firewall that drops what is sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"gives no connection within .* check host and port") as caught:
            open_storage(f"http://127.0.0.1:{full.getsockname()[1]}", Access(timeout_s=0.5))
        for each in waiting:
            each.close()
    assert time.monotonic() - began < 8 and caught.value.kind is Kind.AWAY
