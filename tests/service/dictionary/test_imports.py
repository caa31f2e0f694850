"""Files that people have: each form, what is wrong with some, and that an import is one entry that can be undone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.dictionary import Dictionary, DictionaryError, Kind, Name
from tests.service.dictionary.state import state

TAGCOMPLETE = '''1girl,0,6008644,"1girls,sole_female"
long_hair,0,4350743,"/lh,longhair"
kantai_collection,3,497436,"kancolle,kankore"
shimakaze_(kancolle),4,18784,"shimakaze_(kantai_collection),zekamashi"
kaga_(kancolle),4,21511,
hair_bun,0,100000,
single_hair_bun,0,90000,hair_bun
elf,0,5000,elf_ears
pointy_ears,0,6000,elf_ears
"say ""hi""",0,10,
kantoku,1,3000,
absurdres,5,2000000,
'''
WD = """tag_id,name,category,count
9999999,general,9,1589178
470575,1girl,0,6000000.0
1,new_tag,0,12
2,kaga_(kancolle),4,5
"""
ALIASES = [
    {"id": 1, "antecedent_name": "twin_tails", "consequent_name": "twintails", "status": "active"},
    {"id": 1, "antecedent_name": "twin_tails", "consequent_name": "twintails", "status": "active"},
    {"id": 2, "antecedent_name": "longhairs", "consequent_name": "long_hair", "status": "deleted"},
    {"id": 3, "antecedent_name": "ahoge", "consequent_name": "idiot_hair", "status": "active"},
    {"id": 4, "antecedent_name": "a", "consequent_name": "no_such_tag", "status": "active"},
]
IMPLICATIONS = [
    {"id": 1, "antecedent_name": "twintails", "consequent_name": "long_hair", "status": "active"},
    {"id": 2, "antecedent_name": "animal_ears", "consequent_name": "cat_ears", "status": "active"},
]
WIKI = [
    {"title": "ahoge", "other_names": ["アホ毛", "呆毛", "あほげ", "바보털", "#あほげの日"], "is_deleted": False},
    {"title": "twintails", "other_names": ["gone"], "is_deleted": True},
    {"title": "help:home", "other_names": ["home"], "is_deleted": False},
]
EHTAG = {
    "head": {},
    "version": 6,
    "data": [
        {"namespace": "rows", "data": {"female": {"name": "女性", "intro": ""}}},
        {"namespace": "female", "data": {"cat ears": {"name": "猫耳朵|喵耳", "intro": "x"}}},
        {"namespace": "parody", "data": {"kantai collection": {"name": "舰队Collection", "intro": ""}}},
    ],
}
PROMPTS = """- name: 人物
  groups:
    - name: 头发
      color: red
      tags:
        long hair: 长长的|长长的头发
        no: 不
        twintails: 两条辫子
"""


@pytest.fixture
def load(tags, tmp_path):
    def load(name, content, **options):
        file = tmp_path / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return tags.load_files([file], "me", **options)

    return load


FORMS = {
    "tagcomplete": ("danbooru.csv", TAGCOMPLETE, "/lh", ["long_hair"]),
    "wd": ("selected_tags.csv", WD, "new_tag", ["new_tag"]),
    "translations": ("zh.csv", "long_hair,秀发|长长发\nblush,脸红\n", "秀发", ["long_hair"]),
    "older translations": ("zh.csv", "long_hair,0,秀发\nahoge,0,翘毛\n", "翘毛", ["ahoge"]),
    "aliases": ("tag_aliases.json", ALIASES, "idiot_hair", ["ahoge"]),
    "alias lines": ("tag_aliases.json", "\n".join(map(json.dumps, ALIASES)), "twin_tails", ["twintails"]),
    "implications": ("tag_implications.json", IMPLICATIONS, "twintails", ["twintails"]),
    "wiki": ("wiki_pages.json", WIKI, "바보털", ["ahoge"]),
    "wiki lines": ("names.jsonl", '{"ahoge": ["あほげ"]}\n\n{"nope": ["x"]}\n', "ahoge", ["ahoge"]),
    "ehtag": ("db.text.json", EHTAG, "喵耳", ["cat_ears"]),
    "prompts": ("zh_CN.yaml", PROMPTS, "两条辫子", ["twintails"]),
    "siblings": ("siblings.txt", "big hair\nseries:big_hair\n\nlong locks\nlong_hair\n", "long locks", ["long_hair"]),
    "parents": ("parents.txt", "character:rem\nseries:re:zero\n", "re:zero", ["re:zero"]),
    "tags": ("tags.txt", "long_hair\nsome_new\n", "some_new", ["some_new"]),
    "utf-16": ("zh.csv", "long_hair,秀发\n".encode("utf-16"), "秀发", ["long_hair"]),
    "bom": ("zh.csv", b"\xef\xbb\xbf" + "long_hair,秀发\n".encode(), "秀发", ["long_hair"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_recognised_imported_once_and_undone(tags, load, form):
    name, content, ask, keys = FORMS[form]
    before = state(tags)
    revision = tags.revision()
    dry = load(name, content, dry_run=True)
    assert (dry.entry, state(tags)) == (None, before)
    report = load(name, content)
    assert report.counts == dry.counts
    assert report.counts["new"] + report.counts["changed"] > 0
    assert report.entry == revision + 1
    assert [one.concept for one in tags.resolve(ask).found] == keys
    after = state(tags)
    assert load(name, content).entry is None  # twice changes nothing
    assert state(tags) == after
    assert tags.undo(report.entry, "me").kept == ()
    assert state(tags) == before


def test_a_list_with_counts_names_series_and_old_keys(tags, load):
    report = load("danbooru.csv", TAGCOMPLETE)
    assert tags.concept("kaga_(kancolle)").implies == ("kantai_collection",)
    assert tags.concept("shimakaze_(kancolle)").count == 18784
    assert set(tags.keys_of("kantai_collection")) >= {"kaga_(kancolle)", "zekamashi"}
    assert tags.concept("kantoku").category == "artist"
    assert tags.concept('say_"hi"').count == 10
    assert [one.concept for one in tags.resolve("hair_bun").found] == ["hair_bun"]
    assert [one.concept for one in tags.resolve("elf_ears").found] == ["pointy_ears", "elf"]
    assert report.counts["ambiguous"] == 2
    # The names that the shipped table has written by hand stay the ones to show.
    assert tags.name("long_hair", "zh") == "长发"


def test_one_character_under_two_qualifiers_of_a_series_is_one_concept(tags, load):
    load("deepdanbooru-character.txt", "kaga_(kantai_collection)\nrin_(fate/stay_night)\n")
    load("selected_tags.csv", WD)
    assert tags.keys_of("kaga_(kancolle)") == ["kaga_(kantai_collection)", "kaga_(kancolle)"]
    assert tags.concept("rin_(fate/stay_night)").implies == ("fate_(series)",)


def test_an_old_key_that_had_a_concept_of_its_own_becomes_one_with_the_new(tags, load):
    load("tags.txt", "twin_tails\nold_name\n")
    load("tag_aliases.json", ALIASES)
    assert tags.keys_of("twintails") == ["twintails", "twin_tails"]
    assert load("tags.txt", "twin_tails\nold_name\n").entry is None


def test_implications_are_taken_but_no_circle(tags, load):
    report = load("tag_implications.json", IMPLICATIONS)
    assert tags.concept("twintails").implies == ("long_hair",)
    assert report.counts["conflicting"] == 1
    assert "the other way round" in report.lines["conflicting"][0]


def test_names_without_a_language_are_guessed_and_hashtags_left_out(tags, load):
    load("wiki_pages.json", WIKI)
    names = {name.text: name.lang for name in tags.concept("ahoge").names}
    assert names["あほげ"] == "ja"
    assert names["바보털"] == ""
    assert "#あほげの日" not in names
    assert tags.resolve("gone").found == ()


def test_groups_come_with_a_list_that_has_them(tags, load):
    load("zh_CN.yaml", PROMPTS)
    assert "人物/头发" in [group.path for group in tags.groups()]
    assert [concept.key for concept in tags.concepts(group="人物")] == ["long_hair", "twintails"]


def test_categories_go_with_the_list_of_tags(tags, tmp_path):
    (tmp_path / "tags.txt").write_text("some_new\nreimu_(x)\nrating:safe\n")
    categories = [{"name": "General", "start_index": 0}, {"name": "Character", "start_index": 1}]
    (tmp_path / "categories.json").write_text(json.dumps([*categories, {"name": "System", "start_index": 2}]))
    with pytest.raises(DictionaryError, match=r"categories of a tags\.txt: give that file"):
        tags.load_files([tmp_path / "categories.json"], "me")
    tags.load_files([tmp_path / "categories.json", tmp_path / "tags.txt"], "me")
    assert [tags.concept(key).category for key in ("some_new", "reimu_(x)")] == ["general", "character"]


def test_what_a_person_edited_survives_every_import(tags, load):
    tags.remove_name("ahoge", "呆毛", "me")
    tags.rename("long_hair", "我的长发", "me", lang="zh")
    tags.relate("cat_ears", "animal_ears", "me", remove=True)
    tags.categorise("twintails", "meta", "me")
    tags.split("black_pantyhose", ["black_legwear"], "black_legwear", "me")
    load("wiki_pages.json", WIKI)
    load("zh.csv", "long_hair,秀发\nahoge,呆毛\n")
    load("tag_implications.json", [{"antecedent_name": "cat_ears", "consequent_name": "animal_ears"}])
    load("danbooru.csv", "twintails,0,5,\nblack_pantyhose,0,7,black_legwear\n")
    tags.load_shipped()
    assert tags.resolve("呆毛").found == ()
    assert tags.name("long_hair", "zh") == "我的长发"
    assert tags.concept("cat_ears").implies == ()
    assert tags.concept("twintails").category == "meta"
    assert tags.keys_of("black_legwear") == ["black_legwear"]


def test_an_undo_of_an_import_leaves_what_a_person_added_since(tags, load):
    report = load("danbooru.csv", TAGCOMPLETE)
    tags.add("kantoku", "me", names=[Name("监督", "zh", Kind.DISPLAY)])
    undone = tags.undo(report.entry, "me")
    assert undone.kept == ("kantoku was given more since",)
    assert [one.concept for one in tags.resolve("监督").found] == ["kantoku"]
    assert tags.resolve("absurdres").found == ()


WRONG = {
    "count": ("danbooru.csv", "a,0,5,\nb,0,many,\n", r"danbooru\.csv, line 2, column 3: the count 'many'"),
    "category": ("danbooru.csv", "a,0,5,\nb,77,5,\n", r"line 2, column 2: there is no category '77'"),
    "columns": ("danbooru.csv", "a,0,5,\nb,0,5,x,y\n", r"line 2, column 5: 5 columns"),
    "quotes": ("danbooru.csv", 'a,0,5,\nb,0,5,"x\n', r"line 2, column 1: this is no CSV"),
    "no tag": ("zh.csv", "a,甲\n,乙\n", r"line 2, column 1: the tag is missing"),
    "other csv": ("x.csv", "when,what,where,who,why\n", r"line 1, column 1: this is neither"),
    "bytes": ("zh.csv", "a,甲\nb,".encode() + b"\xff\xfe\n", r"zh\.csv, line 2, column 3: here is a byte"),
    "wd": ("selected_tags.csv", "tag_id,name,category,count\n1,a,0\n", r"line 2, column 4: 3 columns"),
    "json": ("tag_aliases.json", json.dumps(ALIASES, indent=1)[:-40], r"line \d+, column \d+: this is no JSON"),
    "item": (
        "tag_aliases.json",
        '[{"antecedent_name": "a", "consequent_name": "b"},\n 7]',
        r"line 2, column 2: '7' is no",
    ),
    "missing": ("tag_aliases.json", '[{"antecedent_name": "a"}]', r"line 1, column 2: 'consequent_name' is missing"),
    "which": ("dump.json", ALIASES, r"look alike: name it with --form"),
    "other json": ("x.json", {"hello": 1}, r"has no known form"),
    "deep": ("x.json", "[" * 100_000, r"nested too deep|no JSON"),
    "names": ("wiki.json", [{"title": "a", "other_names": "b"}], r"no list of texts"),
    "line": (
        "own.jsonl",
        '{"key": "a", "names": []}\n{"key": 1, "names": []}\n',
        r"line 2, column 1: 'key' is missing",
    ),
    "kind": (
        "own.jsonl",
        '{"key": "a", "names": [{"text": "b", "kind": "odd"}]}',
        r"line 1, column 1: 'odd' is no kind",
    ),
    "odd": ("siblings.txt", "a\nb\nc\n", r"line 3, column 1: 3 lines make no pairs"),
    "yaml": ("zh.yaml", "- name: a\n  groups: [\n", r"line \d+, column \d+: this is no YAML"),
    "yaml form": ("zh.yaml", "- name: a\n  tags: {}\n", r"line 1, column 3: a group has no 'groups'"),
    "yaml deep": ("zh.yaml", "[" * 50_000, r"nested too deep|no YAML"),
    "binary": ("tags.txt", "a\nb\x00\x01\n", r"line 2, column 2: U\+0000"),
    "prose": ("tags.txt", "a\n" + "x" * 9000, r"line 2, column 501: 9,000 characters are no tag"),
    "empty": ("zh.csv", " \n", r"zh\.csv, line 1, column 1: the file is empty"),
    "form": ("x.docx", "a", r"no known form"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_at_its_place_and_nothing_is_kept(tags, load, case):
    name, content, sentence = WRONG[case]
    before = state(tags)
    with pytest.raises(DictionaryError, match=sentence) as error:
        load(name, content)
    assert len(str(error.value)) < 400
    assert state(tags) == before


def test_a_tag_that_is_none_is_skipped_with_its_reason(tags, load):
    report = load("danbooru.csv", f"{'x' * 5000},0,1,\nok_tag,0,1,{'y' * 5000}\n\u200b,0,3,\n")
    assert report.counts["new"] == 1
    assert report.counts["skipped"] == 3
    assert all("line" in line for line in report.lines["skipped"])


def test_too_many_names_of_one_tag_are_skipped(tags, load):
    report = load("names.jsonl", json.dumps({"ahoge": [f"name {n}" for n in range(10_000)]}))
    assert report.counts["skipped"] > 9_000
    assert len(tags.concept("ahoge").names) < 500


def test_what_was_exported_and_imported_is_exported_alike(tags, load, tmp_path):
    load("danbooru.csv", TAGCOMPLETE)
    load("zh_CN.yaml", PROMPTS)
    tags.merge("black_pantyhose", "black_thighhighs", "me")
    tags.relate("cat_ears", "animal_ears", "me", remove=True)
    tags.weigh("ahoge", "importance", 2.5, "me")
    tags.hide("twintails", "me")
    tags.add("kaga_(kancolle)", "me", names=[Name("加贺", "zh", Kind.DISPLAY)])
    exported = "".join(tags.lines())
    file = tmp_path / "all.jsonl"
    file.write_text(exported, encoding="utf-8", newline="")
    assert tags.load_files([file], "you").entry is None
    with Dictionary.open_empty(tmp_path / "other.db") as other:
        other.load_files([file], "you")
        assert "".join(other.lines()) == exported
        assert other.concept("cat_ears").implies == ()
        other.load_shipped()
        assert other.concept("cat_ears").implies == ()  # what was pinned came along


def test_an_import_that_is_killed_leaves_nothing(tags, tmp_path):
    before = state(tags)
    (tmp_path / "danbooru.csv").write_text("".join(f"tag_{n},0,{n},alias_{n}\n" for n in range(20_000)))
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom service.dictionary import Dictionary\n"
        "from service.dictionary.imports import apply\nplace = apply.Import._place\n"
        "def kill(self, row):\n"
        "    if row.key == 'tag_15000': os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))\n"
        "    return place(self, row)\n"
        "apply.Import._place = kill\n"
        "Dictionary.open(Path(sys.argv[1])).load_files([Path(sys.argv[2])], 'me')\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "tags.db"), str(tmp_path / "danbooru.csv")],
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert child.returncode != 0
    assert state(tags) == before
    assert tags.load_files([tmp_path / "danbooru.csv"], "me").counts["new"] == 20_000
