"""What people say, and the journal of it: over a real database, and against a plain model of the same rules."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.database import Database
from service.search.find import Search
from service.search.names import Keys
from service.store import Opinion, Store
from service.verdicts import MAX_PICTURES, Edited, EditError, Verdicts
from tests.service.search.test_find import add_media

State = dict[tuple[int, str], bool]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "l.db")) as opened:
        yield opened


@pytest.fixture
def verdicts(database: Database) -> Verdicts:
    return Verdicts(database, Store(database), clock=lambda: 1.5)


def state(database: Database) -> State:
    sql = "SELECT media_id, key, yes FROM verdict JOIN tag ON tag.id = tag_id"
    with database.reading() as connection:
        return {(row[0], row[1]): bool(row[2]) for row in connection.exec_driver_sql(sql)}


def test_the_journal_tells_edits_reviews_and_undos_apart(database: Database, verdicts: Verdicts) -> None:
    a, b, c = add_media(database, 3)
    first = verdicts.edit([a, b], who="me", yes=["review hat"])
    verdicts.judge("review hat", {b: True, c: False}, who="you", sampled=False)
    verdicts.edit([c], who="me", clear=["review hat"])
    assert first.id is not None
    undone = verdicts.undo(first.id, who="me")
    assert undone.id is not None
    verdicts.undo(undone.id, who="me")
    told = [(entry["kind"], [tuple(one.values()) for one in entry["changes"]]) for entry in verdicts.journal()]
    assert told == [
        ("redo", [("review hat", 2, 0, 0)]),
        ("undo", [("review hat", 0, 0, 2)]),
        ("edit", [("review hat", 0, 0, 1)]),
        ("review", [("review hat", 0, 1, 0)]),
        ("edit", [("review hat", 2, 0, 0)]),
    ]
    assert [entry["kind"] for entry in verdicts.journal(limit=1, before=3)] == ["review"]


def test_an_edit_of_many_pictures_is_one_entry(database: Database, verdicts: Verdicts) -> None:
    a, b = add_media(database, 2)
    preview = verdicts.edit([a, b, 99], who="me", yes=["hat"], no=["smile"], dry_run=True)
    assert (preview.id, preview.pictures, preview.unknown) == (None, 2, [99])
    assert preview.changed == {"hat": 2, "smile": 2}
    assert state(database) == {} and verdicts.journal() == []
    with database.reading() as connection:  # a tag that was only looked at is none of the library's
        assert connection.exec_driver_sql("SELECT key FROM tag").all() == []
    done = verdicts.edit([a, b, 99], who="me", yes=["hat"], no=["smile"])
    assert done.changed == preview.changed
    assert state(database) == {(a, "hat"): True, (b, "hat"): True, (a, "smile"): False, (b, "smile"): False}
    [entry] = verdicts.journal()
    assert entry == {
        "id": done.id,
        "at": 1500,
        "who": "me",
        "what": "add hat; remove smile: 2 pictures",
        "undoes": None,
        "undone_by": None,
        "pictures": 2,
        "kind": "edit",
        "changes": [{"tag": "hat", "yes": 2, "no": 0, "clear": 0}, {"tag": "smile", "yes": 0, "no": 2, "clear": 0}],
    }
    again = verdicts.edit([a, b], who="me", yes=["hat"])
    assert (again.id, again.changed) == (None, {"hat": 0})
    assert len(verdicts.journal()) == 1


def test_undo_leaves_what_was_changed_again_since(database: Database, verdicts: Verdicts) -> None:
    a, b = add_media(database, 2)
    first = verdicts.edit([a, b], who="me", yes=["hat"])
    verdicts.edit([a], who="you", no=["hat"])
    assert first.id
    undone = verdicts.undo(first.id, who="me")
    assert (undone.changed, undone.left) == ({"hat": 1}, 1)
    assert state(database) == {(a, "hat"): False}
    with pytest.raises(EditError, match=rf"edit {first.id} was undone already, by edit {undone.id}"):
        verdicts.undo(first.id, who="me")
    with pytest.raises(EditError, match="there is no edit 777"):
        verdicts.undo(777, who="me")
    assert undone.id
    verdicts.undo(undone.id, who="me")  # what was undone comes again
    assert state(database) == {(a, "hat"): False, (b, "hat"): True}


def test_what_was_set_again_to_the_same_is_another_edits(database: Database, verdicts: Verdicts) -> None:
    [a] = add_media(database, 1)
    first = verdicts.edit([a], who="me", yes=["hat"])
    verdicts.edit([a], who="you", no=["hat"])
    verdicts.edit([a], who="you", yes=["hat"])
    assert first.id and verdicts.undo(first.id, who="me").left == 1
    assert state(database) == {(a, "hat"): True}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"yes": [""]}, "is no tag"),
        ({"yes": ["x" * 201]}, "1 to 200 characters"),
        ({"yes": ["a\u202eb"]}, "invisible"),
        ({"yes": ["\ud800"]}, "invisible"),
        ({"yes": ["hat"], "no": ["hat"]}, "two things are said of hat"),
        ({}, "nothing is said"),
        ({"yes": [f"t{i}" for i in range(101)]}, "100 tags at most"),
    ],
)
def test_what_cannot_be_said(database: Database, verdicts: Verdicts, said, reason) -> None:
    ids = add_media(database, 1)
    with pytest.raises(EditError, match=reason):
        verdicts.edit(ids, who="me", **said)
    assert state(database) == {}


def test_an_edit_of_more_pictures_than_it_takes_is_refused(verdicts: Verdicts) -> None:
    with pytest.raises(EditError, match="1,000,000 pictures at most"):
        verdicts.edit(range(MAX_PICTURES + 1), who="me", yes=["hat"])


def test_no_model_touches_a_verdict_while_it_is_given(database: Database, verdicts: Verdicts) -> None:
    """A run posts the very pictures that people judge, at the same time."""
    ids = add_media(database, 20)
    search, store = Search(database, Keys()), Store(database)
    errors: list[BaseException] = []

    def post() -> None:
        try:
            for turn in range(15):
                store.replace([Opinion(media_id, f"m{turn % 2}", {"hat": 0.9}) for media_id in ids])
        except BaseException as error:
            errors.append(error)

    run = threading.Thread(target=post)
    run.start()
    for media_id in ids:
        verdicts.edit([media_id], who="me", no=["hat"])
    run.join()
    assert errors == []
    assert state(database) == {(media_id, "hat"): False for media_id in ids}
    assert search.ids("hat") == []


_TAGS = ("hat", "smile")
_SAID = st.sampled_from((True, False, None))
_EDITS = st.lists(
    st.one_of(
        st.tuples(
            st.just("edit"),
            st.sets(st.integers(0, 3), min_size=1),
            st.sampled_from(_TAGS),
            st.sampled_from((True, False, None)),
        ),
        st.tuples(st.just("undo"), st.integers(0, 20)),
        st.tuples(st.just("run"), st.integers(0, 3)),
    ),
    max_size=20,
)


def say(verdicts: Verdicts, media_ids: list[int], key: str, value: bool | None) -> Edited:
    if value is None:
        return verdicts.edit(media_ids, who="me", clear=[key])
    return verdicts.edit(media_ids, who="me", yes=[key] if value else [], no=[] if value else [key])


@settings(max_examples=60, deadline=None)
@given(_EDITS)
def test_edits_runs_and_undos_leave_what_the_journal_says(tmp_path_factory, steps) -> None:
    with closing(Database(tmp_path_factory.mktemp("verdicts") / "l.db")) as database:
        verdicts, store, ids = Verdicts(database, Store(database)), Store(database), add_media(database, 4)
        given_by: dict[tuple[int, str], tuple[bool, int]] = {}  # the same rules, in five lines
        made: list[int] = []
        before: dict[int, dict[tuple[int, str], tuple[bool, int] | None]] = {}
        after: dict[int, dict[tuple[int, str], tuple[bool, int] | None]] = {}

        def note(entry: int, now: dict[tuple[int, str], tuple[bool, int] | None]) -> None:
            made.append(entry)
            before[entry] = {key: given_by.get(key) for key in now}
            after[entry] = now
            for key, value in now.items():
                given_by.pop(key, None)
                if value is not None:
                    given_by[key] = value

        def undo(entry: int) -> None:
            made.remove(entry)
            undone = verdicts.undo(entry, who="me")
            back = {key: before[entry][key] for key, value in after[entry].items() if given_by.get(key) == value}
            assert undone.left == len(after[entry]) - len(back)
            assert undone.id
            note(undone.id, back)

        for step in steps:
            match step:
                case ("edit", which, key, value):
                    done = say(verdicts, [ids[i] for i in which], key, value)
                    if done.id:
                        changed = [i for i in which if given_by.get((ids[i], key), (None, 0))[0] is not value]
                        note(done.id, {(ids[i], key): None if value is None else (value, done.id) for i in changed})
                case ("undo", at) if made:
                    undo(made[at % len(made)])
                case ("run", at):
                    store.replace([Opinion(ids[at], "m", {key: 0.7 for key in _TAGS})])
            assert state(database) == {key: value for key, (value, _) in given_by.items()}

        first = [entry["id"] for entry in verdicts.journal(limit=100) if entry["undoes"] is None]
        assert len(first) <= len(steps)


@settings(max_examples=40, deadline=None)
@given(_EDITS)
def test_undoing_all_from_the_last_to_the_first_leads_back_to_the_start(tmp_path_factory, steps) -> None:
    with closing(Database(tmp_path_factory.mktemp("verdicts") / "l.db")) as database:
        verdicts, ids = Verdicts(database, Store(database)), add_media(database, 4)
        verdicts.edit(ids[:2], who="me", yes=["hat"], no=["smile"])
        start, made = state(database), []
        for step in steps:
            if step[0] == "edit":
                made.append(say(verdicts, [ids[i] for i in step[1]], step[2], step[3]).id)
        for entry in reversed([entry for entry in made if entry]):
            assert verdicts.undo(entry, who="me").left == 0
        assert state(database) == start
