"""Downloads from a real server that behaves badly."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from convert.fetch import download as download_module
from convert.fetch.download import DownloadError, download
from tests.convert.fetch.release_server import RELEASE, Server


def quiet(have: int, total: int | None) -> None:
    pass


def at_once(seconds: float) -> None:
    """Stands for time.sleep."""


class Pauses(list[float]):
    """Stands for time.sleep and remembers how long."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


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
