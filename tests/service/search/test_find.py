"""Searches against a real database: meaning, order, and that the index is what the database holds."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, update

from service.database import Database, edit, media, tag, touch, verdict
from service.search.find import Search
from service.search.index import Index
from service.search.names import Keys, Meaning
from service.search.said import tags_of
from service.store import Opinion, Score, Store

KEYS = ("long_hair", "hat", "smile", "cat_ears", "animal_ears", "rating:safe", "o_o")


def add_media(database: Database, count: int) -> list[int]:
    with database.writing() as connection:
        ids = [
            connection.execute(insert(media).values(path=f"{i}-{random.random()}.jpg", present=True)).lastrowid
            for i in range(count)
        ]
        touch(connection, ids)
    return ids


def judge(database: Database, media_id: int, key: str, yes: bool) -> None:
    with database.writing() as connection:
        tag_id = Store(database).tag_ids(connection, {key})[key]
        entry = connection.execute(insert(edit).values(at=0, who="me", what="x")).lastrowid
        statement = "INSERT OR REPLACE INTO verdict (media_id, tag_id, yes, edit_id) VALUES (?, ?, ?, ?)"
        connection.exec_driver_sql(statement, (media_id, tag_id, yes, entry))
        touch(connection, [media_id])


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "l.db")) as opened:
        yield opened


@pytest.fixture
def search(database: Database) -> Search:
    return Search(database, Keys())


def found(search: Search, text: str) -> list[int]:
    answer = search.find(text, offset=0, limit=100)
    assert answer["total"] == len(answer["pictures"])
    assert [p["id"] for p in answer["pictures"]] == search.ids(text)
    return [p["id"] for p in answer["pictures"]]


@pytest.fixture
def four(database: Database) -> list[int]:
    ids = add_media(database, 4)
    store = Store(database)
    store.put([Score(ids[0], "long_hair", 0.7), Score(ids[0], "rating:safe", 0.99)])
    store.replace([Opinion(ids[1], "first", {"long_hair": 0.9, "hat": 0.8})])
    store.replace([Opinion(ids[1], "second", {"long_hair": 0.6})])
    store.put([Score(ids[2], "hat", 0.501)])
    return ids


def test_what_is_found_best_first(search: Search, four: list[int]) -> None:
    a, b, c, d = four
    assert found(search, "long_hair") == [b, a]
    assert found(search, "long_hair hat") == [b]
    assert found(search, "long_hair or hat") == [b, a, c]
    assert found(search, "-long_hair") == [c, d]
    assert found(search, "") == [a, b, c, d]
    assert found(search, "order:new") == [d, c, b, a]
    assert found(search, "long_hair order:old") == [a, b]
    assert sorted(found(search, "order:random")) == four
    assert found(search, "*_HAIR") == [b, a]
    assert found(search, "Long-Hair") == [b, a]
    assert found(search, "rating:safe") == [a]
    assert found(search, "rating:*") == [a]
    assert found(search, "general:*") == [b, a, c]
    assert found(search, "untagged:") == [d]
    assert found(search, "-untagged: -rating:safe") == [b, c]
    assert found(search, f"id:{b}..{c}") == [b, c]
    assert found(search, "long_hair score:>0.7") == [b]
    assert found(search, "long_hair score:>=0.7") == [b, a]
    assert found(search, "hat score:0.501") == [c]
    assert found(search, "score:<0.55") == [c]
    assert found(search, "long_hair source:second") == [b]
    assert found(search, "source:second score:>0.7") == []
    assert found(search, "source:model hat") == [b, c]


def test_a_name_that_means_nothing_offers_what_was_perhaps_meant(search: Search, four: list[int]) -> None:
    answer = search.find("hair", offset=0, limit=10)
    assert answer["total"] == 0
    assert answer["names"] == [{"text": "hair", "category": None, "found": [], "near": ["long_hair"]}]
    answer = search.find("rating:odd source:nobody", offset=0, limit=10)
    assert {m["reason"] for m in answer["mistakes"]} == {
        "no rating is called odd",
        "no model is called nobody: there is human, model, or a model's name",
    }


def test_a_persons_word_counts_before_every_models(search: Search, database: Database, four: list[int]) -> None:
    a, b, c, d = four
    judge(database, b, "long_hair", False)
    judge(database, d, "long_hair", True)
    assert found(search, "long_hair") == [d, a]
    assert found(search, "source:human long_hair") == [d]
    assert found(search, "source:human") == [d]
    assert found(search, "hat") == [b, c]
    Store(database).replace([Opinion(b, "first", {"long_hair": 0.99})])
    assert found(search, "long_hair") == [d, a]
    picture = search.picture(b)
    assert picture and picture["tags"] == [
        {
            "tag": "long_hair",
            "name": "long_hair",
            "category": "General",
            "score": 0.99,
            "verdict": False,
            "counts": False,
            "models": {"first": 0.99, "second": 0.6},
        }
    ]
    judge(database, d, "long_hair", False)
    assert found(search, "long_hair") == [a]


class Implied(Keys):
    """A dictionary in which cat ears are animal ears, and `ears` means two things."""

    def meanings(self, index: Index, text: str, category: str | None, language: str) -> list[Meaning]:
        ears = Meaning("animal_ears", "", "", "", frozenset({"animal_ears"}), frozenset({"cat_ears"}))
        hat = Meaning("hat", "", "", "", frozenset({"hat"}))
        cat = Meaning("cat_ears", "", "", "", frozenset({"cat_ears"}))
        return {"ears": [ears, hat], "animal_ears": [ears], "hat": [hat], "cat_ears": [cat]}[text]


def test_implications_and_verdicts(database: Database) -> None:
    search = Search(database, Implied())
    a, b, c, d = add_media(database, 4)
    for media_id in (a, b):
        Store(database).put([Score(media_id, "cat_ears", 0.9)])
    Store(database).put([Score(c, "animal_ears", 0.6), Score(d, "hat", 0.7)])
    assert found(search, "animal_ears") == [a, b, c]
    assert found(search, "ears") == [a, b, d, c]
    judge(database, a, "animal_ears", False)  # a no beats an implication
    assert found(search, "animal_ears") == [b, c]
    assert found(search, "cat_ears") == [a, b]
    judge(database, b, "cat_ears", False)  # and what it was implied by
    assert found(search, "animal_ears") == [c]
    judge(database, d, "cat_ears", True)  # a yes implies as an opinion does
    assert found(search, "animal_ears") == [d, c]
    judge(database, a, "animal_ears", True)
    assert found(search, "animal_ears") == [a, d, c]


def test_a_threshold_is_where_a_models_word_begins_to_count(search: Search, database: Database, four) -> None:
    a, b, _, d = four
    judge(database, d, "long_hair", True)
    assert found(search, "long_hair") == [d, b, a]
    with database.writing() as connection:
        connection.execute(update(tag).where(tag.c.key == "long_hair").values(threshold=0.8))
        touch(connection, tags=True)
    assert found(search, "long_hair") == [d, b]
    assert search.suggest("long", 5) == [
        {
            "tag": "long_hair",
            "name": "long_hair",
            "via": "long_hair",
            "how": "part",
            "category": "General",
            "pictures": 2,
            "whole": False,
        }
    ]


def test_pages_of_a_long_list_follow_each_other(search: Search, database: Database) -> None:
    ids = add_media(database, 50)
    Store(database).put([Score(media_id, "hat", random.choice((0.5, 0.6, 0.7))) for media_id in ids])
    for text in ("hat", "", "order:new", "order:random"):
        whole = search.ids(text)
        pages = [p["id"] for o in range(0, 50, 7) for p in search.find(text, offset=o, limit=7)["pictures"]]
        assert pages == whole and len(set(whole)) == 50
        for before, after in pairwise(whole):
            assert search.neighbour(text, before, after=True) == after
            assert search.neighbour(text, after, after=False) == before
        assert search.neighbour(text, whole[-1], after=True) is None
        assert search.neighbour(text, whole[0], after=False) is None


def test_what_is_beside_the_results(search: Search, four: list[int]) -> None:
    assert search.facets("hat") == {
        "total": 2,
        "categories": [
            {
                "category": "General",
                "tags": [
                    {"tag": "hat", "name": "hat", "pictures": 2},
                    {"tag": "long_hair", "name": "long_hair", "pictures": 1},
                ],
            },
            {"category": "System", "tags": []},
        ],
        "groups": [],
    }
    assert search.summary() == {
        "pictures": 4,
        "tagged": 3,
        "tags": 3,
        "categories": ["General", "System"],
        "ratings": [{"tag": "rating:safe", "name": "rating:safe"}],
    }


def test_another_process_writes_too(search: Search, database: Database, four: list[int]) -> None:
    with closing(Database(database.path)) as other:
        Store(other).put([Score(four[3], "hat", 0.9)])
        more = add_media(other, 1)
    assert found(search, "hat") == [four[3], four[1], four[2]]
    assert more[0] in found(search, "")
    with closing(sqlite3.connect(database.path)) as raw:
        raw.execute("UPDATE media SET present = 0, revision = (SELECT revision + 1 FROM library) WHERE id = ?", more)
        raw.execute("UPDATE library SET revision = revision + 1")
        raw.commit()
    assert more[0] not in found(search, "")


# Any history of writing leaves the same index as reading everything anew, and searches that a plain look confirms.

_STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 4)),
    st.tuples(st.just("put"), st.integers(0, 9), st.sampled_from(KEYS), st.sampled_from((0.0, 0.3, 0.62, 1.0))),
    st.tuples(
        st.just("replace"), st.integers(0, 9), st.sampled_from(("m", "n")), st.lists(st.sampled_from(KEYS), max_size=4)
    ),
    st.tuples(st.just("judge"), st.integers(0, 9), st.sampled_from(KEYS), st.booleans()),
    st.tuples(st.just("gone"), st.integers(0, 9)),
    st.just(("look",)),
)


def plain(database: Database, key: str) -> set[int]:
    """The pictures that have a tag, by the other way to the same answer: over SQL, picture by picture."""
    with database.reading() as connection:
        said = {(row.media_id, row.tag_id): row.yes for row in connection.execute(verdict.select())}
        tag_id = connection.execute(tag.select().where(tag.c.key == key)).scalar_one_or_none()
        there = set(connection.exec_driver_sql("SELECT id FROM media WHERE present").scalars())
        by_tags = {
            m for m, tags in tags_of(connection, sorted(there)).items() if key in {t.key for t in tags if t.counts}
        }
    for (media_id, judged), yes in said.items():
        if judged == tag_id and media_id in there:
            assert (media_id in by_tags) == yes
    return by_tags


@settings(max_examples=60, deadline=None)
@given(st.lists(_STEP, max_size=25))
def test_the_index_is_what_the_database_holds(tmp_path_factory: pytest.TempPathFactory, steps) -> None:
    with closing(Database(tmp_path_factory.mktemp("index") / "l.db")) as database:
        store, search, ids = Store(database), Search(database, Keys()), add_media(database, 2)
        for step in steps:
            match step:
                case ("add", count):
                    ids += add_media(database, count)
                case ("put", at, key, score):
                    store.put([Score(ids[at % len(ids)], key, score)])
                case ("replace", at, model, keys):
                    store.replace([Opinion(ids[at % len(ids)], model, {key: 0.5 + len(key) / 100 for key in keys})])
                case ("judge", at, key, yes):
                    judge(database, ids[at % len(ids)], key, yes)
                case ("gone", at):
                    with database.writing() as connection:
                        gone = ids[at % len(ids)]
                        connection.execute(update(media).where(media.c.id == gone).values(present=False))
                        touch(connection, [gone])
                case _:
                    search.summary()
        anew = Search(database, Keys())
        for key in KEYS:
            assert set(search.ids(f'"{key}"')) == set(anew.ids(f'"{key}"')) == plain(database, key)
        with search.index.fresh() as old, anew.index.fresh() as new:
            assert np.array_equal(old.ids, new.ids) and np.array_equal(old.present, new.present)
            assert {t.key: old.count([t]) for t in old.tags.values()} == {
                t.key: new.count([t]) for t in new.tags.values()
            }
