"""Editing: what each edit does, what it refuses, and that its undo puts all of it back."""

import threading

import pytest

from service.dictionary import ConflictError, Dictionary, DictionaryError, Kind, Name, UnknownError
from service.dictionary.concepts import MOST_NAMES
from tests.service.dictionary.state import state


def found(tags: Dictionary, text: str) -> list[str]:
    return [one.concept for one in tags.resolve(text).found]


EDITS = {
    "add": lambda tags: tags.add("x_tag", "me", names=[Name("某物", "zh", Kind.DISPLAY)], groups=["hair"]),
    "add to": lambda tags: tags.add("long_hair", "me", names=[Name("长长发", "zh", Kind.DISPLAY)], category="meta"),
    "rename": lambda tags: tags.rename("long_hair", "longer_hair", "me"),
    "rename shown": lambda tags: tags.rename("long_hair", "长长的头发", "me", lang="zh"),
    "merge": lambda tags: tags.merge("black_pantyhose", "black_thighhighs", "me"),
    "merge series": lambda tags: tags.merge("kantai_collection", "touhou", "me"),
    "split": lambda tags: tags.split("black_pantyhose", ["黑丝", "black_legwear"], "black_legwear", "me"),
    "relate": lambda tags: tags.relate("twintails", "long_hair", "me"),
    "unrelate": lambda tags: tags.relate("cat_ears", "animal_ears", "me", remove=True),
    "group": lambda tags: tags.group("twintails", "hair/length", "me"),
    "ungroup": lambda tags: tags.group("twintails", "hair/style", "me", remove=True),
    "add group": lambda tags: tags.add_group("hair/mine/deep", {"zh": "我的"}, "me"),
    "weigh": lambda tags: tags.weigh("twintails", "favourite", 3, "me"),
    "hide": lambda tags: tags.hide("twintails", "me"),
    "remove name": lambda tags: tags.remove_name("black_pantyhose", "黑丝", "me"),
    "categorise": lambda tags: tags.categorise("twintails", "meta", "me"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_something_is_journalled_and_undone(tags, edit):
    before = state(tags)
    revision = tags.revision()
    EDITS[edit](tags)
    after = state(tags)
    assert after != before
    entry = tags.journal(1)[0]
    assert (entry.who, entry.id) == ("me", revision + 1)
    assert entry.at.endswith("+00:00")
    undone = tags.undo(entry.id, "you")
    assert undone.kept == ()
    assert state(tags) == before
    tags.undo(undone.entry, "me")  # an undo is undone like anything
    assert state(tags) == after


def test_a_merged_concept_is_found_by_all_its_names(tags):
    tags.merge("black_pantyhose", "black_thighhighs", "me")
    for name in ("黑丝", "黒パンスト", "black_pantyhose", "black_legwear"):
        assert found(tags, name) == ["black_thighhighs"]
    concept = tags.concept("black_pantyhose")
    assert concept.implies == ("pantyhose", "thighhighs")
    texts = [(name.text, name.lang) for name in concept.names]
    assert len(texts) == len(set(texts))
    assert [name.text for name in concept.names if name.kind == Kind.DISPLAY and name.lang == "ja"] == ["黒ニーソ"]


def test_a_merge_that_closes_a_circle_is_refused_with_the_path(tags):
    tags.relate("long_hair", "twintails", "me")
    before = state(tags)
    with pytest.raises(ConflictError, match=r"imply itself: .*very_long_hair"):
        tags.merge("twintails", "very_long_hair", "me")
    assert state(tags) == before


def test_a_circle_is_refused_with_the_path(tags):
    tags.relate("animal_ears", "twintails", "me")
    with pytest.raises(ConflictError, match=r"cat_ears -> animal_ears -> twintails"):
        tags.relate("twintails", "cat_ears", "me")
    with pytest.raises(ConflictError, match="ahoge -> ahoge"):
        tags.relate("ahoge", "ahoge", "me")
    assert tags.keys_of("twintails") == ["twintails", "animal_ears", "cat_ears"]


def test_undo_leaves_and_tells_what_was_changed_since(tags):
    tags.add("x_tag", "me", names=[Name("甲", "zh", Kind.DISPLAY), Name("乙", "zh")])
    first = tags.revision()
    tags.rename("x_tag", "丙", "you", lang="zh")
    undone = tags.undo(first, "me")
    assert any("甲" in line for line in undone.kept)
    assert any("x_tag was given more since" in line for line in undone.kept)
    assert [name.text for name in tags.concept("x_tag").names if name.kind == Kind.DISPLAY] == ["丙"]
    assert found(tags, "乙") == []
    assert found(tags, "x_tag") == ["x_tag"]
    with pytest.raises(ConflictError, match="undone already"):
        tags.undo(first, "me")
    with pytest.raises(UnknownError, match="no entry 999"):
        tags.undo(999, "me")


def test_a_key_that_was_taken_since_is_told(tags):
    tags.rename("ahoge", "idiot_hair", "me")
    entry = tags.revision()
    tags.merge("idiot_hair", "twintails", "me")
    tags.add("ahoge2", "me")
    undone = tags.undo(entry, "me")
    assert undone.kept
    assert found(tags, "idiot_hair") == ["twintails"]


def test_an_edit_upon_an_older_revision_is_refused(tags):
    read = tags.concept("ahoge").revision
    tags.rename("ahoge", "傻毛", "you", lang="zh", expected=read)
    with pytest.raises(ConflictError, match="was changed since you read it"):
        tags.rename("ahoge", "笨毛", "me", lang="zh", expected=read)
    assert tags.name("ahoge", "zh") == "傻毛"


def test_two_people_edit_at_once_and_one_is_told(tags):
    read = tags.concept("ahoge").revision
    start, results = threading.Barrier(8), []

    def edit(number: int) -> None:
        start.wait()
        try:
            tags.rename("ahoge", f"毛{number}", f"person {number}", lang="zh", expected=read)
            results.append("done")
        except ConflictError:
            results.append("refused")

    threads = [threading.Thread(target=edit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["done"] + ["refused"] * 7


def test_two_open_files_see_each_others_edits(tags, tmp_path):
    with Dictionary.open(tmp_path / "tags.db") as other:
        assert found(other, "小裤裤") == []
        tags.add("panties", "me", names=[Name("小裤裤", "zh")])
        assert found(other, "小裤裤") == ["panties"]


def test_changes_are_told_since_a_revision(tags):
    since = tags.revision()
    tags.merge("black_pantyhose", "black_thighhighs", "me")
    changed = tags.changes(since)
    assert changed["black_pantyhose"] is None
    assert changed["black_thighhighs"].revision == since + 1
    assert "cowboy" not in changed
    tags.undo(since + 1, "me")
    assert tags.changes(since)["black_pantyhose"].key == "black_pantyhose"
    assert tags.changes(tags.revision()) == {}


BAD_NAMES = {
    "a megabyte": ("x" * 1_000_000, "1,000,000 characters: give at most 500"),
    "control": ("a\x07b", r"U\+0007"),
    "surrogate": ("a\ud800", r"U\+D800"),
    "empty": ("  ", "is empty"),
    "invisible": ("\u200b\u202e\ufeff", "is empty"),
    "combining first": ("\u0301a", "combining mark"),
    "private use": ("\ue000", r"U\+E000"),
}


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_a_name_that_is_none_is_refused_in_a_sentence_and_nothing_is_kept(tags, bad):
    text, sentence = BAD_NAMES[bad]
    before = state(tags)
    with pytest.raises(DictionaryError, match=sentence) as error:
        tags.add("x_tag", "me", names=[Name("好", "zh"), Name(text, "zh")])
    assert len(str(error.value)) < 300
    str(error.value).encode()  # it can be printed
    for work in (
        lambda: tags.add(text, "me"),
        lambda: tags.rename("ahoge", text, "me"),
        lambda: tags.rename("ahoge", text, "me", lang="ja"),
        lambda: tags.split("ahoge", [], text, "me"),
        lambda: tags.merge(text, "ahoge", "me"),
        lambda: tags.relate("ahoge", text, "me"),
        lambda: tags.group("ahoge", text, "me"),
        lambda: tags.remove_name("ahoge", text, "me"),
    ):
        with pytest.raises(DictionaryError):
            work()
    assert state(tags) == before


def test_marks_that_cannot_be_seen_are_dropped_from_names(tags):
    tags.add("x_tag", "me", names=[Name("\u202eabc\u200b  def\u200f", "en")])
    assert found(tags, "abc def") == ["x_tag"]
    assert [name.text for name in tags.concept("x_tag").names] == ["abc def"]


def test_a_concept_takes_a_limited_number_of_names(tags):
    before = state(tags)
    with pytest.raises(DictionaryError, match=f"has {MOST_NAMES} names"):
        tags.add("x_tag", "me", names=[Name(f"name {n}", "en") for n in range(10_000)])
    assert state(tags) == before


def test_a_name_stands_once_in_a_concept(tags):
    tags.add("ahoge", "me", names=[Name("呆毛", "zh-CN"), Name(" 呆毛 ", "zh")])
    assert [name.text for name in tags.concept("ahoge").names].count("呆毛") == 1


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (lambda tags: tags.weigh("ahoge", "height", 1, "me"), "no weight"),
        (lambda tags: tags.weigh("ahoge", "rank", float("nan"), "me"), "out of range"),
        (lambda tags: tags.group("ahoge", "no/such", "me"), "no group"),
        (lambda tags: tags.categorise("ahoge", "hats", "me"), "no category"),
        (lambda tags: tags.add("x", "me", names=[Name("x", "zh_CN!")]), "no language"),
        (lambda tags: tags.rename("ahoge", "twintails", "me"), "a concept twintails already"),
        (lambda tags: tags.remove_name("ahoge", "ahoge", "me"), "is the concept's key"),
        (lambda tags: tags.relate("ahoge", "twintails", "me", remove=True), "does not imply"),
        (lambda tags: tags.merge("ahoge", "ahoge", "me"), "one concept already"),
        (lambda tags: tags.hide("ahoge", "  "), "say who"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(tags, work, sentence):
    before = state(tags)
    with pytest.raises(DictionaryError, match=sentence):
        work(tags)
    assert state(tags) == before


def test_the_shipped_dictionary_cannot_be_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    with Dictionary.open("shipped") as tags, pytest.raises(DictionaryError, match="--db"):
        tags.add("x", "me")
    with Dictionary.open("shipped") as tags:
        assert len(tags.groups()) > 50


def test_other_files_are_refused_and_left_as_they_are(tmp_path):
    import sqlite3

    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (a)")
    connection.commit()
    connection.close()
    before = other.read_bytes()
    with pytest.raises(DictionaryError, match="another program's"):
        Dictionary.open(other)
    assert other.read_bytes() == before
    (tmp_path / "text.db").write_text("no database at all, but long enough to be read as one" * 50)
    with pytest.raises(DictionaryError, match="not a database"):
        Dictionary.open(tmp_path / "text.db")


def test_a_newer_file_is_refused(tags, tmp_path):
    tags._database.reading().execute("PRAGMA user_version = 99")
    tags.close()
    with pytest.raises(DictionaryError, match="newer version"):
        Dictionary.open(tmp_path / "tags.db")
