"""What people type, and which concepts it finds."""

import pytest

from service.dictionary import Dictionary, DictionaryError, Name
from service.dictionary.concepts import LONGEST_NAME

KANCOLLE = [
    *("舰C", "舰娘", "艦娘", "艦これ", "かんこれ", "カンコレ", "kancolle", "kankore", "舰队收藏", "艦隊收藏", "砍口垒"),
    *("jianniang", "Kantai Collection"),
]


def found(tags: Dictionary, text: str) -> list[str]:
    return [one.concept for one in tags.resolve(text).found]


@pytest.mark.parametrize("name", KANCOLLE)
def test_each_name_of_a_series_finds_it_alone(tags, name):
    assert found(tags, name) == ["kantai_collection"]


@pytest.mark.parametrize("name", ["黑丝", "黑絲", "heisi"])
def test_an_ambiguous_name_finds_all_its_concepts(tags, name):
    assert sorted(found(tags, name)) == ["black_pantyhose", "black_thighhighs"]


@pytest.mark.parametrize(
    ("name", "key", "how"),
    [
        ("jdly", "zettai_ryouiki", "initials"),
        (":d", ":d", "key"),
        (";d", ";d", "key"),
        (":D", ":d", "key"),
        ("^_^", "^_^", "key"),
        ("cowboy", "cowboy", "key"),
        ("cow boy", "cow_boy", "key"),
        ("black_legwear", "black_pantyhose", "key"),
        ("shimakaze_(kantai_collection)", "shimakaze_(kancolle)", "key"),
        ("シマカゼ", "shimakaze_(kancolle)", "romaji"),
        ("ろんぐへあ", "long_hair", "name"),
        ("ronguhea", "long_hair", "romaji"),
        ("changtongwa", "thighhighs", "pinyin"),  # pypinyin alone reads zhang
        ("ＬＯＮＧ　ＨＡＩＲ", "long_hair", "key"),
    ],
)
def test_a_name_finds_its_concept_and_says_how(tags, name, key, how):
    (one,) = tags.resolve(name).found
    assert (one.concept, one.how) == (key, how)


def test_an_answer_says_by_which_name(tags):
    (one,) = tags.resolve("艦娘", "ja").found
    assert one.as_json() == {"concept": "kantai_collection", "name": "艦隊これくしょん", "via": "舰娘", "how": "name"}


@pytest.mark.parametrize("text", ["qwxzkjv", "", "   ", "\u200b", "￼", "\udcff", "𒀀𒀁𒀂", "\u0301\u0301"])
def test_nonsense_finds_nothing(tags, text):
    answer = tags.resolve(text)
    assert (answer.found, answer.near) == ((), ())
    assert tags.suggest(text).found == ()


def test_near_misses_are_not_among_what_is_found(tags):
    for text, how in (("kantia_collection", "typo"), ("long_har", "typo"), ("kantai", "prefix")):
        answer = tags.resolve(text)
        assert answer.found == ()
        assert answer.near[0].how == how
    assert tags.resolve("long_hair").near == ()


@pytest.mark.parametrize("typo", ["thigihghs", "thighhigs", "thighhighss", "thighhigha", "htighhighs", "xthighhighs"])
def test_one_typo_anywhere_is_near(tags, typo):
    near = [(one.concept, one.how) for one in tags.resolve(typo).near]
    assert near == ([("thighhighs", "typo")] if typo != "thigihghs" else [])  # two typos are too many


def test_suggestions_come_by_tier_and_by_weight(tags):
    keys = [one.concept for one in tags.suggest("hair").found]
    assert keys == ["long_hair", "very_long_hair"]
    tags.weigh("very_long_hair", "rank", 2, "me")
    assert [one.concept for one in tags.suggest("hair").found] == ["very_long_hair", "long_hair"]


def test_among_equal_weights_what_has_more_pictures_comes_first(tags):
    counts = {"very_long_hair": 7}
    answer = tags.suggest("hair", pictures=lambda key: counts.get(key, 0))
    assert [one.concept for one in answer.found] == ["very_long_hair", "long_hair"]


def test_a_hidden_concept_is_not_suggested_but_found(tags):
    tags.hide("ahoge", "me")
    assert tags.suggest("aho").found == ()
    assert found(tags, "呆毛") == ["ahoge"]


def test_a_typo_is_suggested_only_where_nothing_fits(tags):
    answer = tags.suggest("twimtails")
    assert (answer.found, [one.how for one in answer.near]) == ((), ["typo"])


def test_a_text_that_is_too_long_is_refused_in_a_sentence(tags):
    for ask in (tags.resolve, tags.suggest):
        with pytest.raises(DictionaryError, match=r"1,000,000 characters, no name is longer than 500"):
            ask("長" * 1_000_000)
    assert found(tags, "長" * LONGEST_NAME) == []


def test_what_was_just_added_is_found(tags):
    assert found(tags, "小裤裤") == []
    tags.add("panties", "me", names=[Name("小裤裤", "zh")])
    assert found(tags, "xiaokuku") == ["panties"]


def test_names_to_show_fall_back(tags):
    assert tags.name("black_legwear", "zh-CN") == "黑色连裤袜"
    assert tags.name("long_hair", "fr") == "long hair"
    assert tags.name("cow_boy", "ja") == "cow boy"
    assert tags.name("no_such_key", "ja") == "no_such_key"


def test_keys_of_a_concept_are_those_of_all_models_and_of_narrower_concepts(tags):
    assert tags.keys_of("kancolle") == [
        "kantai_collection",
        "kancolle",
        "shimakaze_(kancolle)",
        "shimakaze_(kantai_collection)",
    ]
    assert tags.keys_of("animal_ears") == ["animal_ears", "cat_ears"]
    assert tags.keys_of("animal_ears", narrower=False) == ["animal_ears"]
