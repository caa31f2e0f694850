"""`engine fetch` against a real server that behaves badly, and against zips made to do harm."""

import hashlib
import io
import json
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from convert.cli import fetch_main
from convert.errors import ConvertError
from convert.fetch import download as download_module
from convert.fetch import unpack as unpack_module
from convert.fetch.download import DownloadError, download
from convert.fetch.fetch import FetchOptions, fetch
from convert.fetch.unpack import BadArchive, unpack
from convert.releases import OFFICIAL, OFFICIAL_PAGE

DEMO = Path(__file__).parents[2] / "demo" / "model"
H5 = next(DEMO.glob("*.h5"))
SHA256 = hashlib.sha256(H5.read_bytes()).hexdigest()


def zipped(top: str = "") -> bytes:
    """The demo project as a release would come."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(DEMO.iterdir()):
            archive.write(path, top + path.name)
        archive.writestr(f"{top}README.html", "not part of a project")
    return file.getvalue()


RELEASE = zipped()


class Server(ThreadingHTTPServer):
    """Serves `content` at every path; the attributes are how it behaves.

    Attributes:
        cuts: for each answer in turn, after how many bytes of it the connection breaks.
        ranges: whether it knows Range.
        conditions: whether it knows If-Range; one that does not sends the part of whatever it has.
        etag: the file's; None sends none.
        status: what it answers.
        length: the Content-Length it claims for the whole file.
        location: where /moved leads.
        asked: the Range of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = RELEASE
        self.cuts: list[int] = []
        self.ranges = self.conditions = True
        self.etag: str | None = '"one"'
        self.status = 200
        self.length: int | None = None
        self.location = ""
        self.asked: list[str | None] = []
        self.address = f"http://127.0.0.1:{self.server_port}/release.zip"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers["Range"]
        server.asked.append(wanted)
        begin = self._begin(wanted)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", server.location)
        elif begin and begin >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
        else:
            return self._send(begin)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _begin(self, wanted: str | None) -> int:
        server = self.server
        changed = server.conditions and self.headers["If-Range"] != server.etag
        return int(wanted[6:-1]) if wanted and server.ranges and not changed else 0

    def _send(self, begin: int) -> None:
        server = self.server
        total = server.length if server.length is not None else len(server.content)
        self.send_response(206 if begin else server.status)
        self.send_header("Content-Length", str(total - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        body = server.content[begin:]
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _in_this_process_and_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("convert.keras.open._check", lambda path: None)
    monkeypatch.chdir(tmp_path)


def quiet(have: int, total: int | None) -> None:
    pass


def at_once(seconds: float) -> None:
    """Stands for time.sleep."""


class Pauses(list[float]):
    """Stands for time.sleep and remembers how long."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


# ---- the download


def got(server: Server, target: Path, pause: Callable[[float], None] = at_once) -> bytes:
    download(server.address, target, quiet, pause)
    assert [file.name for file in target.parent.iterdir()] == [target.name]  # no .part, no note
    return target.read_bytes()


def test_goes_on_after_each_broken_connection(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 200_000, 50_000]
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "x.zip"
    download(server.address, target, lambda *now: seen.append(now), at_once)
    assert target.read_bytes() == RELEASE
    assert server.asked == [None, "bytes=100000-", "bytes=300000-", "bytes=350000-"]
    assert seen == sorted(seen)
    assert seen[-1] == (len(RELEASE), len(RELEASE))


def interrupted(server: Server, target: Path, at: int = 100_000) -> None:
    """A first try that Ctrl-C ends once `at` bytes are there."""

    def stop(have: int, total: int | None) -> None:
        if have >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.address, target, stop, at_once)
    assert not target.exists()
    server.asked.clear()


def test_goes_on_in_the_next_process(server: Server, tmp_path: Path) -> None:
    interrupted(server, tmp_path / "x.zip")
    have = (tmp_path / "x.zip.part").stat().st_size
    assert got(server, tmp_path / "x.zip") == RELEASE
    assert have >= 100_000
    assert server.asked == [f"bytes={have}-"]


@pytest.mark.parametrize("conditions", [True, False])
def test_begins_anew_when_the_file_changed(server: Server, tmp_path: Path, conditions: bool) -> None:
    interrupted(server, tmp_path / "x.zip")
    server.conditions = conditions
    server.content, server.etag = RELEASE[::-1], '"two"'
    assert got(server, tmp_path / "x.zip") == RELEASE[::-1]


def test_begins_anew_for_another_address(server: Server, tmp_path: Path) -> None:
    interrupted(server, tmp_path / "x.zip")
    server.address += "?other"
    assert got(server, tmp_path / "x.zip") == RELEASE
    assert server.asked == [None]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_begins_anew_when_nobody_knows_whether_it_is_the_same_file(
    server: Server, tmp_path: Path, etag: str | None
) -> None:
    server.etag = etag
    interrupted(server, tmp_path / "x.zip")
    assert got(server, tmp_path / "x.zip") == RELEASE
    assert server.asked == [None]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [100_000, 50_000]
    assert got(server, tmp_path / "x.zip") == RELEASE
    assert server.asked == [None, "bytes=100000-", "bytes=50000-"]


def test_the_part_can_be_whole_already(server: Server, tmp_path: Path) -> None:
    interrupted(server, tmp_path / "x.zip", len(RELEASE))
    assert got(server, tmp_path / "x.zip") == RELEASE
    assert server.asked == [f"bytes={len(RELEASE)}-"]


def test_a_part_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    interrupted(server, tmp_path / "x.zip", len(RELEASE))
    with (tmp_path / "x.zip.part").open("ab") as part:
        part.write(b"more")
    assert got(server, tmp_path / "x.zip") == RELEASE


def test_a_broken_note_is_no_note(server: Server, tmp_path: Path) -> None:
    interrupted(server, tmp_path / "x.zip")
    (tmp_path / "x.zip.part.json").write_text("[", encoding="utf-8")
    assert got(server, tmp_path / "x.zip") == RELEASE


def test_promising_more_than_there_is_ends_well(server: Server, tmp_path: Path) -> None:
    server.length = len(RELEASE) + 1000
    assert got(server, tmp_path / "x.zip") == RELEASE  # asked for the rest, the server says there is none


def test_gives_up_on_a_server_that_never_gets_further(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [100_000] * 20
    pauses = Pauses()
    with pytest.raises(DownloadError, match="5 tries in a row brought nothing"):
        got(server, tmp_path / "x.zip", pauses)
    assert pauses == [1, 2, 4, 8, 16]
    assert (tmp_path / "x.zip.part").stat().st_size == 100_000


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.status = 503

    def pause(seconds: float) -> None:
        server.status = 200

    assert got(server, tmp_path / "x.zip", pause) == RELEASE


@pytest.mark.parametrize("declared", [True, False])
def test_too_large_a_file_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    monkeypatch.setattr(download_module, "MAX_BYTES", 100_000)
    monkeypatch.setattr(download_module, "_span", (lambda r: (0, None)) if not declared else download_module._span)
    with pytest.raises(DownloadError, match="than the 100,000"):
        got(server, tmp_path / "x.zip")
    assert (tmp_path / "x.zip.part").stat().st_size <= 100_000


def test_follows_redirects_with_the_range(server: Server, tmp_path: Path) -> None:
    server.location, server.address = server.address, server.address.replace("release.zip", "moved")
    interrupted(server, tmp_path / "x.zip")
    assert got(server, tmp_path / "x.zip") == RELEASE
    assert server.asked[0] == server.asked[1] is not None


@pytest.mark.parametrize(("location", "reason"), [("/moved", "redirects"), ("file:///etc/passwd", "protocol")])
def test_redirects_to_nowhere(server: Server, tmp_path: Path, location: str, reason: str) -> None:
    server.address, server.location = server.address.replace("release.zip", "moved"), location
    with pytest.raises(DownloadError, match=reason):
        got(server, tmp_path / "x.zip")


def test_https_never_becomes_http(tmp_path: Path) -> None:
    with download_module._client("https://example.org/x.zip") as client:
        hook = client.event_hooks["request"][0]
        hook(httpx.Request("GET", "https://elsewhere.org/x.zip"))
        with pytest.raises(DownloadError, match=r"elsewhere\.org without https"):
            hook(httpx.Request("GET", "http://elsewhere.org/x.zip"))


# ---- the zip


def entry(name: str, mode: int = 0, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name  # the constructor would repair it
    info.external_attr = mode << 16
    info.compress_type = method
    return info


HARMFUL = {
    "parent": entry("../project.json"),
    "parent within": entry("a/../../project.json"),
    "absolute": entry("/etc/project.json"),
    "backslash": entry("..\\project.json"),
    "drive": entry("C:project.json"),
    "stream": entry("tags.txt:hidden"),
    "link": entry("tags-general.txt", stat.S_IFLNK | 0o777),
    "device": entry("tags-general.txt", stat.S_IFCHR | 0o777),
    "bzip2": entry("tags-general.txt", method=zipfile.ZIP_BZIP2),
    "lzma": entry("tags-general.txt", method=zipfile.ZIP_LZMA),
    "twice": entry("tags.txt"),
    "two places": entry("other/tags-general.txt"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_entries_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    file, folder = tmp_path / "x.zip", tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("project.json", "{}")
        archive.writestr("tags.txt", "a")
        archive.writestr(HARMFUL[name], "/etc/passwd")
    with pytest.raises(BadArchive, match=re.escape(str(file))):
        unpack(file, folder)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [file]


@pytest.mark.parametrize("top", ["", "deepdanbooru-v3/"])
def test_only_the_projects_files_are_unpacked(tmp_path: Path, top: str) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(top))
    (tmp_path / "folder").mkdir()
    unpack(tmp_path / "x.zip", tmp_path / "folder")
    for path in DEMO.iterdir():
        assert (tmp_path / "folder" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "folder").iterdir())) == len(list(DEMO.iterdir()))


def refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    with pytest.raises(BadArchive, match=reason):
        unpack(tmp_path / "x.zip", folder)


def test_bombs_by_declared_size_and_by_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack_module, "MAX_BYTES", 1_000_000)
    refused(tmp_path, RELEASE, "more than the 1,000,000 bytes")
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(101):
            archive.writestr(f"{i}", "")
    refused(tmp_path, many.getvalue(), "101 files")


def test_a_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tags.txt", bytes(30_000_000))
    size = struct.pack("<L", 30_000_000)
    lie = file.getvalue().replace(size, struct.pack("<L", 100))
    assert lie.count(size) == 0
    refused(tmp_path, lie, "damaged")
    assert sum(path.stat().st_size for path in (tmp_path / "folder").iterdir()) <= 100


def test_a_list_of_files_without_end_is_not_read(tmp_path: Path) -> None:
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(15_000):
            archive.writestr(zipfile.ZipInfo(f"{i:0>100}"), "")
    refused(tmp_path, many.getvalue(), "list of files is too long")


def test_damage_is_a_sentence_wherever_it_lies(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "x.zip"
    small = io.BytesIO()
    with zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("project.json", "{}" * 20)
    good = small.getvalue()
    for at in range(len(good)):
        for value in (0, 0xFF, good[at] ^ 0x80):
            file.write_bytes(good[:at] + bytes([value]) + good[at + 1 :])
            folder.mkdir(exist_ok=True)
            try:
                unpack(file, folder)
            except BadArchive as error:
                assert str(file) in str(error)
            for path in folder.iterdir():
                path.unlink()
    for end in range(len(good)):
        refused(tmp_path, good[:end], "damaged")


# ---- the whole


def wanted(server: Server, **more: object) -> list[str]:
    options = {"to": "model", "project": "kept", "url": server.address, "sha256": SHA256} | more
    return ["deepdanbooru", *(f"--{key}={value}" for key, value in options.items() if value)]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_fetch_once_and_again(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.cuts = [1_000_000]
    assert fetch_main(wanted(server)) == 0
    captured = capsys.readouterr()
    assert "written to model" in captured.out
    assert f"downloading {server.address}" in captured.err
    assert sorted(path.name for path in Path().iterdir()) == ["kept", "model"]  # the zip is not needed any more
    manifest = json.loads(Path("model/model.json").read_text(encoding="utf-8"))
    assert manifest["source"] == {"file": H5.name, "sha256": SHA256}
    server.asked.clear()

    assert fetch_main(wanted(server)) == 0
    assert "model is there already" in capsys.readouterr().out
    assert fetch_main(wanted(server, precision="fp16")) == 0
    assert Path("model/model.fp16.onnx").is_file()
    assert Path("model/model.fp32.onnx").is_file()
    assert server.asked == []


@pytest.mark.parametrize("sha256", [None, "0" * 64])
def test_another_model_than_the_known_is_refused(
    server: Server, capsys: pytest.CaptureFixture[str], sha256: str | None
) -> None:
    assert fetch_main(wanted(server, sha256=sha256)) == 1
    text = said(capsys)
    assert f"{H5.name} has the SHA-256 {SHA256}, which is not" in text
    assert "--sha256" in text
    assert "It was deleted" in text
    assert list(Path().iterdir()) == []


def test_a_zip_put_there_by_hand_is_taken_and_left(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    Path("kept.zip").write_bytes(RELEASE)
    assert fetch_main(wanted(server)) == 0
    assert server.asked == []
    assert Path("kept.zip").read_bytes() == RELEASE


def test_a_wrong_zip_put_there_by_hand_is_left_and_named(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    Path("kept.zip").write_bytes(RELEASE)
    assert fetch_main(wanted(server, sha256=None)) == 1
    assert "Delete it to have it downloaded again" in said(capsys)
    assert [path.name for path in Path().iterdir()] == ["kept.zip"]


def test_a_project_that_is_there_must_be_the_known_one_too(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch_main(["deepdanbooru", "--project", str(DEMO), "--url", server.address]) == 1
    assert f"Move {DEMO} away" in said(capsys)
    assert server.asked == []
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"<html>log in</html>", RELEASE[:-100], b"", zipped().replace(b"tags.txt", b"tegs.txt")]
)
def test_what_is_no_release_leaves_nothing(server: Server, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    server.content = content
    assert fetch_main(wanted(server)) == 1
    text = said(capsys)
    assert f"{Path('kept.zip').absolute()}" in text
    assert "It was deleted" in text
    assert "Traceback" not in text
    assert list(Path().iterdir()) == []


def test_promising_less_than_there_is(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.length = len(RELEASE) - 1000
    assert fetch_main(wanted(server)) == 1
    assert "is damaged or no zip file" in said(capsys)
    assert list(Path().iterdir()) == []


def test_not_found_says_what_to_do_by_hand(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.status = 404
    assert fetch_main(wanted(server, url=f"{server.address.replace('//', '//me:pass@')}?signature=secret")) == 1
    text = said(capsys)
    assert "the server answers 404 Not Found. Or download" in text
    assert f"put it at {Path('kept.zip').absolute()}" in text
    assert "secret" not in text
    assert "pass@" not in text


def test_without_internet_the_official_release_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_such_host(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    assert fetch_main(["deepdanbooru"]) == 1
    text = said(capsys)
    assert "Name or service not known" in text
    assert f"download {OFFICIAL}.zip (about 600 MB, from {OFFICIAL_PAGE}) by hand" in text
    assert f"put it at {Path(f'{OFFICIAL}.zip').absolute()}" in text


@pytest.mark.parametrize(("name", "value"), [("SSL_CERT_FILE", "/nowhere"), ("HTTPS_PROXY", "carrier-pigeon://coop")])
def test_an_environment_that_makes_no_sense_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert fetch_main(["deepdanbooru"]) == 1
    assert "settings for proxy or certificates cannot be used" in said(capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_sentence(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    Path("kept.zip.part").symlink_to("/dev/full")
    assert fetch_main(wanted(server)) == 1
    text = said(capsys)
    assert f"{Path('kept.zip').absolute()} cannot be written (No space left on device): make room" in text


def test_a_model_folder_of_something_else_is_noticed_before_the_download(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("model").mkdir()
    Path("model/holiday.jpg").touch()
    assert fetch_main(wanted(server)) == 1
    assert "holds no model of ours" in said(capsys)
    other = {"source": {"sha256": "1" * 64}, "precisions": {}}
    Path("model/model.json").write_text(json.dumps(other), encoding="utf-8")
    assert fetch_main(wanted(server)) == 1
    assert "--overwrite" in said(capsys)
    assert server.asked == []


@pytest.mark.parametrize("address", ["ftp://host/x.zip", "x.zip", "http://", "http://host:port/", "https://a\nb/"])
def test_addresses_that_make_no_sense(address: str) -> None:
    with pytest.raises(ConvertError, match="give one like"):
        fetch(FetchOptions(Path("model"), address=address), quiet, print)


def test_a_command_line_that_makes_no_sense() -> None:
    assert fetch_main(["deepdanbooru", "--sha256", "123"]) == 2
    assert fetch_main(["another"]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a single process")
def test_ctrl_c_keeps_what_has_come(server: Server) -> None:
    server.cuts = [1_000_000]
    part = Path("kept.zip.part")
    # It breaks after 1 MB and pauses for a second before it goes on to a server that is not there any more.
    program = [sys.executable, "-c", "from convert.cli import fetch_main; raise SystemExit(fetch_main())"]
    with subprocess.Popen([*program, *wanted(server)], stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size == 1_000_000) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert part.stat().st_size == 1_000_000
    server.asked.clear()
    assert fetch_main(wanted(server)) == 0
    assert server.asked == ["bytes=1000000-"]
