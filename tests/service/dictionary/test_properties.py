"""What holds for any text, any relations and any sequence of edits."""

import tempfile
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.dictionary import Dictionary, DictionaryError, Kind, Name
from service.dictionary.closure import circle_in
from service.dictionary.fold import alike, fold
from tests.service.dictionary.state import state

TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet=st.characters(min_codepoint=0x3000, max_codepoint=0x9FFF), max_size=10),
    st.text(alphabet="_-・ :;^a\u0301\u3099\u200dかカﾊﾟ髮发髪İß", max_size=10),
)


@given(TEXTS)
@settings(max_examples=1000, deadline=None)
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)
    assert alike(alike(text)) == alike(text)
    assert fold(alike(text)) == fold(text)


EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16)


@given(EDGES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_closure_is_that_of_a_naive_walk(edges):
    kept: dict[int, set[int]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as folder, Dictionary.open_empty(Path(folder) / "tags.db") as tags:
        for number in range(8):
            tags.add(f"t{number}", "me")
        for narrow, broad in edges:
            refused = narrow == broad or narrow in _above(kept, broad)
            try:
                tags.relate(f"t{narrow}", f"t{broad}", "me")
                assert not refused
                kept[narrow].add(broad)
            except DictionaryError as error:
                assert refused
                assert f"t{narrow} -> " in str(error)
                assert str(error).endswith(f"t{narrow}") or str(error).endswith(f"t{broad}")
        for number in range(8):
            below = {narrow for narrow in range(8) if number in _above(kept, narrow)}
            assert set(tags.keys_of(f"t{number}")) == {f"t{n}" for n in below | {number}}
    assert circle_in({narrow: sorted(broad) for narrow, broad in kept.items()}) is None


def _above(edges, start):
    found, waiting = set(), [start]
    while waiting:
        for broad in edges.get(waiting.pop(), ()):
            if broad not in found:
                found.add(broad)
                waiting.append(broad)
    return found


KEYS = st.sampled_from(["a", "b", "c", "d", "e"])
NAMES = st.sampled_from(["a", "b", "甲", "乙", "丙", "f"])
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS, NAMES, st.sampled_from([Kind.DISPLAY, Kind.SYNONYM, Kind.FORMER_KEY])),
        st.tuples(st.just("rename"), KEYS, NAMES, st.sampled_from([None, "zh", "ja"])),
        st.tuples(st.just("merge"), KEYS, KEYS),
        st.tuples(st.just("split"), KEYS, NAMES, NAMES),
        st.tuples(st.just("relate"), KEYS, KEYS, st.booleans()),
        st.tuples(st.just("group"), KEYS, st.sampled_from(["g", "g/h"]), st.booleans()),
        st.tuples(st.just("weigh"), KEYS, st.sampled_from([None, 1.0, 2.5])),
        st.tuples(st.just("hide"), KEYS, st.booleans()),
        st.tuples(st.just("remove"), KEYS, NAMES),
        st.tuples(st.just("undo"), st.integers(1, 20)),
    ),
    max_size=14,
)


@given(EDITS)
@example([("add", "d", "f", Kind.DISPLAY), ("hide", "d", True), ("undo", 5)])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_edits_and_the_undo_of_all_is_the_start(edits):
    with tempfile.TemporaryDirectory() as folder, Dictionary.open_empty(Path(folder) / "tags.db") as tags:
        for key in "abc":
            tags.add(key, "me", names=[Name(f"{key}甲", "zh", Kind.DISPLAY)])
        tags.add_group("g/h", {}, "me")
        start, first = state(tags), tags.revision()
        for edit in edits:
            with suppress(DictionaryError):
                _do(tags, *edit)
            _check(tags)
        for entry in range(tags.revision(), first, -1):
            undone_by = {one.id: one.undone_by for one in tags.journal(1000)}
            if undone_by[entry] is None:
                tags.undo(entry, "me")
        assert state(tags) == start


def _do(tags, what, *args):  # noqa: C901 - a case an edit
    match what, args:
        case "add", (key, name, kind):
            tags.add(key, "me", names=[Name(name, "" if kind == Kind.FORMER_KEY else "zh", kind)])
        case "rename", (key, name, lang):
            tags.rename(key, name, "me", lang=lang)
        case "merge", (source, into):
            tags.merge(source, into, "me")
        case "split", (key, name, new):
            tags.split(key, [name], new, "me")
        case "relate", (key, broader, remove):
            tags.relate(key, broader, "me", remove=remove)
        case "group", (key, path, remove):
            tags.group(key, path, "me", remove=remove)
        case "weigh", (key, value):
            tags.weigh(key, "rank", value, "me")
        case "hide", (key, hidden):
            tags.hide(key, "me", hidden=hidden)
        case "remove", (key, name):
            tags.remove_name(key, name, "me")
        case "undo", (entry,):
            tags.undo(entry, "me")


def _check(tags):
    """What holds of every dictionary."""
    now = state(tags)
    keys = {row[0]: row[1] for row in now["concept"]}
    own = sorted((row[1], row[2]) for row in now["name"] if row[4] == "key")
    assert own == sorted(keys.items())  # each concept has its key as a name, once
    shown = [(row[1], row[3]) for row in now["name"] if row[4] == "display"]
    assert len(shown) == len(set(shown))  # and one name to show in a language
