"""A run with a tagger of the WD family: its own thresholds, those that are set, and what the ledger keeps of them."""

import json
from pathlib import Path

import pytest

from convert.cli import main as convert
from demo.render import render
from engine.ledger.schema import LedgerView
from tests.engine.runs.test_run import catalogue
from tests.support.media_server import MediaServer
from tests.support.runs import ENGINE, command, run
from tests.support.taggers import write_tagger


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    render(folder, 12, seed=77)
    return folder


@pytest.fixture(scope="module")
def wd(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wd")
    assert convert([str(write_tagger(folder / "tagger", folder / "demo")), str(folder / "model")]) == 0
    return folder / "model"


def tags(library: Path, model: Path, *flags: str) -> dict[str, dict[str, float]]:
    result = run([*ENGINE, "tag", "--model", str(model), "--json", *flags, str(library)])
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {line["path"]: {tag["tag"]: tag["score"] for tag in line["tags"]} for line in lines}


@pytest.mark.full
def test_run_retag_and_the_ledger(library: Path, wd: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    with MediaServer(catalogue(library)) as server:
        arguments = command(server, wd, library, state)
        assert run(arguments).returncode == 0
        assert sum(map(len, tags(library, wd).values())) == len(server.store)
        with LedgerView(state) as view:
            assert view.meta("threshold") == "rating=best,general=0.35,character=0.85"
            assert view.meta("preprocessing") == "wd 128x128"
        refused = run([*arguments, "--threshold", "character=0.5"])
        assert refused.returncode == 1 and "made with threshold" in refused.stderr
        assert run([*arguments, "--threshold", "0.35,character=.850"]).returncode == 0  # the same in other words
        again = [*arguments, "--threshold", "rating=0.01,general=0.2"]
        again[again.index("run")] = "retag"
        assert run(again).returncode == 0
        wanted = tags(library, wd, "--threshold", "rating=0.01,general=0.2")
        assert sum(map(len, wanted.values())) == len(server.store) > sum(map(len, tags(library, wd).values()))
        assert run(arguments).returncode == 0


def test_another_family_begins_with_its_own_thresholds(
    library: Path, wd: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with MediaServer(catalogue(library)[:3]) as server:
        arguments = command(server, tiny_model, library, tmp_path / "s.db", "--threshold", "0.9")
        assert run(arguments).returncode == 0
        other = command(server, wd, library, tmp_path / "s.db")
        other[other.index("run")] = "retag"
        assert run(other).returncode == 0
        with LedgerView(tmp_path / "s.db") as view:
            assert view.meta("threshold") == "rating=best,general=0.35,character=0.85"


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        ("artist=0.5", "--threshold names the category artist, and the model has only rating, general, character"),
        ("0.5;0.7", "--threshold: '0.5;0.7' does not say which tags to give: write a score above 0 to 1"),
        ("7", "--threshold: 7 is no score above 0 to 1"),
    ],
)
def test_a_threshold_that_makes_no_sense(threshold: str, says: str, library: Path, wd: Path) -> None:
    result = run([*ENGINE, "tag", "--model", str(wd), "--threshold", threshold, str(library)])
    assert result.returncode == 1 and says in result.stderr and result.stderr.count("\n") == 1


def test_it_can_stand_in_the_settings_file(library: Path, wd: Path, tmp_path: Path) -> None:
    file = tmp_path / "engine.toml"
    for line in ("threshold = 0.9", 'threshold = "0.9,rating=best"'):
        file.write_text(line, encoding="utf-8")
        assert tags(library, wd, "--config", str(file)) == tags(library, wd, "--threshold", "0.9")
