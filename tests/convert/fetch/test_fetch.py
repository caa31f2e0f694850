"""`engine fetch` as a whole, against a real server that behaves badly."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convert.cli import fetch_main
from convert.cli import main as convert
from convert.errors import ConvertError
from convert.fetch.fetch import FetchOptions, fetch
from convert.keras.project import tags_sha256
from convert.releases import OFFICIAL, OFFICIAL_PAGE, Release
from tests.convert.fetch.release_server import H5, RELEASE, SHA256, Server, zipped
from tests.convert.projects import DEMO


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


def test_the_tags_are_pinned_too(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tags that changed places: the model's SHA-256 does not tell, and both would be wrong ever after."""
    tags = (DEMO / "tags.txt").read_text(encoding="utf-8").split()
    pin = tags_sha256(tags)
    server.content = zipped(tags=[tags[1], tags[0], *tags[2:]])
    assert fetch_main(wanted(server, **{"tags-sha256": pin})) == 1
    assert "which is not what --tags-sha256 says" in said(capsys)
    assert list(Path().iterdir()) == []
    release = Release("of the demo", SHA256, tags_sha256=pin)
    with monkeypatch.context() as patch:
        patch.setattr("convert.fetch.fetch.RELEASES", (release,))
        assert fetch_main(wanted(server, sha256=None)) == 1
        assert "which is not that of the release of the demo" in said(capsys)
        patch.setattr("convert.fetch.fetch.RELEASES", (release._replace(tags_sha256=None, categories={"General": 26}),))
        assert fetch_main(wanted(server, sha256=None)) == 1
        assert re.search(r"holds .* Character, .* and the release of the demo 26 General", said(capsys))

    server.content = zipped(tags=tags)
    assert fetch_main(wanted(server, **{"tags-sha256": pin})) == 0
    assert pin in capsys.readouterr().out
    assert fetch_main(wanted(server, **{"tags-sha256": "0" * 64})) == 1
    assert "holds another model" in said(capsys)


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
    assert convert([str(DEMO), "model", "--overwrite"]) == 1  # convert replaces no such folder either
    Path("model/holiday.jpg").unlink()
    assert convert([str(DEMO), "model"]) == 0
    capsys.readouterr()
    assert fetch_main(wanted(server, sha256="1" * 64)) == 1
    assert "model holds another model: give --overwrite" in said(capsys)
    Path("model/model.json").write_text("{", encoding="utf-8")
    assert fetch_main(wanted(server)) == 1
    assert "model.json cannot be read" in said(capsys)
    assert server.asked == []


@pytest.mark.parametrize("address", ["ftp://host/x.zip", "x.zip", "http://", "http://host:port/", "https://a\nb/"])
def test_addresses_that_make_no_sense(address: str) -> None:
    with pytest.raises(ConvertError, match="give one like"):
        fetch(FetchOptions(Path("model"), address=address), lambda have, total: None, print)


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
