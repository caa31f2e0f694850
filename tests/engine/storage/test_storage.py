"""Keys against real folders: what is read, what is refused, and that nothing outside of the root is ever read."""

import errno
import importlib
import json
import os
import sys
from pathlib import Path

import pytest

from engine.errors import Kind, StorageError, Unreadable
from engine.storage import FOLDER, STORAGES, Storage, _refuse_unmounted_share, known_state, open_storage
from engine.storage.folder import FolderStorage, _extended, _kind
from engine.storage.keys import first_found, key_parts, spellings

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
    with open_storage(str(root)).open(key, max_bytes=max_bytes) as reading:
        return reading.whole()


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
    assert known_state(open_storage(str(root)), "a%20c.jpg") is None
    assert known_state(open_storage(str(root)), "%2e%2e/secret.jpg") is None


@pytest.mark.parametrize("kind", Kind)
def test_only_a_missing_file_has_another_spelling(kind):
    asked = []

    def look(key):
        asked.append(key)
        raise Unreadable("says no", kind)

    with pytest.raises(Unreadable, match="says no"):
        first_found(spellings("a%20b"), look)
    assert asked == (["a%20b", "a b"] if kind in (Kind.MISSING, Kind.DENIED) else ["a%20b"])


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
                with storage.open(key, max_bytes=2) as reading:
                    reading.whole()
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
    assert str(caught.value) == (
        f"the storage {root} is of an unknown kind: give a folder, s3://bucket/prefix or https://host/path"
    )


@pytest.mark.parametrize(
    ("root", "instead"), [("gs://bucket", "AWS_ENDPOINT_URL=https://storage.googleapis.com"), ("az://x/y", "mount it")]
)
def test_what_can_be_read_in_another_way_is_said(root, instead):
    with pytest.raises(StorageError, match=instead):
        open_storage(root)


@pytest.mark.parametrize(
    ("root", "folder"),
    [
        ("smb://nas/media/bucket", "/mnt/media/bucket"),
        ("SMB://user:secret@nas/media", "/mnt/media"),
        ("\\\\NAS\\media\\bucket\\sub", "/mnt/media/bucket/sub"),
        ("//nas/media/bucket", "/mnt/media/bucket"),
    ],
)
@posix
def test_a_share_of_windows_is_told_how_to_be_mounted(root, folder):
    with pytest.raises(StorageError) as caught:
        open_storage(root)
    host = "NAS" if "NAS" in root else "nas"
    assert f"mount -t cifs //{host}/media /mnt/media -o ro" in str(caught.value)
    assert f"then give {folder};" in str(caught.value)
    assert "container" in str(caught.value) and "-v /mnt/media:/mnt/media:ro" in str(caught.value)
    assert caught.value.kind is Kind.MISCONFIGURED


def test_windows_takes_its_own_spelling_of_a_share():
    _refuse_unmounted_share("\\\\NAS\\media\\bucket", windows=True)
    _refuse_unmounted_share("//NAS/media/bucket", windows=True)
    with pytest.raises(StorageError) as caught:
        _refuse_unmounted_share("smb://nas/media/bucket/sub", windows=True)
    assert str(caught.value).endswith("write it as \\\\nas\\media\\bucket\\sub")


@pytest.mark.parametrize("root", ["D:/pictures", "D://pictures", "re:zero"])
def test_what_is_no_url_is_a_folder(root):
    with pytest.raises(StorageError, match="is not a folder"):
        open_storage(root)


@pytest.mark.parametrize("kind", [FOLDER, *STORAGES.values()], ids=lambda kind: kind.name)
def test_every_kind_is_a_storage(kind):
    module = importlib.import_module(kind.module)
    assert all(callable(getattr(getattr(module, kind.name), name)) for name in ("open", "state", "check"))


def test_a_folder_is_a_storage(root):
    storage: Storage = FolderStorage(str(root))  # mypy holds the class against the protocol
    storage.check()


def test_an_absent_root_is_the_storages_fault(tmp_path):
    with pytest.raises(StorageError, match="is the share mounted"):
        open_storage(str(tmp_path / "absent"))


def test_a_root_that_vanishes_is_noticed(root):
    storage = FolderStorage(str(root))
    storage.check()
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StorageError, match="cannot be listed") as caught:
        storage.check()
    assert caught.value.kind is Kind.AWAY
    root.mkdir()  # what an unmounted share leaves behind
    with pytest.raises(StorageError, match="is empty: is the share mounted") as caught:
        storage.check()
    assert caught.value.kind is Kind.AWAY


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


