"""The language of queries: what is read, what is left out and named, and that nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.query import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_TERMS,
    All,
    Any_,
    Everything,
    Ids,
    Name,
    Not,
    Pattern,
    Query,
    Rating,
    Score,
    Similar,
    Source,
    Tree,
    Untagged,
    names,
    parse,
)

A, B, C = Name("a"), Name("b"), Name("c")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", Everything()),
        ("  \u3000 ", Everything()),
        ("long_hair", Name("long_hair")),
        ("长发 ロングヘア", All((Name("长发"), Name("ロングヘア")))),
        ("a b", All((A, B))),
        ("a or b c", Any_((A, All((B, C))))),
        ("a OR (b or c)", Any_((A, B, C))),
        ("(a or b) c", All((Any_((A, B)), C))),
        ("-a -(b c)", All((Not(A), Not(All((B, C)))))),
        ("--a", A),
        ('"two words" "or" "-a"', All((Name("two words"), Name("or"), Name("-a")))),
        (r'"say \"a\" \\"', Name('say "a" \\')),
        (":d re:zero ^_^", All((Name(":d"), Name("re:zero"), Name("^_^")))),
        ("miku_(vocaloid)", Name("miku_(vocaloid)")),
        ("(miku_(vocaloid) or a)", Any_((Name("miku_(vocaloid)"), A))),
        (";)", Name(";)")),
        ("*_hair", Pattern("*_hair")),
        ("*", Pattern("*")),
        ('"*_hair"', Name("*_hair")),
        ("character:miku char:*", All((Name("miku", "character"), Pattern("*", "character")))),
        ('copyright:"kantai collection"', Name("kantai collection", "series")),
        ("rating:general,sensitive", Rating(("general", "sensitive"))),
        ("source:human -source:model", All((Source("human"), Not(Source("model"))))),
        ("score:>0.8", Score(0.8, 2.0, ">", "0.8")),
        ("score:<=.5", Score(-1.0, 0.5, "<=", ".5")),
        ("untagged: -tagged:", All((Untagged(True), Not(Untagged(False))))),
        ("id:7 id:10..20", All((Ids(7, 7), Ids(10, 20)))),
        ("id:..20", Ids(0, 20)),
        ("similar:7", Similar(7)),
    ],
)
def test_what_a_query_means(text: str, tree: Tree) -> None:
    assert parse(text) == Query(tree)


def test_the_order_is_no_part_of_the_tree() -> None:
    assert parse("a order:new b") == Query(All((A, B)), "new")
    assert parse("order:random") == Query(Everything(), "random")


@pytest.mark.parametrize(
    ("text", "rest", "at", "said"),
    [
        ("a or", A, 2, "between two tags"),
        ("or a", A, 0, "between two tags"),
        ("a (b", All((A, B)), 2, "not closed"),
        ("a ) b", All((A, B)), 2, "nothing opened"),
        ("a ()", A, 2, "nothing between the brackets"),
        ('a "b', All((A, B)), 2, "quotes are not closed"),
        ('a ""', A, 2, "nothing between the quotes"),
        ("a - b", All((A, B)), 2, "write it directly before"),
        ("a rating:", A, 2, "nothing follows"),
        ("a score:2", A, 2, "from 0 to 1"),
        ("a id:x", A, 2, "id:10..20"),
        ("a id:20..10", A, 2, "`id:10..20`"),
        ("((((", Everything(), 3, "not closed"),
        ("a similar:x", A, 2, "the id of a picture"),
        ("a order:size", A, 2, "the orders are best, new"),
        ("a untagged:b", A, 2, "stands alone"),
    ],
)
def test_a_mistake_is_shown_at_its_place_and_the_rest_is_still_a_search(text, rest, at, said) -> None:
    query = parse(text)
    assert query.tree == rest
    [mistake] = query.mistakes
    assert mistake.at == at
    assert said in mistake.reason


def test_a_query_without_bounds_is_bounded() -> None:
    long = parse("a " * 100_000)
    assert len(str(long)) <= MAX_LENGTH
    assert "at most" in long.mistakes[-1].reason
    many = parse(" or ".join(f"t{i}" for i in range(1_000)))
    assert len(list(names(many.tree))) == MAX_TERMS
    assert "200 tags at most" in many.mistakes[0].reason
    deep = parse("(" * 4_000 + "a")
    assert any(f"{MAX_DEPTH} deep" in mistake.reason for mistake in deep.mistakes)


_SIGNS = '- ( ) " or a long_hair :d * rating: source:human score:>0.8 score:2 id:1..2 id: similar:7 character:'
_PIECES = st.sampled_from([" ", "\\", ",", "untagged:", "..", "re:zero", "_(x)", "order:new", *_SIGNS.split(" ")])


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)))
def test_it_never_raises_and_what_it_prints_means_the_same(text: str) -> None:
    query = parse(text)
    assert parse(str(query)) == Query(query.tree, query.order)
    for mistake in query.mistakes:
        assert 0 <= mistake.at <= len(text) and mistake.length > 0
