"""Other thresholds by kept scores: in the end the service has what a run with them would have given it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine.api.messages import record_bodies, tags_in
from engine.delivery.entries import entry, pairs_of
from engine.delivery.loop import SINK
from engine.errors import ConfigError, LedgerError
from engine.families import family_of
from engine.ledger.kept import Scorer
from engine.ledger.ledger import Ledger
from engine.ledger.schema import LedgerView
from engine.model.folder import open_model
from engine.rethreshold import NoScores, Rethreshold, plan
from engine.types import Media, Outcome, Preprocessing, Tagged, TagScore

TAGS = (*(f"general_{i}" for i in range(40)), *(f"someone_{i}" for i in range(8)), *(f"rating:{r}" for r in "sqe"))
CATEGORIES = ("General",) * 40 + ("Character",) * 8 + ("rating",) * 3
FAMILY = family_of(Preprocessing("wd", 4, 4))
MODEL = Scorer(0, "a model", "1" * 64, "2" * 64, TAGS, CATEGORIES, 0.05)
BEFORE = "rating=best,general=0.35,character=0.85"


def scores(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, len(TAGS)), np.float32)


def fill(ledger: Ledger, rows: np.ndarray, threshold: str = BEFORE, *, first: int = 1, posted: bool = True) -> None:
    """Tag media as a run does; what is posted has left the outbox."""
    select = FAMILY.selection(TAGS, CATEGORIES, threshold)
    media = [Media(first + i, f"{first + i}.jpg", first + i) for i in range(len(rows))]
    ledger.admit(media)
    tagged = [Tagged(one, select(row), row) for one, row in zip(media, rows, strict=True)]
    ledger.store(tagged, {SINK: [entry(item, replaces=True) for item in tagged]}).result()
    if posted:
        ledger.delivered([item.seq for item in ledger.outbox(SINK, 0, 10_000)]).result()


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "ledger.db") as made:
        made.set_meta({"model": "1" * 64, "tags": "2" * 64, "precision": "fp32", "preprocessing": "wd 4x4"})
        made.set_meta({"threshold": BEFORE, "tag thresholds": ""})
        made.keep_scores(MODEL)
        yield made


def judge(ledger: Ledger, threshold: str | None, table: dict[str, float] | None = None, *, replaces: bool = True):
    wanted = plan(ledger, threshold, table, None, None)
    judged = Rethreshold(wanted, replaces=replaces)
    pending = ledger.judge_again(wanted.scorer, judged, wanted.thresholds.meta(), SINK)
    return judged, pending


def waiting(ledger: LedgerView) -> dict[int, dict[str, str]]:
    """What goes to the media API, with the decimals that it gets."""
    items = ledger.outbox(SINK, 0, 10_000)
    sent = {item.media.id: map(json.loads, record_bodies(item.media, pairs_of(item.entry))) for item in items}
    return {number: {one["tagKey"]: one["similarity"] for one in records} for number, records in sent.items()}


def expected(rows: np.ndarray, threshold: str, table: dict[str, float] | None = None) -> dict[int, dict[str, str]]:
    select = FAMILY.selection(TAGS, CATEGORIES, threshold, table or {})
    return {i: {tag: f"{score:05.3f}" for tag, score in select(row)} for i, row in enumerate(rows, 1)}


@pytest.mark.parametrize(
    ("threshold", "table"),
    [
        ("0.2", None),
        ("0.9", None),
        ("character=0.5", None),
        ("general=0.3537", None),
        (None, {"general_3": 0.9, "someone_1": 0.1}),
        ("0.6", {"general_3": 0.05}),
    ],
)
def test_what_is_posted_is_what_a_run_would_give(
    ledger: Ledger, threshold: str | None, table: dict[str, float] | None
) -> None:
    rows = scores(60)
    fill(ledger, rows)
    judged, pending = judge(ledger, threshold, table)
    before, after = expected(rows, BEFORE), expected(rows, threshold or BEFORE, table)
    assert waiting(ledger) == {i: tags for i, tags in after.items() if tags != before[i]}
    assert judged.changed == len(waiting(ledger)) > 0 and judged.media == 60 and pending == 0
    assert judged.added == sum(len(after[i].keys() - before[i].keys()) for i in after)
    assert judged.taken_away == sum(len(before[i].keys() - after[i].keys()) for i in after)
    assert ledger.counts()[Outcome.OUTBOX] == judged.changed


def test_a_single_tag_joins_what_is_known_and_leaves_the_rest(ledger: Ledger) -> None:
    rows = scores(60)
    fill(ledger, rows)
    judge(ledger, "character=0.7", {"general_3": 0.9})
    judge(ledger, "General_4=0.95,someone_2=0.2")
    table = {"general_3": 0.9, "general_4": 0.95, "someone_2": 0.2}
    assert waiting(ledger).items() <= expected(rows, "character=0.7", table).items()
    assert len(waiting(ledger)) > 50 and ledger.meta("threshold") == "general=0.35,character=0.7,rating=best"
    judge(ledger, "0.5,someone_2=0.6", {})
    assert json.loads(ledger.meta("tag thresholds") or "") == {"someone_2": 0.6}


def test_a_score_that_is_the_threshold_counts_and_one_below_it_does_not(ledger: Ledger) -> None:
    rows = np.zeros((2, len(TAGS)), np.float32)
    rows[:, 48] = 0.9  # each has a rating
    rows[0, :3] = 0.2, np.nextafter(np.float32(0.2), np.float32(0)), 0.9
    fill(ledger, rows)
    judge(ledger, "0.2")
    assert waiting(ledger) == {1: expected(rows, "0.2")[1]} and "general_0" in waiting(ledger)[1]
    assert "general_1" not in waiting(ledger)[1]


def test_a_single_tag_takes_the_place_of_what_the_table_had_for_it(ledger: Ledger) -> None:
    fill(ledger, scores(1))
    judge(ledger, None, {"general_3": 0.9})
    judge(ledger, "general_3=0.7")
    assert json.loads(ledger.meta("tag thresholds") or "") == {"general_3": 0.7}


def test_a_name_that_a_category_has_too_is_the_categorys(tmp_path: Path) -> None:
    with Ledger(tmp_path / "named.db") as made:
        made.set_meta({"model": "1" * 64, "tags": "2" * 64, "precision": "fp32", "preprocessing": "wd 4x4"})
        made.set_meta({"threshold": "0.5", "tag thresholds": ""})
        made.keep_scores(MODEL._replace(tags=("character", "other"), categories=("General", "Character")))
        wanted = plan(made, "character=0.7", None, None, None).thresholds
    assert (wanted.threshold, wanted.table) == ("general=0.35,character=0.7", "")


def test_a_single_tag_takes_a_score(ledger: Ledger) -> None:
    fill(ledger, scores(1))
    with pytest.raises(ConfigError, match="gives the tag someone_1 the rule top3: a single tag takes a score"):
        plan(ledger, "someone_1=top3", None, None, None)


def test_there_and_back_nothing_is_left(ledger: Ledger) -> None:
    rows = scores(30)
    fill(ledger, rows)
    identity = ledger.identity
    judge(ledger, "0.2")
    assert judge(ledger, "0.2")[0].changed == 0  # what waits is what is wanted
    judge(ledger, BEFORE)
    assert waiting(ledger) == expected(rows, BEFORE)  # some of it may have gone out: all of it is posted once more
    assert ledger.identity == ledger.meta("identity") != identity  # else a service could take it for an old request


def test_a_service_that_takes_nothing_away_gets_what_is_new(ledger: Ledger) -> None:
    rows = scores(20)
    fill(ledger, rows)
    judged, _ = judge(ledger, "general=0.5,character=0.5", replaces=False)
    before, after = expected(rows, BEFORE), expected(rows, "general=0.5,character=0.5")
    new = {i: {tag: s for tag, s in tags.items() if tag not in before[i]} for i, tags in after.items()}
    assert waiting(ledger) == {i: tags for i, tags in new.items() if tags}
    assert judged.kept_there == sum(len(before[i].keys() - after[i].keys()) for i in before) > 0
    ledger.delivered([item.seq for item in ledger.outbox(SINK, 0, 10_000)]).result()
    judge(ledger, BEFORE, replaces=False)
    assert waiting(ledger) == {}  # all of it is there already


def test_what_waits_is_added_to_and_not_sent_twice(ledger: Ledger) -> None:
    rows = scores(3)
    fill(ledger, rows, posted=False)
    [first, *_] = ledger.outbox(SINK, 0, 10)
    ledger.progress({first.seq: 2}).result()
    judge(ledger, "0.2", replaces=False)
    item = ledger.outbox(SINK, 0, 10)[0]
    sent = tags_in(pairs_of(first.entry))
    assert (item.seq, item.sent) == (first.seq, 2)
    assert tags_in(pairs_of(item.entry))[: len(sent)] == sent  # the two that are answered are still the first
    assert waiting(ledger)[1] == expected(rows, "0.2")[1]


@pytest.mark.parametrize("none", ["", "[]"])
def test_what_waits_without_tags_adds_nothing(ledger: Ledger, none: str) -> None:
    """As a run leaves it that replaces tags, now or of an earlier version; then the service is one that cannot."""
    rows = np.full((1, len(TAGS)), 0.1, np.float32)
    rows[0, :2] = 0.3
    fill(ledger, rows, "0.9", posted=False)
    with closing(sqlite3.connect(ledger.path)) as file, file:
        file.execute("UPDATE outbox SET entry = ?", (none,))
    judge(ledger, "general=0.2,character=0.9", replaces=False)
    assert {"general_0", "general_1"} <= waiting(ledger)[1].keys() and "" not in waiting(ledger)[1]


def test_media_without_scores_are_for_the_next_run(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, scores(4))
    with Ledger(tmp_path / "other.db") as other:  # the same, with nothing kept of some
        other.set_meta({"model": "1" * 64, "tags": "2" * 64, "preprocessing": "wd 4x4", "threshold": BEFORE})
        fill(other, scores(4))
        with pytest.raises(NoScores, match=r"no scores are kept of the model that gave the tags$"):
            plan(other, "0.2", None, None, None)
        assert other.scorers() == []
        other.keep_scores(MODEL)
        fill(other, scores(2), first=5)
        assert judge(other, "0.2")[1] == 4
        assert other.counts()[Outcome.PENDING] == 4 and sorted(waiting(other)) == [5, 6]


def test_what_waits_of_media_without_scores_is_not_posted_any_more(tmp_path: Path) -> None:
    """They are tagged again, and what was found by the old thresholds must not arrive after that."""
    with Ledger(tmp_path / "other.db") as other:
        other.set_meta({"model": "1" * 64, "tags": "2" * 64, "preprocessing": "wd 4x4", "threshold": BEFORE})
        fill(other, scores(4), posted=False)
        other.keep_scores(MODEL)
        fill(other, scores(2), first=5, posted=False)
        assert judge(other, "0.2")[1] == 4
        assert other.counts()[Outcome.PENDING] == 4 and sorted(waiting(other)) == [5, 6]
        assert other.in_outbox() == 2


def test_another_file_leaves_no_scores_of_the_old_one(ledger: Ledger) -> None:
    fill(ledger, scores(3))
    ledger.admit([Media(2, "another.jpg", 2)])
    judge(ledger, "0.2")
    assert sorted(waiting(ledger)) == [1, 3] and ledger.counts()[Outcome.PENDING] == 1
    [scorer] = ledger.scorers()
    assert [number for page in ledger.scored(scorer) for number, *_ in page] == [1, 3]


def test_a_retag_by_pictures_begins_with_no_scores(ledger: Ledger) -> None:
    fill(ledger, scores(3))
    ledger.begin_again({"model": "1" * 64}, "a model")
    assert ledger.scorers() == []
    with closing(sqlite3.connect(ledger.path)) as file:
        assert (
            file.execute("SELECT count(*) FROM given").fetchone()
            == file.execute("SELECT count(*) FROM score").fetchone()
            == (0,)
        )
    ledger.keep_scores(MODEL._replace(floor=0.3))
    fill(ledger, scores(3))
    assert [scorer.floor for scorer in ledger.scorers()] == [0.3]


@pytest.mark.parametrize(
    ("threshold", "table", "says"),
    [
        ("0.04", None, "scores below 0.05 are not kept, and 0.04 is lower"),
        (None, {"general_1": 0.01}, "scores below 0.05 are not kept, and 0.01 is lower"),
        ("general=top5", None, "general=top5 goes by a number of tags"),
    ],
)
def test_what_only_pictures_can_tell(ledger: Ledger, threshold: str | None, table, says: str) -> None:
    fill(ledger, scores(2))
    with pytest.raises(NoScores, match=says):
        plan(ledger, threshold, table, None, None)


def test_another_model_or_precision_gives_other_scores(ledger: Ledger, tiny_model: Path) -> None:
    fill(ledger, scores(2))
    with pytest.raises(NoScores, match="is another model than the one that gave the tags"):
        plan(ledger, "0.6", None, open_model(tiny_model), None)
    with pytest.raises(NoScores, match="in fp16 the model gives other scores than in fp32"):
        plan(ledger, "0.6", None, None, "fp16")
    assert plan(ledger, "0.6", None, None, "fp32")


def test_a_higher_floor_later_holds_for_all(ledger: Ledger) -> None:
    ledger.keep_scores(MODEL._replace(floor=0.3))
    ledger.keep_scores(MODEL)
    fill(ledger, scores(2))
    with pytest.raises(NoScores, match=r"scores below 0\.3 are not kept"):
        plan(ledger, "0.2", None, None, None)


@pytest.mark.parametrize("name", ["no_such_tag", "rating:s"])
def test_a_table_of_tags_that_have_no_threshold_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(ConfigError, match=f"--threshold-file names the tag {name}, "):
        plan(ledger, None, {name: 0.5}, None, None)


def test_scores_of_another_model_or_length_are_refused(ledger: Ledger) -> None:
    fill(ledger, scores(3))
    ledger.set_meta({"model": "3" * 64})
    with pytest.raises(
        NoScores, match="no scores are kept of the model that gave the tags: what is kept is of a model"
    ):
        plan(ledger, "0.2", None, None, None)
    ledger.set_meta({"model": "1" * 64})
    wanted = plan(ledger, "0.2", None, None, None)
    few = wanted._replace(scorer=wanted.scorer._replace(tags=TAGS[:9]))
    with pytest.raises(LedgerError, match="and the model has 9 tags: it is damaged"):
        ledger.judge_again(few.scorer, Rethreshold(few, replaces=True), {}, SINK)


def test_150_scores_take_less_than_a_kilobyte(tmp_path: Path) -> None:
    tags = tuple(f"a_tag_of_some_length_{i}" for i in range(9_000))
    rng, sizes = np.random.default_rng(0), []
    rows = np.zeros((1500, len(tags)), np.float32)
    where = rng.random(rows.shape, np.float32).argpartition(150, axis=1)[:, :150]
    np.put_along_axis(rows, where, rng.uniform(0.05, 1, where.shape).astype(np.float32), axis=1)
    for keep in (False, True):
        with Ledger(tmp_path / f"{keep}.db") as made:
            if keep:
                made.keep_scores(MODEL._replace(tags=tags, categories=("General",) * len(tags)))
            media = [Media(i, f"{i}.jpg", i) for i in range(1, 1501)]
            made.admit(media)
            said = [tuple(TagScore(tags[n], float(row[n])) for n in np.flatnonzero(row >= 0.7)) for row in rows]
            tagged = [Tagged(*each) for each in zip(media, said, rows, strict=True)]
            made.store(tagged, {}).result()
        sizes.append((tmp_path / f"{keep}.db").stat().st_size)
    of_the_model = len(json.dumps([[tag, "General"] for tag in tags]))
    assert 600 < (sizes[1] - sizes[0] - of_the_model) / 1500 < 1000


@pytest.mark.parametrize("table", ["score", "given", "outbox", "media"])
def test_records_and_scores_are_one_transaction(ledger: Ledger, table: str) -> None:
    """Whichever of the four cannot be written, none of them is."""
    path = ledger.path
    fill(ledger, scores(2))
    on = {"media": "UPDATE ON media WHEN new.outcome <> 'pending'"}.get(table, f"INSERT ON {table}")
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TRIGGER broken BEFORE {on} BEGIN SELECT RAISE(ABORT, 'broken'); END")
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match="broken"):
        fill(ledger, scores(2), first=3)
    with LedgerView(path) as view:
        assert view.counts()[Outcome.PENDING] == 2 and waiting(view) == {}
        assert [number for page in view.scored(view.scorers()[0]) for number, *_ in page] == [1, 2]


def test_what_fails_in_the_middle_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kill does: it is one transaction."""
    monkeypatch.setattr("engine.ledger.kept.PAGE", 10)
    path, rows = tmp_path / "ledger.db", scores(40)
    with Ledger(path) as first:
        first.set_meta({"model": "1" * 64, "tags": "2" * 64, "preprocessing": "wd 4x4", "threshold": BEFORE})
        first.keep_scores(MODEL)
        fill(first, rows)
        wanted = plan(first, "0.2", None, None, None)
        judged = Rethreshold(wanted, replaces=True)

        def dies(page):
            if judged.media >= 20:
                raise RuntimeError("killed")
            return list(judged(page))

        with pytest.raises(LedgerError, match="killed"):
            first.judge_again(wanted.scorer, dies, wanted.thresholds.meta(), SINK)
        assert judged.changed > 0
    with Ledger(path) as again:
        assert again.meta("threshold") == BEFORE and waiting(again) == {}
        assert judge(again, "0.2")[0].changed > judged.changed
