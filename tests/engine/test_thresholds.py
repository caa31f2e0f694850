"""Which scores count: the text of the rules, and what they mean for a model's categories."""

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.thresholds import ALL, BEST, Rule, normal, parse_rules, read_table, resolve, rules_text

WD = {ALL: Rule(least=0.35), "character": Rule(least=0.85), "rating": BEST}
CATEGORIES = ("Rating", "General", "Character")


@pytest.mark.parametrize(
    ("text", "rules", "usual"),
    [
        ("0.5", {ALL: Rule(least=0.5)}, "0.5"),
        (0.5, {ALL: Rule(least=0.5)}, "0.5"),
        (" .50 ", {ALL: Rule(least=0.5)}, "0.5"),
        ("1", {ALL: Rule(least=1.0)}, "1.0"),
        ("Character = 0.7", {"character": Rule(least=0.7)}, "character=0.7"),
        ("character=0.7,0.4", {ALL: Rule(least=0.4), "character": Rule(least=0.7)}, "0.4,character=0.7"),
        ("rating=best,general=top30", {"rating": BEST, "general": Rule(top=30)}, "rating=best,general=top30"),
        ("rating=top1", {"rating": BEST}, "rating=best"),
    ],
)
def test_what_users_write(text, rules, usual) -> None:
    assert parse_rules(text) == rules
    assert normal(text) == rules_text(rules) == usual
    assert parse_rules(usual) == rules


@pytest.mark.parametrize(
    "text", ["", "x", "nan", "0", "7", "-1", "a=", "=0.5", "0.5,0.6", "a=1,A=0.5", "top0", "0.5,,"]
)
def test_what_makes_no_sense(text) -> None:
    with pytest.raises(ValueError, match=r"write a score above 0 to 1|no score above 0 to 1"):
        parse_rules(text)


@pytest.mark.parametrize(
    ("given", "rating", "general", "character"),
    [
        ({}, BEST, Rule(0.35), Rule(0.85)),
        (parse_rules("0.5"), BEST, Rule(0.5), Rule(0.5)),
        (parse_rules("character=0.7"), BEST, Rule(0.35), Rule(0.7)),
        (parse_rules("0.4,character=0.7,rating=0.9"), Rule(0.9), Rule(0.4), Rule(0.7)),
        (parse_rules("general=top5"), BEST, Rule(top=5), Rule(0.85)),
    ],
)
def test_the_rule_of_each_category(given, rating, general, character) -> None:
    assert resolve(given, WD, CATEGORIES) == {"rating": rating, "general": general, "character": character}


def test_a_category_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="artist"):
        resolve(parse_rules("artist=0.5"), WD, CATEGORIES)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty: for none write the heading"),
        (b"\xff\xfe1\x00", "is no UTF-8 text: save it as UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        read_table(path)


def test_the_heading_alone_is_a_table_without_thresholds(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("tag,threshold\n", encoding="utf-8")
    assert read_table(path) == {}


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no file"):
        read_table(tmp_path)
