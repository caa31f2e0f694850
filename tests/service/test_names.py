"""Searches by the names that people use: through the dictionary, in a library of tags old and new."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.database import Database
from service.dictionary import Dictionary, shipped
from service.names import DictionaryNames
from service.search.find import Search
from service.store import Score, Store
from tests.service.dictionary.conftest import tables
from tests.service.search.test_find import add_media, found, judge

TAGS = (
    "shimakaze_(kantai_collection)",
    "abukuma_(kantai_collection)",
    "shimakaze_(kancolle)",
    "black_thighhighs",
    "black_pantyhose",
    "cat_ears",
    ":d",
    "long_hair",
    "a_tag_that_nobody_knows",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "l.db")) as opened:
        yield opened


@pytest.fixture
def search(database: Database, tmp_path: Path) -> Iterator[Search]:
    """A library with one picture for each of the tags, in their order."""
    with Dictionary.open_empty(tmp_path / "tags.db") as dictionary:
        dictionary.load(shipped.rows(tables()), shipped.SOURCE, "engine")
        ids = add_media(database, len(TAGS))
        Store(database).put([Score(media_id, key, 0.9) for media_id, key in zip(ids, TAGS, strict=True)])
        yield Search(database, DictionaryNames(dictionary))


def tags(search: Search, text: str) -> set[str]:
    return {TAGS[media_id - 1] for media_id in found(search, text)}


@pytest.mark.parametrize(
    "name", ["舰娘", "kancolle", "砍口垒", "カンコレ", "series:kancolle", '"Kantai Collection"', "jianniang"]
)
def test_a_series_is_all_its_characters_by_whatever_key(search: Search, name: str) -> None:
    assert tags(search, name) == {
        "shimakaze_(kantai_collection)",
        "abukuma_(kantai_collection)",
        "shimakaze_(kancolle)",
    }


def test_an_ambiguous_name_finds_all_and_is_shown_as_a_choice(search: Search) -> None:
    assert tags(search, "黑丝") == {"black_thighhighs", "black_pantyhose"}
    [name] = search.find("黑丝", offset=0, limit=9, language="zh-Hans")["names"]
    assert {"black_thighhighs", "black_pantyhose"} <= {meaning["concept"] for meaning in name["found"]}
    assert all(meaning["via"] == "黑丝" and meaning["name"] for meaning in name["found"])
    assert tags(search, "black_thighhighs") == {"black_thighhighs"}  # narrowed by its key


def test_old_and_new_keys_are_one(search: Search) -> None:
    assert tags(search, '"shimakaze_(kancolle)"') == {"shimakaze_(kantai_collection)", "shimakaze_(kancolle)"}


def test_names_keys_and_implications(search: Search, database: Database) -> None:
    assert tags(search, "animal_ears") == tags(search, "兽耳") == {"cat_ears"}
    assert tags(search, "长发") == tags(search, "ロングヘア") == tags(search, '"long hair"') == {"long_hair"}
    assert tags(search, ":d") == {":d"} and tags(search, ";d") == set()
    assert tags(search, "a_tag_that_nobody_knows") == {"a_tag_that_nobody_knows"}
    assert tags(search, "nosuchthing") == set()
    judge(database, TAGS.index("cat_ears") + 1, "animal_ears", False)
    assert tags(search, "兽耳") == set() and tags(search, "cat_ears") == {"cat_ears"}


def test_suggestions_are_of_what_some_picture_has(search: Search) -> None:
    [first, *_] = search.suggest("kanc", 5, "zh-Hans")
    assert (first["tag"], first["pictures"]) == ("kantai_collection", 3)
    assert {one["tag"] for one in search.suggest("黑", 5, "zh-Hans")} == {"black_thighhighs", "black_pantyhose"}
    assert [one["tag"] for one in search.suggest("nobody", 5)] == ["a_tag_that_nobody_knows"]
    assert search.suggest("x" * 10_000, 5) == []


def test_tags_are_shown_in_the_language_that_was_asked_for(search: Search) -> None:
    [card] = search.find("long_hair", offset=0, limit=1, language="ja")["pictures"]
    assert (card["tags"][0]["tag"], card["tags"][0]["name"]) == ("long_hair", "長髪")
    picture = search.picture(card["id"], "zh-Hans")
    assert picture and picture["tags"][0]["name"] == "长发"
