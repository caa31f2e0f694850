"""`engine retag --threshold`, by kept scores: real processes, no picture and no model, and kills in the middle."""

import json
import re
import shutil
import sqlite3
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from engine.ledger.ledger import Ledger
from engine.ledger.schema import LedgerView
from engine.types import Outcome
from service.embedded import embedded
from service.store import Opinion, Store
from tests.engine.runs.test_retag import Home, default_path_of, home, other_model
from tests.engine.runs.test_run import catalogue, pictures
from tests.engine.test_rethreshold import MODEL, fill, scores
from tests.support.media_server import BULK, REPLACE, SINGLE, MediaServer
from tests.support.runs import ENGINE, command, environment, run, start

__all__ = ["home", "pictures"]  # the fixtures


def by_scores(server: MediaServer, state: Path, *more: str | Path, path: str = REPLACE) -> list[str]:
    """A retag that has neither a model nor a storage."""
    flag = {REPLACE: "--recognition-replace-url", BULK: "--recognition-bulk-url", SINGLE: "--recognition-url"}[path]
    named = ["--segment-url", server.segment_url, flag, server.url + path, "--state", str(state)]
    return [*ENGINE, "retag", *named, *map(str, more)]


def tag(server: MediaServer, model: Path, pictures: Path, state: Path, *more: str | Path, path: str = REPLACE) -> None:
    arguments = command(server, model, pictures, state, *map(str, more), bulk=path == BULK)
    if path == REPLACE:
        arguments += ["--recognition-replace-url", server.replace_url]
    ended = run(arguments)
    assert ended.returncode == 0, ended.stderr


