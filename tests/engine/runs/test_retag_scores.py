"""`engine retag --threshold`, by kept scores: real processes, no picture and no model, and kills in the middle."""

import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from engine.ledger.schema import LedgerView
from engine.types import Outcome
from tests.engine.runs.test_retag import Home, default_path_of, home, other_model
from tests.engine.runs.test_run import catalogue, pictures
from tests.support.media_server import BULK, REPLACE, SINGLE, MediaServer
from tests.support.runs import ENGINE, command, environment, run

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
