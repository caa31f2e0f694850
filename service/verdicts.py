"""What people say of pictures: yes and no to tags, each change in a journal from which it can be taken back.

A verdict stands beside the models' opinions and is never touched by them. An edit changes the verdicts of many pictures
in one transaction and is one entry of the journal. Undoing is an edit too: it puts back what its entry changed, but for
what was changed again since.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, false, func, null, select, true
from sqlalchemy.dialects.sqlite import insert

from service.database import Database, change, edit, media, tag, touch, verdict
from service.errors import ServiceError
from service.store import Store

MAX_PICTURES = 1_000_000
MAX_TAGS = 100
"""Of one edit."""
MAX_KEY = 200
_REVIEW, _UNDONE = "review ", "undone: "  # so begins what the journal says of these
_NOTHING = (None, None)
_AT_ONCE = 10_000  # SQLite limits the variables of a statement
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")

_put = insert(verdict)
_put = _put.on_conflict_do_update(
    index_elements=["media_id", "tag_id"], set_={"yes": _put.excluded.yes, "edit_id": _put.excluded.edit_id}
)
_take = delete(verdict).where(verdict.c.media_id == bindparam("medium"), verdict.c.tag_id == bindparam("of"))


class EditError(ServiceError):
    """An edit that cannot be made; the sentence says why and what would do."""


class _Change(NamedTuple):
    """Of one picture and one tag; None: no verdict."""

    media_id: int
    tag_id: int
    before: bool | None
    after: bool | None
    before_edit: int | None
    after_edit: int | None  # None: the one that is being made


@dataclass(frozen=True)
class Edited:
    """What an edit did, or would do.

    Attributes:
        id: its entry in the journal; None where nothing changed or nothing was to be done yet.
        pictures: how many were asked for and are known.
        unknown: ids that no picture has.
        changed: by tag, of how many pictures the verdict became another.
        left: how many verdicts were left because they had been changed again since; only an undo has any.
    """

    id: int | None
    pictures: int
    unknown: Sequence[int]
    changed: dict[str, int]
    left: int = 0


class Said(NamedTuple):
    """A verdict on a picture that was there already, and whose it is."""

    yes: bool
    who: str


@dataclass(frozen=True)
class Judged:
    """What became of verdicts that a review gave.

    Attributes:
        id: their entry in the journal; None where none was kept.
        given: of so many pictures the verdict was kept.
        already: by picture, what had been said of it before, which stays.
        gone: ids of pictures that are not there, or not any more.
    """

    id: int | None
    given: int
    already: dict[int, Said]
    gone: Sequence[int]


class Verdicts:
    """The verdicts of one library, and their journal."""

    def __init__(self, database: Database, store: Store, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._database, self._store, self._clock = database, store, clock

    def edit(
        self,
        media_ids: Iterable[int],
        *,
        who: str,
        yes: Sequence[str] = (),
        no: Sequence[str] = (),
        clear: Sequence[str] = (),
        dry_run: bool = False,
    ) -> Edited:
        """Say of these pictures that they have the tags `yes`, do not have `no`, and nothing of `clear` any more.

        `dry_run` changes nothing and tells what would change. Raises EditError for tags that cannot be.
        """
        said = _by_key(yes, no, clear)
        asked = list(dict.fromkeys(media_ids))
        if len(asked) > MAX_PICTURES:
            raise EditError(f"an edit takes {MAX_PICTURES:,} pictures at most: narrow the search")
        with self._database.writing() as connection:
            known = sorted(_known(connection, asked))
            tag_ids = self._store.tag_ids(connection, set(said))
            wanted = {tag_ids[key]: value for key, value in said.items()}
            changes = list(_changes(connection, known, wanted))
            entry = None
            if changes and not dry_run:
                entry = self._write(connection, changes, who, _sentence(said, len(known)))
            if dry_run:
                connection.rollback()  # a tag that is new was only made to see
        keys = {tag_id: key for key, tag_id in tag_ids.items()}
        counts = dict.fromkeys(said, 0)
        for one in changes:
            counts[keys[one.tag_id]] += 1
        return Edited(entry, len(known), sorted(set(asked) - set(known)), counts)

    def judge(self, key: str, said: Mapping[int, bool], *, who: str, sampled: bool) -> Judged:
        """Say of pictures by id whether they have one tag, where nobody has said anything yet.

        So two people who review the same pictures do not overwrite each other. All is one entry of the journal.
        `sampled`: the pictures were chosen by the model's scores alone. Raises EditError if there is no such tag.
        """
        with self._database.writing() as connection:
            tag_id = connection.execute(select(tag.c.id).where(tag.c.key == key)).scalar_one_or_none()
            if tag_id is None:
                raise EditError(f"no picture has a tag {key[:100]}")
            there = _known(connection, said, present=True)
            before = _verdicts(connection, there, [tag_id])
            new = sorted(media_id for media_id in there if (media_id, tag_id) not in before)
            entry = None
            if new:
                changes = [_Change(media_id, tag_id, None, said[media_id], None, None) for media_id in new]
                yes = sum(said[media_id] for media_id in new)
                what = f"{_REVIEW}{key}: {yes:,} yes, {len(new) - yes:,} no"
                entry = self._write(connection, changes, who, what, sampled=sampled)
            by = {edit_id for _, edit_id in before.values()}
            rows = connection.execute(select(edit.c.id, edit.c.who).where(edit.c.id.in_(by)))
            names = {row.id: row.who for row in rows}
        already = {m: Said(bool(yes), names[by]) for (m, _), (yes, by) in before.items() if by is not None}
        return Judged(entry, len(new), already, sorted(set(said) - there))

    def undo(self, edit_id: int, *, who: str) -> Edited:
        """Put back what an entry of the journal changed. Raises EditError if there is none or it was undone already."""
        with self._database.writing() as connection:
            row = connection.execute(select(edit).where(edit.c.id == edit_id)).one_or_none()
            if row is None:
                raise EditError(f"there is no edit {edit_id}")
            by = connection.execute(select(edit.c.id).where(edit.c.undoes == edit_id)).scalar_one_or_none()
            if by is not None:
                raise EditError(f"edit {edit_id} was undone already, by edit {by}: undo that one to have it again")
            made = connection.execute(select(change).where(change.c.edit_id == edit_id)).all()
            now = _verdicts(connection, {one.media_id for one in made}, {one.tag_id for one in made})
            back = [
                _Change(one.media_id, one.tag_id, one.after, one.before, one.after_edit, one.before_edit)
                for one in made
                if now.get((one.media_id, one.tag_id), _NOTHING) == (one.after, one.after_edit)
            ]
            entry = self._write(connection, back, who, f"{_UNDONE}{row.what}", undoes=edit_id)
            keys = _keys(connection, {one.tag_id for one in back})
        counts: dict[str, int] = {}
        for one in back:
            counts[keys[one.tag_id]] = counts.get(keys[one.tag_id], 0) + 1
        return Edited(entry, len({one.media_id for one in made}), [], counts, left=len(made) - len(back))

    def journal(self, *, before: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The latest entries, newest first; those before the entry `before`.

        Of each its columns; `undone_by`; `pictures`, how many it changed; `kind`: "edit", "review", "undo", or "redo",
        the undo of an undo; and `changes`, by tag: {"tag", "yes", "no", "clear"}, of how many pictures it said that
        they have it, that they do not, or nothing any more.
        """
        undone = edit.alias()
        pictures = select(func.count(change.c.media_id.distinct())).where(change.c.edit_id == edit.c.id)
        rows = (
            select(
                *(edit.c[name] for name in ("id", "at", "who", "what", "undoes")),
                undone.c.id.label("undone_by"),
                pictures.scalar_subquery().label("pictures"),
            )
            .outerjoin(undone, undone.c.undoes == edit.c.id)
            .order_by(edit.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            rows = rows.where(edit.c.id < min(before, 2**63 - 1))
        with self._database.reading() as connection:
            entries = [dict(row) for row in connection.execute(rows).mappings()]
            changes = _said_by(connection, [entry["id"] for entry in entries])
        return [{**entry, "kind": _kind(entry), "changes": changes.get(entry["id"], [])} for entry in entries]

    def _write(
        self,
        connection: Connection,
        changes: Sequence[_Change],
        who: str,
        what: str,
        *,
        undoes: int | None = None,
        sampled: bool = False,
    ) -> int:
        at = round(1000 * self._clock())
        values = {"at": at, "who": who, "what": what, "undoes": undoes, "sampled": sampled}
        entry = connection.execute(insert(edit).values(values).returning(edit.c.id)).scalar_one()
        given = {c: None if c.after is None else c.after_edit or entry for c in changes}
        put = [
            {"media_id": c.media_id, "tag_id": c.tag_id, "yes": c.after, "edit_id": by} for c, by in given.items() if by
        ]
        if put:
            connection.execute(_put, put)
        taken = [{"medium": c.media_id, "of": c.tag_id} for c in changes if c.after is None]
        if taken:
            connection.execute(_take, taken)
        rows = [
            {
                "edit_id": entry,
                "media_id": c.media_id,
                "tag_id": c.tag_id,
                "before": c.before,
                "after": c.after,
                "before_edit": c.before_edit,
                "after_edit": by,
            }
            for c, by in given.items()
        ]
        if rows:
            connection.execute(insert(change), rows)
            touch(connection, {c.media_id for c in changes})
        return int(entry)


def _by_key(yes: Sequence[str], no: Sequence[str], clear: Sequence[str]) -> dict[str, bool | None]:
    """{tag: what is said of it}. Raises EditError for what cannot be a tag, and if two things are said of one."""
    said: dict[str, bool | None] = {}
    for keys, value in ((yes, True), (no, False), (clear, None)):
        for key in keys:
            if not key.strip() or len(key) > MAX_KEY or _UNWRITABLE.search(key):
                raise EditError(f"{key[:40]!r} is no tag: it has 1 to {MAX_KEY} characters, none of which is invisible")
            if said.get(key, value) is not value:
                raise EditError(f"two things are said of {key}: name it once")
            said[key] = value
    if not said:
        raise EditError("nothing is said of any tag: name one under yes, no or clear")
    if len(said) > MAX_TAGS:
        raise EditError(f"an edit takes {MAX_TAGS} tags at most")
    return said


def _sentence(said: dict[str, bool | None], pictures: int) -> str:
    words = {True: "add", False: "remove", None: "say nothing of"}
    parts = [
        f"{word} {', '.join(keys)}"
        for value, word in words.items()
        if (keys := [key for key, given in said.items() if given is value])
    ]
    return f"{'; '.join(parts)}: {pictures:,} picture{'' if pictures == 1 else 's'}"


def _kind(entry: Mapping[str, Any]) -> str:
    """Of an entry of the journal: how it came about."""
    what, times = entry["what"], 0
    while what.startswith(_UNDONE):
        what, times = what.removeprefix(_UNDONE), times + 1
    if times:
        return "undo" if times % 2 else "redo"
    return "review" if what.startswith(_REVIEW) else "edit"


def _said_by(connection: Connection, edits: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """What entries of the journal said, by entry and in the order in which its tags were made."""
    counted = {
        name: func.count().filter(change.c.after.is_(value))
        for name, value in (("yes", true()), ("no", false()), ("clear", null()))
    }
    rows = (
        select(change.c.edit_id, tag.c.key, *(count.label(name) for name, count in counted.items()))
        .join(tag, tag.c.id == change.c.tag_id)
        .where(change.c.edit_id.in_(edits))
        .group_by(change.c.edit_id, tag.c.id)
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for row in connection.execute(rows):
        found.setdefault(row.edit_id, []).append({"tag": row.key, "yes": row.yes, "no": row.no, "clear": row.clear})
    return found


def _parts(ids: Iterable[int]) -> Iterator[list[int]]:
    listed = list(ids)
    for first in range(0, len(listed), _AT_ONCE):
        yield listed[first : first + _AT_ONCE]


def _known(connection: Connection, ids: Iterable[int], *, present: bool = False) -> set[int]:
    """Those of the ids that a picture has; `present`: one that has not vanished."""
    found: set[int] = set()
    for some in _parts(ids):
        rows = select(media.c.id).where(media.c.id.in_(some))
        found.update(connection.execute(rows.where(media.c.present) if present else rows).scalars())
    return found


def _keys(connection: Connection, tag_ids: Iterable[int]) -> dict[int, str]:
    return {row.id: row.key for row in connection.execute(select(tag.c.id, tag.c.key).where(tag.c.id.in_(tag_ids)))}


def _verdicts(
    connection: Connection, media_ids: Iterable[int], tag_ids: Iterable[int]
) -> dict[tuple[int, int], tuple[bool | None, int | None]]:
    """{(media id, tag id): (what was said, by which edit)}."""
    tags = list(tag_ids)
    found: dict[tuple[int, int], tuple[bool | None, int | None]] = {}
    for some in _parts(media_ids):
        rows = select(verdict).where(verdict.c.media_id.in_(some), verdict.c.tag_id.in_(tags))
        for row in connection.execute(rows):
            found[row.media_id, row.tag_id] = (row.yes, row.edit_id)
    return found


def _changes(connection: Connection, media_ids: Sequence[int], wanted: dict[int, bool | None]) -> Iterator[_Change]:
    now = _verdicts(connection, media_ids, wanted)
    for media_id in media_ids:
        for tag_id, after in wanted.items():
            before, before_edit = now.get((media_id, tag_id), _NOTHING)
            if before is not after:
                yield _Change(media_id, tag_id, before, after, before_edit, None)
