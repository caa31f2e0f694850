"""A library that changes while `engine serve --tag` runs, and while it does not: real processes, files and events."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import rescan
from service.catalogue import Catalogue
from service.database import Database
from service.rescan import Rescan
from tests.service.conftest import draw
from tests.service.test_serve_tag import Service, late_picture, tagged
from tests.support.runs import ENGINE, TOKEN, environment

NEVER = "100000"


@pytest.fixture
def serve(tmp_path: Path, library: Path, tiny_model: Path) -> Callable[..., Any]:
    @contextmanager
    def running(period: str) -> Iterator[tuple[Service, str]]:
        arguments = ["serve", "--tag", "--library", library, "--model", tiny_model, "--db", tmp_path / "l.db"]
        process = subprocess.Popen(
            [*ENGINE, *map(str, arguments), "--port", "0", "--rescan", period],
            cwd=tmp_path,
            env=environment(ENGINE_THRESHOLD="0.001"),
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        service = Service(process)
        try:
            yield service, service.wait_for(r"http://\S+")[0]
        finally:
            service.end()

    return running  # the ids: <img, a.jpg, b.PNG, c.webp


def until(happened: Callable[[], object]) -> None:
    """The test's own time limit ends a wait in vain."""
    while not happened():
        pass


def found(url: str, query: str) -> list[str]:
    answer = httpx.get(f"{url}/page/pictures", params={"q": query, "limit": 50}).json()
    return sorted(picture["path"] for picture in answer["pictures"])


def say(url: str, media_id: int, tag: str) -> None:
    edit = {"pictures": [media_id], "yes": [tag]}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.post(f"{url}/edits", json=edit, headers=headers).json()["id"]


def test_the_system_tells_of_new_moved_changed_and_deleted_files(serve, library: Path) -> None:
    """The period is a day: whatever is seen was told."""
    with serve(NEVER) as (service, url):
        tagged(url, 4)
        late_picture(library, "late.jpg")
        tagged(url, 5)
        say(url, 2, "chosen")
        (library / "a.jpg").rename(library / "nested folder" / "moved.jpg")
        until(lambda: found(url, "chosen") == ["nested folder/moved.jpg"])
        assert "nested folder/moved.jpg" in found(url, "similar:1")
        (library / "nested folder").rename(library / "another folder")
        until(lambda: found(url, "chosen") == ["another folder/moved.jpg"])
        (library / "another folder" / "moved.jpg").unlink()
        until(lambda: found(url, "chosen") == [])
        assert "moved" not in "".join(found(url, "similar:1") + found(url, "id:0.."))
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(30) == 0
        service.wait_for(r"\b5 images")  # what was moved was not tagged again


def test_a_judged_picture_that_is_copied_elsewhere_while_nobody_looks_keeps_its_verdict(
    serve, library: Path, tmp_path: Path
) -> None:
    """Killed, then moved with another time: its content, which was read before the kill, tells."""
    with serve("0.2") as (service, url):
        tagged(url, 4)
        say(url, 2, "chosen")
        with closing(sqlite3.connect(tmp_path / "l.db")) as database:
            sql = "SELECT id FROM media WHERE content IS NOT NULL"
            until(lambda: database.execute(sql).fetchall() == [(2,)])
        service.process.kill()
        service.process.wait()
    for number, name in enumerate(("a.jpg", "b.PNG")):
        (library / name).rename(library / f"moved {name}")
        os.utime(library / f"moved {name}", (1_000_000_000 + number, 1_000_000_000 + number))
    with serve("0.2") as (_, url):
        assert found(url, "chosen") == ["moved a.jpg"]
        assert found(url, "id:2") == ["moved a.jpg"] and found(url, "id:3") == []
        tagged(url, 4)


def test_without_the_package_the_period_does_it(library: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with closing(Database(tmp_path / "l.db")) as database:
        catalogue = Catalogue(database, library)
        catalogue.scan()
        with Rescan(catalogue, 0.05).looking():
            (library / "a.jpg").rename(library / "z.jpg")
            os.utime(library / "z.jpg", (1_000_000_000, 1_000_000_000))
            until(lambda: any(row.path == "z.jpg" for row in catalogue.segment(0, 100)))


def test_a_system_that_can_watch_no_more_folders_is_told_once(
    library: Path, tmp_path: Path, monkeypatch, caplog
) -> None:
    import watchfiles

    def refuse(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    with closing(Database(tmp_path / "l.db")) as database:
        catalogue = Catalogue(database, library)
        catalogue.scan()
        with Rescan(catalogue, 0.05).looking():
            until(lambda: "changes" in caplog.text)
            draw(library / "new.jpg")
            os.utime(library / "new.jpg", (1_000_000_000, 1_000_000_000))
            until(lambda: any(row.path == "new.jpg" for row in catalogue.segment(0, 100)))
    assert caplog.text.count("the system tells of no changes (OS file watch limit reached): looking every 0.05 s") == 1


def test_a_file_that_is_still_written_when_it_is_told_is_looked_at_again(
    library: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(rescan, "SETTLE_SECONDS", 0.5)
    heard: list[bool] = []
    with closing(Database(tmp_path / "l.db")) as database:
        catalogue = Catalogue(database, library)
        catalogue.scan()
        looks = Rescan(catalogue, float(NEVER))
        looks.on_change(lambda: heard.append(True))
        with looks.looking():
            draw(library / "new.jpg")
            until(lambda: any(row.path == "new.jpg" for row in catalogue.segment(0, 100)))
            until(lambda: heard)


@pytest.mark.parametrize(
    ("name", "concerns"),
    [("a.jpg", True), ("B.PNG", True), ("gone", True), ("folder.d", True), ("a.txt", False), (".a.jpg", False)],
)
def test_only_what_may_concern_pictures_leads_to_a_look(tmp_path: Path, name: str, concerns: bool) -> None:
    (tmp_path / "folder.d").mkdir()
    (tmp_path / "a.txt").touch()
    assert rescan._concerns(tmp_path / name) is concerns
