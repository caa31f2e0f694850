"""What holds for a folder, an S3 server, a web server and a mounted Samba share alike."""

import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from engine.errors import Kind, Unreadable
from engine.storage import Storage
from engine.storage.reading import HEAD
from tests.engine.storage.conftest import Place

LIMIT = 10**7
Form = Literal["NFC", "NFD"]


def read(storage: Storage, key: str, max_bytes: int = LIMIT) -> bytes:
    with storage.open(key, max_bytes=max_bytes) as reading:
        return reading.whole()


@pytest.mark.parametrize("size", [0, 1, HEAD - 1, HEAD, HEAD + 1, 300_000, 3_000_000])
def test_a_file_comes_whole_and_its_size_is_known_first(place: Place, size: int) -> None:
    body = bytes(i * 31 % 251 for i in range(1000)) * (size // 1000 + 1)
    place.put(f"sized/{size}.bin", body[:size])
    with place.open().open(f"sized/{size}.bin", max_bytes=LIMIT) as reading:
        assert reading.size == size
        assert reading.whole() == body[:size]
    with place.open().open(f"sized/{size}.bin", max_bytes=LIMIT) as reading:
        assert reading.head() == body[: min(size, HEAD)]
        assert reading.whole() == body[:size]


def test_progress_is_told_while_a_file_arrives(place: Place) -> None:
    place.put("long.bin", bytes(3_000_000))
    told: list[int] = []
    with place.open().open("long.bin", max_bytes=LIMIT) as reading:
        reading.whole(lambda: told.append(1))
    assert len(told) >= 12


def test_many_threads_read_at_once_and_get_their_own(place: Place) -> None:
    for i in range(40):
        place.put(f"many/{i}.bin", b"%d " % i * (1000 * i))
    storage = place.open()
    with ThreadPoolExecutor(16) as pool:
        keys = [i % 40 for i in range(400)]
        found = list(pool.map(lambda i: read(storage, f"many/{i}.bin"), keys))
    assert all(data == b"%d " % i * (1000 * i) for i, data in zip(keys, found, strict=True))


def test_a_file_left_after_its_beginning_harms_no_other(place: Place) -> None:
    place.put("video.bin", bytes(5_000_000))
    storage = place.open()
    for _ in range(20):
        with storage.open("video.bin", max_bytes=LIMIT) as reading:
            assert len(reading.head()) == HEAD
        assert read(storage, "there.jpg") == b"there"


def test_a_missing_file_is_missing(place: Place) -> None:
    storage = place.open()
    for ask in (lambda: read(storage, "none.jpg"), lambda: storage.state("none.jpg")):
        with pytest.raises(Unreadable, match=r"no such .*'none.jpg'") as caught:
            ask()
        assert caught.value.kind is Kind.MISSING and caught.value.missing and caught.value.fleeting


def test_the_state_changes_with_the_file(place: Place) -> None:
    storage = place.open()
    place.put("changes.jpg", b"one")
    before = storage.state("changes.jpg")
    assert before.size == 3
    place.put("changes.jpg", b"four")
    assert storage.state("changes.jpg") != before
    storage.check()


def test_the_limit_is_named_before_anything_is_read(place: Place) -> None:
    place.put("large.jpg", b"large")
    storage = place.open()
    assert read(storage, "large.jpg", 5) == b"large"
    with pytest.raises(Unreadable, match="5 bytes, more than the limit of 4: raise it with --max-file-size") as caught:
        read(storage, "large.jpg", 4)
    assert caught.value.kind is Kind.REFUSED and not caught.value.fleeting


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "names no file"),
        ("folder/", "names no file"),
        ("a\nb.jpg", "control character"),
        ("a%00b.jpg", "control character"),
        ("../there.jpg", "leave the storage root"),
        ("a\\..\\..\\there.jpg", "leave the storage root"),
        ("%2e%2e/there.jpg", "leave the storage root"),
        ("k" * 5000, "longer than"),
        ("\ud800.jpg", "no text that"),
    ],
)
def test_keys_that_are_refused_say_why(place: Place, key: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as caught:
        read(place.open(), key)
    assert caught.value.kind is Kind.REFUSED


@pytest.mark.parametrize(("stored", "asked"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC"), ("NFD", "NFD")])
def test_accents_composed_or_apart_are_the_same_file(place: Place, stored: Form, asked: Form) -> None:
    name = f"{stored}{asked}-Frühling/がぎぐ.jpg"
    place.put(unicodedata.normalize(stored, name), b"found")
    assert read(place.open(), unicodedata.normalize(asked, name)) == b"found"


def test_percent_signs_are_literal_first_and_decoded_once(place: Place) -> None:
    storage = place.open()
    place.put("a b+c&d=é.jpg", b"decoded")
    assert read(storage, "a b+c&d=é.jpg") == b"decoded"
    assert read(storage, "a%20b+c&d=%C3%A9.jpg") == b"decoded"
    place.put("a%20b+c&d=%C3%A9.jpg", b"literal")
    assert read(storage, "a%20b+c&d=%C3%A9.jpg") == b"literal"


@pytest.mark.parametrize("key", ["/there.jpg", "\\there.jpg"])
def test_a_separator_in_front_is_the_root(place: Place, key: str) -> None:
    assert read(place.open(), key) == b"there"


def test_an_open_file_is_closed_when_it_is_left(place: Place) -> None:
    """A storage of which files are left open by an error does not run out of connections or descriptors."""
    place.put("left.bin", bytes(200_000))
    storage = place.open()
    for _ in range(1500):
        with pytest.raises(ZeroDivisionError), storage.open("left.bin", max_bytes=LIMIT):
            raise ZeroDivisionError
    assert read(storage, "there.jpg") == b"there"
    assert threading.active_count() < 100


def test_a_file_that_is_read_in_parts_is_whole(place: Place) -> None:
    """From after its head, and with an empty one between two on the same connection."""
    body = bytes(range(256)) * 4_000
    place.put("large.jpg", body)
    place.put("empty.jpg", b"")
    storage = place.open()
    for _ in range(3):
        with storage.open("large.jpg", max_bytes=10**7) as reading:
            assert reading.head() == body[:HEAD]
            whole = reading.whole()
            assert type(whole) is bytes and whole == body
        assert read(storage, "empty.jpg") == b""
        assert read(storage, "large.jpg") == body
