"""`engine export --scores`: what a ledger keeps, as CSV and Parquet."""

import csv
from pathlib import Path

import numpy as np
import pytest

from engine.cli.export import COLUMNS, main
from engine.ledger.ledger import Ledger
from tests.engine.test_rethreshold import CATEGORIES, MODEL, TAGS, fill, scores
from tests.support.runs import ENGINE, run

ROWS = scores(7)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.keep_scores(MODEL)
        fill(ledger, ROWS)
    return path


def expected(least: float = 0.05, category: str | None = None) -> list[tuple[int, str, str, str, float, str]]:
    return [
        (i, f"{i}.jpg", tag, kind, float(score), MODEL.name)
        for i, row in enumerate(ROWS, 1)
        for tag, kind, score in zip(TAGS, CATEGORIES, row, strict=True)
        # What counts is kept too, whatever its score: of ratings the best.
        if (score >= np.float32(least) or (least < 0.06 and kind == "rating" and score == max(row[48:])))
        and category in (None, kind)
    ]


@pytest.mark.parametrize(("least", "category"), [(0.05, None), (0.8, None), (0.3, "Character")])
def test_every_kept_score_is_a_row(state: Path, tmp_path: Path, least: float, category: str | None) -> None:
    file = tmp_path / "scores.csv"
    flags = ["--threshold", str(least)] if least > 0.05 else []
    flags += ["--category", category.casefold()] if category else []
    assert main(["--scores", "--state", str(state), "--output", str(file), *flags]) == 0
    with file.open(encoding="utf-8", newline="") as text:
        heading, *rows = csv.reader(text)
    wanted = expected(least, category)
    assert tuple(heading) == COLUMNS
    assert [(int(i), *rest, m) for i, *rest, _, m in rows] == [(i, *rest, m) for i, *rest, _, m in wanted]
    assert np.abs(np.array([float(row[4]) for row in rows]) - [row[4] for row in wanted]).max() < 1e-4


@pytest.mark.full
def test_parquet_holds_the_same(state: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    file = tmp_path / "scores.parquet"
    assert main(["--scores", "--state", str(state), "--format", "parquet", "--output", str(file)]) == 0
    rows = [tuple(row.values()) for row in pq.read_table(file).to_pylist()]
    wanted = expected()
    assert [(*row[:4], row[5]) for row in rows] == [(*row[:4], row[5]) for row in wanted]
    assert np.abs(np.array([row[4] for row in rows]) - [row[4] for row in wanted]).max() < 1e-4
    assert pq.read_schema(file).names == list(COLUMNS)
    assert not list(tmp_path.glob("*.part"))


def test_without_pyarrow_the_extra_is_named(state: Path, tmp_path: Path) -> None:
    without = [*ENGINE[:-1], "import sys; sys.modules['pyarrow'] = None; " + ENGINE[-1]]
    arguments = ["export", "--scores", "--state", str(state), "--format", "parquet", "--output", str(tmp_path / "f")]
    ended = run([*without, *arguments])
    assert ended.returncode == 1 and 'pip install "deepdanbooru-engine[parquet]"' in ended.stderr
    assert "Traceback" not in ended.stderr and not list(tmp_path.glob("f*"))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--scores", "--format", "txt"], "--scores writes csv or parquet, not txt"),
        (["--scores", "--format", "parquet"], "--format parquet needs --output FILE"),
        (["--scores", "--max-tags", "3"], "--max-tags has no meaning with --scores"),
        (
            ["--scores", "--category", "artist"],
            "no tag is of the category artist: there are character, general, rating",
        ),
        ([], "--library is missing: the folder of pictures"),
    ],
)
def test_what_makes_no_sense_is_said(
    state: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--state", str(state)]) == 1
    assert says in capsys.readouterr().err


def test_a_ledger_without_scores_says_where_they_come_from(tmp_path: Path) -> None:
    Ledger(tmp_path / "s.db").close()
    ended = run([*ENGINE, "export", "--scores", "--state", str(tmp_path / "s.db")])
    assert ended.returncode == 1 and "keeps no scores: `engine run` keeps those of what it tags" in ended.stderr