def objects(bucket, *keys):
    for key in keys:
        (bucket / key).mkdir(parents=True)
        (bucket / key / "xl.meta").write_bytes(b"XL2 ")


def test_minios_objects_are_recognised_where_only_the_bucket_is_shared(tmp_path):
    objects(tmp_path / "photos", "ab/cd/one.jpg", "ab/cd/two.jpg")
    with pytest.raises(StorageError, match="s3://photos instead") as caught:
        open_storage(str(tmp_path / "photos"))
    assert caught.value.kind is Kind.MISCONFIGURED


@pytest.mark.parametrize(
    ("shared", "address"),
    [
        ("photos", "s3://photos"),
        ("photos/sub", "s3://photos/sub"),
        ("", r"s3://BUCKET \(the buckets here: photos, private\)"),
    ],
)
def test_the_s3_line_is_right_for_each_folder_of_minios(tmp_path, shared, address):
    minio(tmp_path, "xl-single")
    objects(tmp_path / "photos", "sub/one.jpg")
    objects(tmp_path / "private", "two.jpg")
    with pytest.raises(StorageError, match=f"{address} instead"):
        open_storage(str(tmp_path / shared))


def test_minios_objects_are_recognised_by_the_keys_before_anything_fails(root):
    """Where the first entries of the root do not show it."""
    storage = open_storage(str(root))
    objects(root, "zz/two.jpg")
    with pytest.raises(Unreadable, match=r"object in MinIO's newer format.*s3://root instead") as caught:
        storage.open("zz/two.jpg", max_bytes=1000)
    assert caught.value.kind is Kind.MISCONFIGURED
    with pytest.raises(StorageError, match="s3://root instead"):
        storage.check()


def test_one_stray_folder_does_not_stop_a_root_of_files(root):
    storage = open_storage(str(root))
    objects(root, "zz/two.jpg")
    with storage.open("ab/one.jpg", max_bytes=1000):
        pass
    with pytest.raises(Unreadable, match="s3://root instead") as caught:
        storage.open("zz/two.jpg", max_bytes=1000)
    assert caught.value.kind is Kind.REFUSED
    storage.check()


ERRORS = {
    errno.EIO: Kind.TRANSIENT,
    errno.EBUSY: Kind.TRANSIENT,
    errno.ETIMEDOUT: Kind.TRANSIENT,
    errno.EMFILE: Kind.TRANSIENT,
    errno.EACCES: Kind.DENIED,
    errno.ENOENT: Kind.MISSING,
    errno.ENOTDIR: Kind.MISSING,
    errno.ENAMETOOLONG: Kind.REFUSED,
}
ERRORS |= {getattr(errno, name): Kind.TRANSIENT for name in ("ESTALE", "EHOSTDOWN") if hasattr(errno, name)}


@pytest.mark.parametrize("number", ERRORS)
@pytest.mark.parametrize("call", ["open", "fstat", "read"])
def test_errors_of_the_operating_system_are_told_apart(root, monkeypatch, number, call):
    storage = open_storage(str(root))

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(Unreadable) as caught, storage.open("ab/one.jpg", max_bytes=1000) as reading:
        reading.whole()
    monkeypatch.undo()
    assert caught.value.kind is ERRORS[number]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        *((number, Kind.AWAY) for number in (53, 64, 67, 1231)),
        *((number, Kind.TRANSIENT) for number in (32, 59, 121)),
        (1326, Kind.MISCONFIGURED),
        (2, Kind.MISSING),
    ],
)
def test_errors_of_windows_networks_are_told_from_missing_files(number, kind):
    """Python makes FileNotFoundError of a network path that is gone."""

    class OfWindows(FileNotFoundError):
        winerror = number

    assert _kind(OfWindows(errno.ENOENT, "says no")) is kind


def test_long_paths_on_windows():
    assert _extended("C:\\pictures", windows=True) == "\\\\?\\C:\\pictures"
    assert _extended("\\\\NAS\\share\\bucket", windows=True) == "\\\\?\\UNC\\NAS\\share\\bucket"
    assert _extended("\\\\?\\C:\\pictures", windows=True) == "\\\\?\\C:\\pictures"
    assert _extended("/pictures", windows=False) == "/pictures"
