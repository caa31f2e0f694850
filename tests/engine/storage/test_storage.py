"""Keys against real folders: what is read, what is refused, and that nothing outside of the root is ever read."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

from engine.errors import StorageError, Unreadable
from engine.storage import FOLDER, STORAGES, Storage, open_storage
from engine.storage.folder import FolderStorage, _extended
from engine.storage.keys import key_parts, with_spellings

SECRET = b"outside of the root"
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX file names or links")


@pytest.fixture
def root(tmp_path):
    """A root with `ab/one.jpg` inside and a secret beside it."""
    folder = tmp_path / "root"
    (folder / "ab").mkdir(parents=True)
    (folder / "ab" / "one.jpg").write_bytes(b"one")
    (tmp_path / "secret.jpg").write_bytes(SECRET)
    (tmp_path / "root-twin").mkdir()
    (tmp_path / "root-twin" / "secret.jpg").write_bytes(SECRET)
    return folder


def read(root, key, max_bytes=1000):
    return open_storage(str(root)).read(key, max_bytes=max_bytes)


@pytest.mark.parametrize(
    "key", ["ab/one.jpg", "/ab/one.jpg", "\\ab\\one.jpg", "ab\\one.jpg", "ab//one.jpg", "./ab/./one.jpg"]
)
def test_spellings_of_one_key(root, key):
    assert read(root, key) == b"one"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "names no file"),
        ("/", "names no file"),
        ("ab/", "names no file"),
        ("ab/.", "names no file"),
        ("..", "leave the storage root"),
        ("../secret.jpg", "leave the storage root"),
        ("/../secret.jpg", "leave the storage root"),
        ("ab/../../secret.jpg", "leave the storage root"),
        ("ab\\..\\..\\secret.jpg", "leave the storage root"),
        ("ab/../ab/one.jpg", "leave the storage root"),
        ("//server/share/one.jpg", "network share"),
        ("\\\\server\\share\\one.jpg", "network share"),
        ("\\\\?\\C:\\one.jpg", "network share"),
        ("/\\server/one.jpg", "network share"),
        ("C:\\one.jpg", "a drive"),
        ("C:one.jpg", "a drive"),
        ("/c:/one.jpg", "a drive"),
        ("./C:/one.jpg", "a drive"),
        ("ab/one.jpg\0.png", "control character"),
        ("ab/one\n.jpg", "control character"),
        ("a/" * 2000 + "b", "longer than"),
        ("%2e%2e/secret.jpg", "leave the storage root"),
        ("%2e%2e%2fsecret.jpg", "leave the storage root"),
        ("..%5csecret.jpg", "leave the storage root"),
        ("%2f%2fserver/share", "network share"),
        ("C%3a/one.jpg", "a drive"),
        ("ab/%00", "control character"),
    ],
)
def test_refused_keys(root, key, reason):
    with pytest.raises(Unreadable, match=reason) as caught:
        read(root, key)
    assert not caught.value.missing


WINDOWS_TRICKS = ["one.jpg:stream", "ab:x/one.jpg", "con", "ab/NUL.jpg", "com1.txt", "LPT³", "aux .jpg", "CONIN$"]
WINDOWS_TRICKS += ["one.jpg.", "one.jpg ", "ab./x", "a?b", "a*b", "a|b"]


@pytest.mark.parametrize("key", WINDOWS_TRICKS)
def test_names_that_windows_reads_as_others(key):
    with pytest.raises(Unreadable, match="Windows"):
        key_parts(key, windows=True)
    assert key_parts(key, windows=False)


@pytest.mark.parametrize(
    "key", ["console.jpg", "com10.jpg", "a.con", "auxiliary/nullable.jpg", "re zero.jpg", "ä/日本.jpg"]
)
def test_names_that_windows_takes(key):
    assert key_parts(key, windows=True) == tuple(key.split("/"))


@posix
def test_a_colon_is_a_letter_like_any_other_elsewhere(root):
    (root / "re:zero.jpg").write_bytes(b"colon")
    assert read(root, "re:zero.jpg") == b"colon"


def test_percent_signs_are_literal_first(root):
    (root / "a b.jpg").write_bytes(b"decoded")
    assert read(root, "a%20b.jpg") == b"decoded"
    (root / "a%20b.jpg").write_bytes(b"literal")
    assert read(root, "a%20b.jpg") == b"literal"


@pytest.mark.parametrize("key", ["a%2520b.jpg", "a%ff.jpg", "100%.jpg"])
def test_percent_signs_are_decoded_once(root, key):
    (root / "a b.jpg").write_bytes(b"decoded twice")
    with pytest.raises(Unreadable) as caught:
        read(root, key)
    assert caught.value.missing


def test_a_file_is_looked_at_by_the_spelling_that_reads_it(root):
    (root / "a b.jpg").write_bytes(b"decoded")
    state = open_storage(str(root)).state("a%20b.jpg")
    assert state and state.size == len(b"decoded")
    assert open_storage(str(root)).state("a%20c.jpg") is None
    assert open_storage(str(root)).state("%2e%2e/secret.jpg") is None


@pytest.mark.parametrize("missing", [True, False])
def test_only_a_missing_file_has_another_spelling(missing):
    asked = []

    def look(key):
        asked.append(key)
        raise Unreadable("says no", missing=missing)

    with pytest.raises(Unreadable, match="says no"):
        with_spellings("a%20b", look)
    assert asked == (["a%20b", "a b"] if missing else ["a%20b"])


@pytest.mark.parametrize("key", ["ab/two.jpg", "cd/one.jpg", "ab/one.jpg/three.jpg"])
def test_a_missing_file_says_so(root, key):
    with pytest.raises(Unreadable, match="no such file") as caught:
        read(root, key)
    assert caught.value.missing


def test_a_lone_surrogate_and_an_endless_name_are_the_keys_fault(root):
    for key in ("ab/\ud800.jpg", "n" * 3000):
        with pytest.raises(Unreadable) as caught:
            read(root, key)
        assert len(str(caught.value)) < 500
        str(caught.value).encode("utf-8")


def test_a_folder_is_no_picture(root):
    with pytest.raises(Unreadable, match="not a regular file"):
        read(root, "ab")


def test_the_size_limit_is_named(root):
    assert read(root, "ab/one.jpg", max_bytes=3) == b"one"
    with pytest.raises(Unreadable, match="3 bytes, more than the limit of 2: raise it with --max-file-size"):
        read(root, "ab/one.jpg", max_bytes=2)


@posix
def test_links_may_not_leave_the_root(root):
    (root / "file.jpg").symlink_to(root.parent / "secret.jpg")
    (root / "folder").symlink_to(root.parent)
    (root / "twin").symlink_to(root.parent / "root-twin")
    (root / "ab" / "hop").symlink_to("../folder")
    (root / "chain.jpg").symlink_to("file.jpg")
    for key in ("file.jpg", "folder/secret.jpg", "twin/secret.jpg", "ab/hop/secret.jpg", "chain.jpg"):
        with pytest.raises(Unreadable, match="a link leads out"):
            read(root, key)


@posix
def test_links_inside_the_root_are_followed(root):
    (root / "again.jpg").symlink_to("ab/one.jpg")
    (root / "alias").symlink_to("ab")
    assert read(root, "again.jpg") == read(root, "alias/one.jpg") == b"one"


@posix
def test_the_root_itself_may_be_a_link(root):
    link = root.parent / "link"
    link.symlink_to(root)
    assert read(link, "ab/one.jpg") == b"one"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_does_not_hang(root):
    os.mkfifo(root / "pipe.jpg")
    with pytest.raises(Unreadable, match="not a regular file"):
        read(root, "pipe.jpg")


def test_a_read_may_come_in_pieces_and_end_early(root, monkeypatch):
    whole = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: whole(descriptor, min(size, 2)))
    assert read(root, "ab/one.jpg") == b"one"
    longer = os.stat_result((0o100644, 0, 0, 1, 0, 0, 10, 0, 0, 0))  # the file was cut after its size was asked
    monkeypatch.setattr(os, "fstat", lambda _: longer)
    assert read(root, "ab/one.jpg") == b"one"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
def test_no_descriptor_is_left_open(root):
    storage = open_storage(str(root))
    (root / "loop").symlink_to("loop")

    def attempt():
        for key in ("ab/one.jpg", "ab", "no", "loop", "ab/one.jpg/x"):
            try:
                storage.read(key, max_bytes=2)
            except Unreadable:
                continue

    attempt()
    before = len(list(Path("/proc/self/fd").iterdir()))
    attempt()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("root", ["ftp://nas/pictures", "FTP://nas/pictures", "file:///mnt/nas", "webdav+tls://nas/"])
def test_an_unknown_scheme_is_told_with_the_known_ones(root):
    with pytest.raises(StorageError) as caught:
        open_storage(root)
    assert str(caught.value) == (f"the storage {root} is of an unknown kind: give a folder or s3://bucket/prefix")


@pytest.mark.parametrize("root", ["D:/pictures", "D://pictures", "\\\\NAS\\share", "re:zero"])
def test_what_is_no_url_is_a_folder(root):
    with pytest.raises(StorageError, match="is not a folder"):
        open_storage(root)


@pytest.mark.parametrize("kind", [FOLDER, *STORAGES.values()], ids=lambda kind: kind.name)
def test_every_kind_is_a_storage_or_names_its_extra(kind):
    try:
        module = importlib.import_module(kind.module)
    except ImportError:
        assert kind.extra
        scheme = next(scheme for scheme, it in STORAGES.items() if it is kind)
        with pytest.raises(StorageError, match=rf"deepdanbooru-engine\[{kind.extra}\]"):
            open_storage(f"{scheme}://bucket")
    else:
        assert all(callable(getattr(getattr(module, kind.name), name)) for name in ("read", "state", "root_alive"))


def test_a_folder_is_a_storage(root):
    storage: Storage = FolderStorage(str(root))  # mypy holds the class against the protocol
    assert storage.root_alive()


def test_an_absent_root_is_the_storages_fault(tmp_path):
    with pytest.raises(StorageError, match="is the share mounted"):
        open_storage(str(tmp_path / "absent"))


def test_a_root_that_vanishes_is_noticed(root):
    storage = FolderStorage(str(root))
    assert storage.root_alive()
    root.rename(root.with_name("elsewhere"))
    assert not storage.root_alive()
    root.mkdir()  # what an unmounted share leaves behind
    assert not storage.root_alive()


def minio(folder, kind):
    (folder / ".minio.sys").mkdir()
    (folder / ".minio.sys" / "format.json").write_text(json.dumps({"version": "1", "format": kind}), encoding="utf-8")


def test_minios_own_format_is_recognised(root):
    minio(root.parent, "xl-single")
    with pytest.raises(StorageError, match="s3://root instead"):
        open_storage(str(root))


def test_minios_old_folders_hold_plain_files(root):
    minio(root.parent, "fs")
    assert read(root, "ab/one.jpg") == b"one"


def test_an_object_of_minio_is_recognised(root):
    (root / "ab" / "two.jpg").mkdir()
    (root / "ab" / "two.jpg" / "xl.meta").write_bytes(b"XL2 ")
    with pytest.raises(Unreadable, match="s3://bucket instead"):
        read(root, "ab/two.jpg")


def test_long_paths_on_windows():
    assert _extended("C:\\pictures", windows=True) == "\\\\?\\C:\\pictures"
    assert _extended("\\\\NAS\\share\\bucket", windows=True) == "\\\\?\\UNC\\NAS\\share\\bucket"
    assert _extended("\\\\?\\C:\\pictures", windows=True) == "\\\\?\\C:\\pictures"
    assert _extended("/pictures", windows=False) == "/pictures"
