"""Blacklist, replacements and spaces: what is written of a picture's tags."""

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.output.wording import Tag, Wording, read_blacklist, read_replacements, read_wording


def tags(*pairs: tuple[str, float]) -> list[Tag]:
    return [Tag(key, score, "General") for key, score in pairs]


def written(wording: Wording, *pairs: tuple[str, float]) -> list[tuple[str, float]]:
    return [(tag.key, tag.score) for tag in wording.of(tags(*pairs))]


def test_spaces_leave_kaomoji_alone() -> None:
    given = [("long_hair", 0.9), ("^_^", 0.8), ("o_o", 0.7), ("(o)_(o)", 0.6), ("miku_(vocaloid)", 0.5)]
    spaced = ["long hair", "^_^", "o_o", "(o)_(o)", "miku (vocaloid)"]
    assert [key for key, _ in written(Wording(underscores=False), *given)] == spaced
    assert written(Wording(), *given) == given


def test_the_blacklist_compares_spaces_and_underscores_alike(tmp_path: Path) -> None:
    file = tmp_path / "b.txt"
    file.write_text("\ufefflong hair\r\n\r\n^_^ \r\nhat_(red)\r\n#compass\r\n", encoding="utf-8")
    wording = Wording(blacklist=read_blacklist(file), underscores=False)
    given = [("long_hair", 0.9), ("^_^", 0.8), ("hat_(red)", 0.7), ("#compass", 0.6), ("hat", 0.5)]
    assert written(wording, *given) == [("hat", 0.5)]


def test_replacements_stand_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text('long hair,lange_Haare\n\n"a,b", "c, d"\n=_=,müde\n黒,"say ""hi"""\n', encoding="utf-8")
    wording = Wording(replacements=read_replacements(file), underscores=False)
    given = [("long_hair", 0.9), ("a,b", 0.8), ("=_=", 0.7), ("黒", 0.6), ("two_words", 0.5)]
    words = ["lange_Haare", "c, d", "müde", 'say "hi"', "two words"]
    assert [key for key, _ in written(wording, *given)] == words


def test_of_two_tags_that_become_one_the_higher_score_is_kept() -> None:
    wording = Wording(replacements={"black_pantyhose": "black legwear", "black_thighhighs": "black legwear"})
    assert written(wording, ("black_pantyhose", 0.6), ("hat", 0.5), ("black_thighhighs", 0.9)) == [
        ("hat", 0.5),
        ("black legwear", 0.9),
    ]
    assert written(wording, ("black_thighhighs", 0.9), ("hat", 0.5), ("black_pantyhose", 0.6)) == [
        ("black legwear", 0.9),
        ("hat", 0.5),
    ]
    swapped = Wording(replacements={"a": "b", "b": "a"})  # once, not on and on
    assert written(swapped, ("a", 0.6), ("b", 0.7)) == [("b", 0.6), ("a", 0.7)]


def test_a_rating_stays_one_in_other_words() -> None:
    wording = Wording(replacements={"rating:safe": "sfw"})
    (rating,) = wording.of([Tag("rating:safe", 0.9, "System")])
    assert rating.key == "sfw" and rating.is_rating


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\nonly\n", "line 2 of FILE does not name a tag and what is written for it"),
        ("a,0,翻译\n", "line 1 of FILE does not name a tag"),
        ("a,b\n\nc,\n", "line 3 of FILE does not name a tag"),
        ('a,"b\n', "line 1 of FILE is no CSV"),
        ("long_hair,x\nlong hair,y\n", "line 2 of FILE replaces long hair a second time: 'x' stands above"),
    ],
)
def test_a_mistake_in_the_table_is_told_by_its_line(content: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_replacements(file)
    assert str(error.value).startswith(says.replace("FILE", str(file)))
    assert "\n" not in str(error.value)


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    for name, says in {"none": "cannot be read: No such file", "latin": "is not UTF-8", ".": "cannot be read"}.items():
        with pytest.raises(ConfigError, match=says):
            read_wording(tmp_path / name, None, underscores=True)
        with pytest.raises(ConfigError, match=says):
            read_wording(None, tmp_path / name, underscores=True)