def said(arguments: list[str]) -> str:
    ended = run(arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


@pytest.mark.full
def test_other_thresholds_need_neither_model_nor_pictures(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("tag,threshold\ntag_3,0.9\ntag_4,0.05\n", encoding="utf-8")
    gone = tmp_path / "gone"
    shutil.copytree(pictures, gone)
    with MediaServer(catalogue(pictures)) as server, MediaServer(catalogue(pictures)) as fresh:
        state = tmp_path / "s.db"
        tag(server, tiny_model, gone, state)
        shutil.rmtree(gone)
        before, posts = dict(server.store), len(server.posts())
        told = said(by_scores(server, state, "--threshold", "0.7", "--dry-run"))
        assert "fewer" in told and "a dry run" in told and server.store == before
        told = said(by_scores(server, state, "--threshold", "0.7", "--threshold-file", table))
        assert "media change by their kept scores, no picture is read" in told
        tag(fresh, tiny_model, pictures, tmp_path / "f.db", "--threshold", "0.7", "--threshold-file", table)
        assert server.store == fresh.store != before
        assert server.violations == [] and len(server.posts()) > posts
        posts = len(server.posts())
        assert "0 of " in said(by_scores(server, state, "--threshold", "0.7"))  # the table stays until another is given
        assert len(server.posts()) == posts
        # A run goes on with what the ledger says now, and so does a new picture.
        ended = run(command(server, tiny_model, pictures, state, "--threshold", "0.5"))
        assert ended.returncode == 1 and "made with threshold 0.7, not 0.5" in ended.stderr


def test_killed_in_the_middle_the_same_command_ends_it(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    with MediaServer(catalogue(pictures)) as server, MediaServer(catalogue(pictures)) as fresh:
        state = tmp_path / "s.db"
        tag(server, tiny_model, pictures, state)
        tag(fresh, tiny_model, pictures, tmp_path / "f.db", "--threshold", "0.3")
        posts = len(server.posts())
        arguments = by_scores(server, state, "--threshold", "0.3", "--chunk-records", "30", "--connections", "1")
        victim = subprocess.Popen(arguments, env=environment(), stderr=subprocess.DEVNULL)
        assert server.wait_until(lambda: len(server.posts()) > posts + 2, timeout=60)
        victim.kill()
        victim.wait()
        with LedgerView(state) as view:
            assert view.counts()[Outcome.OUTBOX] > 0  # it was the middle
        said(arguments)
        assert server.store == fresh.store and server.violations == []
        with LedgerView(state) as view:
            assert view.counts()[Outcome.OUTBOX] == 0


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("before it is stored", marks=pytest.mark.full),
        "before the answer",
        pytest.param("and the process is killed", marks=pytest.mark.full),
    ],
)
def test_a_verdict_on_the_picture_that_is_being_posted_stands(
    moment: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded service holds the very request that replaces a picture's tags, and meanwhile a person judges it."""
    posted, said_so = threading.Event(), threading.Event()
    store = Store.replace

    def replace(self: Store, opinions: list[Opinion]) -> set[int]:
        unknown = store(self, opinions) if moment != "before it is stored" else None
        if retagging:
            posted.set()
            assert said_so.wait(60)
        return store(self, opinions) if unknown is None else unknown

    monkeypatch.setattr(Store, "replace", replace)
    retagging = False
    state = home.data / "named.db"
    with embedded(home.library, db=home.data / "named.library.db", rescan=0) as service:
        named = ["--segment-url", service.segment_url, "--recognition-replace-url", service.recognition_replace_url]
        named += ["--state", str(state)]
        token = service.token
        ended = run(
            [*ENGINE, "run", "--model", str(home.model), "--storage", str(home.library), *named, "--threshold", "0.5"],
            ENGINE_API_TOKEN=token,
        )
        assert ended.returncode == 0, ended.stderr
        with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.token}"}) as http:
            before, after = home.expected(0.5), home.expected(0.3)
            [path, tags] = next((path, tags) for path, tags in before.items() if 0 < len(tags) < len(after[path]))
            given, new = next(iter(tags)), next(tag for tag in after[path] if tag not in tags)
            picture = pictures_found(http, "id:0..")[path]
            edit(http, picture, yes=["a_hat"], no=[given])
            retagging = True
            arguments = [*ENGINE, "retag", *named, "--threshold", "0.3", "--connections", "1"]
            process = start(arguments, ENGINE_API_TOKEN=token)
            assert posted.wait(60)
            edit(http, picture, yes=["a_cat"], no=[new])
            if moment == "and the process is killed":
                process.kill()
                process.communicate()
                retagging = False
            said_so.set()
            if process.returncode is None:
                _, told = process.communicate(timeout=60)
                assert process.returncode == 0, told
            else:
                ended = run(arguments, ENGINE_API_TOKEN=token)
                assert ended.returncode == 0, ended.stderr
            for tag, has in {"a_hat": True, "a_cat": True, given: False, new: False}.items():
                assert (path in pictures_found(http, f'"{tag}"')) is has, tag
        opinions = sqlite3.connect(service.db)
        [tagged] = opinions.execute("SELECT count(*) FROM verdict WHERE media_id = ?", (picture,)).fetchone()
        opinions.close()
        assert tagged == 4
    with LedgerView(state) as view:
        assert view.counts()[Outcome.OUTBOX] == 0 and view.meta("threshold") == "0.3"


def edit(http: httpx.Client, picture: int, **verdicts: list[str]) -> None:
    answer = http.post("/edits", json={"pictures": [picture], "who": "me", **verdicts})
    assert answer.status_code == 200 and all(answer.json()["changed"].values()), answer.text


def pictures_found(http: httpx.Client, query: str) -> dict[str, int]:
    """{path: id}."""
    found = http.get("/page/pictures", params={"q": query}).json()
    return {picture["path"]: picture["id"] for picture in found["pictures"]}


@pytest.mark.full
@pytest.mark.parametrize("path", [BULK, SINGLE])
def test_a_service_that_takes_nothing_away_is_told_what_is_new_once(
    path: str, pictures: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with MediaServer(catalogue(pictures)[:6]) as server, MediaServer(catalogue(pictures)[:6]) as fresh:
        state = tmp_path / "s.db"
        tag(server, tiny_model, pictures, state, path=path)
        before = dict(server.store)
        told = said(by_scores(server, state, "--threshold", "0.9", path=path))
        assert "cannot be taken back" in told and "--recognition-replace-url" in told and server.store == before
        said(by_scores(server, state, "--threshold", "0.3", path=path))
        tag(fresh, tiny_model, pictures, tmp_path / "f.db", "--threshold", "0.3", path=path)
        assert server.store == fresh.store and len(server.store) > len(before)
        assert server.stored_twice == [] and server.violations == []


@pytest.mark.full
def test_without_kept_scores_pictures_are_read_or_the_model_is_asked_for(
    pictures: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with MediaServer(catalogue(pictures)[:4]) as server:
        state = tmp_path / "s.db"
        tag(server, tiny_model, pictures, state, "--keep-scores", "0")
        with LedgerView(state) as view:
            assert view.scorers() == []
        ended = run(by_scores(server, state, "--threshold", "0.3"))
        assert ended.returncode == 1 and "Traceback" not in ended.stderr
        assert "no scores are kept of the model that gave the tags: so the pictures must be read" in ended.stderr
        arguments = by_scores(server, state, "--threshold", "0.3", "--model", tiny_model, "--storage", pictures)
        told = said(arguments)
        assert "no scores are kept" in told and "4 media will be tagged again" in told
        told = said(by_scores(server, state, "--threshold", "0.03", "--model", tiny_model, "--storage", pictures))
        assert "scores below 0.05 are not kept, and 0.03 is lower: the pictures are read" in told


@pytest.mark.full
def test_another_model_reads_the_pictures(home: Home, tmp_path: Path) -> None:
    home.tag("run")
    home.model = other_model(home.model, tmp_path / "another")
    told = home.tag("retag", "--threshold", "0.4").stderr
    assert "another is another model than the one that gave the tags: the pictures are read" in told
    assert home.exported() == home.expected(0.4)


@pytest.mark.full
def test_the_embedded_service_takes_more_than_the_contract_in_a_request(home: Home) -> None:
    for path in list(home.library.rglob("*.*")):
        shutil.copy2(path, path.with_stem(f"{path.stem}_again"))
    home.tag("run")
    said_as_json = home.engine("retag", "--library", home.library, "--threshold", "0.06", "--json").stdout
    result = json.loads(said_as_json)
    assert result["records"] > 500 and result["requests"] == 1
    assert home.exported() == home.expected(0.06)


@pytest.mark.full
def test_some_media_have_no_scores_and_the_next_run_reads_them(home: Home) -> None:
    home.tag("run")
    ledger = default_path_of(home).with_suffix(".ledger.db")
    connection = sqlite3.connect(ledger)
    connection.execute("DELETE FROM score WHERE media_id <= 3")
    connection.commit()
    connection.close()
    told = home.engine("retag", "--library", home.library, "--threshold", "0.4", "--json")
    assert "3 media were tagged without kept scores: they keep their tags until `engine run`" in told.stderr
    assert json.loads(told.stdout)["without_scores"] == 3
    assert home.images("run") == 3
    assert home.exported() == home.expected(0.4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tag_1\n", "line 1 of .* is no row tag,threshold: 'tag_1'"),
        ("tag,threshold\ntag_1,0.5\ntag_1,0.6\n", "line 3 of .* names the tag tag_1 again"),
        ("tag_1,1.5\n", "line 1 of .* gives tag_1 the threshold '1.5': write a score above 0 to 1"),
        ("tag_1,top3\n", "line 1 of .* gives tag_1 the threshold 'top3'"),
        ("nobody,0.5\n", "--threshold-file names the tag nobody, which the model does not have"),
    ],
)
def test_a_table_that_makes_no_sense(text: str, says: str, tiny_model: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text, encoding="utf-8")
    with MediaServer() as server:
        arguments = command(server, tiny_model, tmp_path, tmp_path / "s.db", "--threshold-file", str(table))
        ended = run(arguments)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert re.search(says, ended.stderr), ended.stderr


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger whose media were tagged, with scores from 0.05 up."""
    path = tmp_path_factory.mktemp("kept") / "s.db"
    with Ledger(path) as ledger:
        ledger.set_meta({"model": "1" * 64, "tags": "2" * 64, "precision": "fp32", "preprocessing": "wd 4x4"})
        ledger.set_meta({"threshold": "rating=best,general=0.35,character=0.85", "tag thresholds": ""})
        ledger.name_model(MODEL.name)
        ledger.keep_scores(MODEL)
        fill(ledger, scores(5))
    return path


@pytest.mark.parametrize(
    ("flags", "table", "says"),
    [
        (["--threshold", "artist=0.4"], "", "--threshold names the category artist, and the model has only general, "),
        (["--threshold", "long_hair=0.4"], "", "--threshold names the category long_hair, and the model has only gen"),
        ([], "nobody,0.5\n", "--threshold-file names the tag nobody, which the model does not have"),
        (
            [],
            "general_1,0.5\ngeneral_2,zero\n",
            "line 2 of .*table.csv gives general_2 the threshold 'zero'",
        ),
        ([], "general_1,0.5\ngeneral_2\n", "line 2 of .*table.csv is no row tag,threshold: 'general_2'"),
        (
            ["--threshold", "0.04"],
            "",
            "scores below 0.05 are not kept, and 0.04 is lower: so the pictures must be",
        ),
        ([], "general_1,0.01\n", "scores below 0.05 are not kept, and 0.01 is lower: so the pictures must be read"),
        (["--threshold", "general=top5"], "", "general=top5 goes by a number of tags, some of which may not be kept"),
        (["--threshold", "0.4", "--precision", "fp16"], "", "in fp16 the model gives other scores than in fp32"),
        (["--threshold", "0.4", "--state", "none.db"], "", "there is no state file none.db: `engine run` makes it"),
        (["--threshold-file", "none.csv"], "", "the table of thresholds none.csv cannot be read: No such file"),
    ],
)
def test_what_kept_scores_cannot_answer_is_one_sentence(
    flags: list[str], table: str, says: str, kept: Path, tmp_path: Path
) -> None:
    if table:
        (tmp_path / "table.csv").write_text(table, encoding="utf-8")
        flags = [*flags, "--threshold-file", str(tmp_path / "table.csv")]
    ledger = tmp_path / "s.db"
    shutil.copyfile(kept, ledger)
    address = "http://127.0.0.1:9/replace"  # nothing listens there: the sentence comes before the first request
    ended = run([*ENGINE, "retag", "--recognition-replace-url", address, "--state", str(ledger), *flags])
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert re.search(says, ended.stderr), ended.stderr
    assert ledger.read_bytes() == kept.read_bytes() or unchanged(ledger, kept)


def unchanged(ledger: Path, before: Path) -> bool:
    tables = ("meta", "media", "outbox", "score", "given", "scorer")
    dumps = []
    for path in (ledger, before):
        connection = sqlite3.connect(path)
        dumps.append([connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables])
        connection.close()
    return dumps[0] == dumps[1]
