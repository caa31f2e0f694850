"""`--format`: fields, separators, braces."""

import pytest

from engine.errors import ConfigError
from engine.output.template import Template
from engine.output.wording import Tag

CATEGORIES = ("General", "Character", "System", "Meta")
TAGS = [
    Tag("rating:safe", 0.99, "System"),
    Tag("long_hair", 0.98765, "General"),
    Tag("miku", 0.9, "Character"),
    Tag("highres", 0.8, "Meta"),
    Tag("hat", 0.5, "General"),
    Tag("rating:questionable", 0.4, "System"),
]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{path}: {tags}", "in/a b.jpg: long_hair, miku, highres, hat"),
        ("{folder}|{name}|{stem}", "in|a b.jpg|a b"),
        ("{tags: }", "long_hair miku highres hat"),
        (r"{general:\n}\t{character}", "long_hair\nhat\tmiku"),
        ("{scores:;}", "long_hair:0.988;miku:0.900;highres:0.800;hat:0.500"),
        ("{rating}/{meta}", "safe/highres"),
        ("{{{general}}}", "{long_hair, hat}"),
        (r"C:\\new {stem}", r"C:\new a b"),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_a_line(text: str, line: str) -> None:
    assert Template(text, CATEGORIES).fill("in/a b.jpg", TAGS) == line


def test_what_a_picture_does_not_have_is_empty() -> None:
    assert Template("{rating}|{character}|{tags}", ("General",)).fill("a.jpg", []) == "||"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{tag}", r"--format has no field {tag}, only {path}, {folder}, {name}, {stem}, {tags}, {scores}, {rating}"),
        ("{artist}", "--format has no field {artist}, only"),
        ("{}", "--format has no field {}, only"),
        ("{tags!r}", "--format has no field {tags!r}"),
        ("{path.parent}", "--format has no field {path.parent}"),
        ("{tags[0]}", "--format has no field {tags[0]}"),
        ("{path:>10}", "--format: {path} is one text"),
        ("{path", "--format '{path': "),
        ("a } b", "--format 'a } b': "),
    ],
)
def test_a_mistake_names_what_there_is(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        Template(text, CATEGORIES)
    assert str(error.value).startswith(says) and "\n" not in str(error.value)
