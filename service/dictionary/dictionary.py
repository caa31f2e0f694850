"""A dictionary of tags: one open file, read and changed by any thread."""

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from platformdirs import user_cache_path

from service.dictionary import changes, edit, export, shipped
from service.dictionary.changes import Change, Undone
from service.dictionary.concepts import KEYS, Answer, Concept, Entry, Group, Kind, Name, clean_language
from service.dictionary.database import SCHEMA_VERSION, Database
from service.dictionary.errors import ConflictError, DictionaryError
from service.dictionary.imports.apply import Import, Report
from service.dictionary.imports.read import read
from service.dictionary.imports.rows import GroupRow, Row
from service.dictionary.lookup import Lookup, Pictures, display

_BUILD = 1
"""Counted up when the same tables make another dictionary, so that a kept one is made anew."""


class Dictionary:
    """An open dictionary. Methods that change it take `who` does so, and write an entry into the journal.

    `expected`: the revision of the concept that the change is made upon; ConflictError if it is another by now.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lookup = Lookup(database)

    @classmethod
    def open(cls, path: Path | Literal["shipped"]) -> Self:
        """The dictionary in a file, which begins as the shipped one if it is new; or the shipped one, read-only.

        Raises:
            DictionaryError: the file is no dictionary, comes from a newer version, or cannot be written.
        """
        if path == "shipped":
            return cls(_shipped())
        if not path.exists() or path.stat().st_size == 0:
            _copy_shipped(path)
        return cls(Database(path))

    @classmethod
    def open_empty(cls, path: Path) -> Self:
        """The dictionary in a file, which begins without any concept if it is new. Raises DictionaryError as `open`."""
        return cls(Database(path))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # Reading.

    def resolve(self, text: str, lang: str = "") -> Answer:
        """The concepts that have this name; see `lookup.Lookup.resolve`."""
        return self._lookup.resolve(text, lang)

    def suggest(self, prefix: str, lang: str = "", limit: int = 10, pictures: Pictures | None = None) -> Answer:
        """What somebody who has typed this much may mean; see `lookup.Lookup.suggest`."""
        return self._lookup.suggest(prefix, lang, limit, pictures)

    def concept(self, key: str) -> Concept:
        """A concept by its key, or a former one.

        Raises:
            UnknownError: there is none.
            ConflictError: the former key belongs to several.
        """
        connection = self._database.reading()
        return _concept(connection, edit.concept_of(connection, key))

    def concepts(self, after: str = "", limit: int = 100, group: str | None = None) -> list[Concept]:
        """Concepts in the order of their keys, those behind `after`; of a group and those in it, if one is named."""
        connection = self._database.reading()
        group = group and group.encode("utf-8", "replace").decode("utf-8")
        rows = connection.execute(
            "SELECT id FROM concept WHERE key > ? AND (? IS NULL OR id IN "
            "(SELECT concept FROM member WHERE path = ? OR substr(path, 1, length(?) + 1) = ? || '/')) "
            "ORDER BY key LIMIT ?",
            (after, group, group, group, group, limit),
        ).fetchall()
        return [_concept(connection, number) for (number,) in rows]

    def every(self) -> Iterator[Concept]:
        """All concepts, in the order in which they came."""
        connection = self._database.reading()
        for (number,) in connection.execute("SELECT id FROM concept ORDER BY id").fetchall():
            yield _concept(connection, number)

    def keys_of(self, key: str, narrower: bool = True) -> list[str]:
        """All that a model or the API may call this concept, its own key first; those of narrower concepts too.

        Raises UnknownError and ConflictError as `concept`.
        """
        connection = self._database.reading()
        concept = edit.concept_of(connection, key)
        rows = connection.execute(
            "SELECT text FROM name WHERE kind IN ('key', 'former key', 'community key') AND (concept = ? OR ? AND "
            "concept IN (SELECT concept FROM closure WHERE broader = ?)) "
            "ORDER BY concept != ?, concept, kind != 'key', id",
            (concept, narrower, concept, concept),
        )
        return list(dict.fromkeys(text for (text,) in rows))

    def name(self, key: str, lang: str = "") -> str:
        """The name to show for a model's key in a language; the key itself where the dictionary does not know it."""
        connection = self._database.reading()
        try:
            return display(connection, edit.concept_of(connection, key), clean_language(lang))
        except DictionaryError:
            return key

    def concept_keys(self) -> dict[str, tuple[str, ...]]:
        """For every key, present and former, the keys of the concepts that it belongs to; one as a rule."""
        found: dict[str, tuple[str, ...]] = {}
        for text, key in self._database.reading().execute(
            "SELECT n.text, c.key FROM name n JOIN concept c ON c.id = n.concept "
            "WHERE n.kind IN ('key', 'former key', 'community key') ORDER BY n.kind != 'key', c.id"
        ):
            found[text] = (*found.get(text, ()), key)
        return found

    def lines(self) -> Iterator[str]:
        """The whole dictionary as JSON Lines; see `export`."""
        return export.lines(self._database)

    def groups(self) -> list[Group]:
        """The tree for browsing, each group behind the one that it lies in."""
        rows = self._database.reading().execute("SELECT path, names FROM browse ORDER BY place")
        return [Group(path, json.loads(names)) for path, names in rows]

    def journal(self, limit: int = 100, before: int | None = None) -> list[Entry]:
        """What was changed, the newest first; `before`: only entries older than this one."""
        return changes.entries(self._database.reading(), limit, before)

    def size(self) -> int:
        """How many names there are, keys among them."""
        return int(self._database.reading().execute("SELECT count(*) FROM name").fetchone()[0])

    def revision(self) -> int:
        """The number of the newest entry of the journal; 0 if there is none."""
        (newest,) = self._database.reading().execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()
        return int(newest)

    def changes(self, since: int = 0) -> dict[str, Concept | None]:
        """What changed after an entry of the journal, by key: the concept as it is now, None for one that is gone.

        Raises ConflictError where the journal has no such entry yet: then it is another dictionary's.
        """
        if since > (newest := self.revision()):
            raise ConflictError(
                f"the newest entry of this journal is {newest}, before {since}: the dictionary is another than the one "
                "that was mirrored, so begin again with 0"
            )
        connection = self._database.reading()
        found: dict[str, Concept | None] = {}
        for number, key, now in connection.execute(
            "SELECT t.concept, t.key, c.key FROM touched t LEFT JOIN concept c ON c.id = t.concept "
            "WHERE t.entry > ? ORDER BY t.entry, t.concept",
            (since,),
        ).fetchall():
            if now is not None:
                found[now] = _concept(connection, number)
            elif found.get(key) is None:
                found[key] = None
        return found

    # Changing.

    def add(
        self,
        key: str,
        who: str,
        *,
        category: str | None = None,
        names: Iterable[Name] = (),
        groups: Iterable[str] = (),
        implies: Iterable[str] = (),
        expected: int | None = None,
    ) -> Concept:
        """A new concept, or more names, groups and relations for one that is there."""
        with self._changing(who, "add", f"add to {key}", key if expected is not None else None, expected) as change:
            number = edit.add(change, key, category, names, groups, implies)
        return _concept(self._database.reading(), number)

    def rename(self, key: str, name: str, who: str, *, lang: str | None = None, expected: int | None = None) -> Concept:
        """Another name to show in a language; or, without a language, another key. The old one goes on being found."""
        told = f"rename {key} to {name}" + (f" in {lang}" if lang else "")
        with self._changing(who, "rename", told, key, expected) as change:
            number = edit.concept_of(change.connection, key)
            if lang is None:
                edit.rename_key(change, number, name)
            else:
                edit.add_name(change, number, Name(name, lang, Kind.DISPLAY))
        return _concept(self._database.reading(), number)

    def remove_name(self, key: str, text: str, who: str, *, expected: int | None = None) -> Concept:
        """Take a name away; no import brings it back."""
        return self._edit(
            "hide", f"take {text} from {key}", key, who, expected, lambda c, n: edit.remove_name(c, n, text)
        )

    def categorise(self, key: str, category: str, who: str, *, expected: int | None = None) -> Concept:
        """Put a concept into another category."""
        told = f"put {key} into {category}"
        return self._edit("add", told, key, who, expected, lambda c, n: edit.set_category(c, n, category))

    def merge(self, source: str, into: str, who: str, *, expected: int | None = None) -> Concept:
        """Two concepts become one. `expected`: the revision of `into`."""
        with self._changing(who, "merge", f"merge {source} into {into}", into, expected) as change:
            number = edit.concept_of(change.connection, into)
            edit.merge(change, edit.concept_of(change.connection, source), number)
        return _concept(self._database.reading(), number)

    def split(self, key: str, names: Iterable[str], new_key: str, who: str, *, expected: int | None = None) -> Concept:
        """A new concept takes some names of one; returns the new one."""
        with self._changing(who, "split", f"split {new_key} from {key}", key, expected) as change:
            number = edit.split(change, edit.concept_of(change.connection, key), names, new_key)
        return _concept(self._database.reading(), number)

    def relate(self, key: str, broader: str, who: str, *, remove: bool = False, expected: int | None = None) -> Concept:
        """Let a concept imply a broader one, or no longer. Raises ConflictError, with the path, for a circle."""
        told = f"{key} implies {broader}{' no longer' if remove else ''}"
        return self._edit(
            "relate",
            told,
            key,
            who,
            expected,
            lambda c, n: edit.relate(c, n, edit.concept_of(c.connection, broader), remove),
        )

    def group(self, key: str, path: str, who: str, *, remove: bool = False, expected: int | None = None) -> Concept:
        """Lay a concept into a group, or take it out."""
        told = f"{'take' if remove else 'lay'} {key} {'out of' if remove else 'into'} {path}"
        return self._edit("group", told, key, who, expected, lambda c, n: edit.group(c, n, path, remove))

    def add_group(self, path: str, names: Mapping[str, str], who: str) -> None:
        """A new group with its names by language, or other names for one."""
        with self._changing(who, "group", f"the group {path}") as change:
            edit.add_group(change, path, names)

    def weigh(self, key: str, kind: str, value: float | None, who: str, *, expected: int | None = None) -> Concept:
        """Set one of a concept's weights (rank, importance, favourite); None takes it back."""
        told = f"weigh {key}: {kind} {'as it was' if value is None else f'{value:g}'}"
        return self._edit("weigh", told, key, who, expected, lambda c, n: edit.weigh(c, n, kind, value))

    def hide(self, key: str, who: str, *, hidden: bool = True, expected: int | None = None) -> Concept:
        """Leave a concept out of suggestions, or let it in again; its names still find it."""
        told = f"{'hide' if hidden else 'show'} {key}"
        return self._edit("hide", told, key, who, expected, lambda c, n: edit.hide(c, n, hidden))

    def undo(self, entry: int, who: str) -> Undone:
        """Put back what an entry of the journal changed; what was changed again since is told and left.

        Not the first entry of a dictionary that began as the shipped one: that would leave nothing.
        """
        return changes.undo(self._database, entry, who)

    def load(
        self, rows: Iterable[Row | GroupRow], source: str, who: str, *, exact: bool = False, dry_run: bool = False
    ) -> Report:
        """Lay the rows of files into the dictionary, as one entry of the journal; see `imports.read`."""
        with self._database.writing() as connection:
            connection.execute("SAVEPOINT import")
            change = Change(connection)
            report = Import(change, source, exact).apply(rows)
            if dry_run:
                connection.execute("ROLLBACK TO import")
            else:
                report.entry = changes.record(change, who, "import", f"import {source}")
        return report

    def load_files(self, files: Iterable[Path], who: str, *, form: str | None = None, dry_run: bool = False) -> Report:
        """Import files of any form that is known, all of them or none.

        Raises DictionaryError, with line and column, for a file that is wrong.
        """
        given = read(list(files), form)
        return self.load(given.rows, given.source, who, exact=given.exact, dry_run=dry_run)

    def load_shipped(self) -> Report:
        """Lay the package's own tables into the dictionary; what people decided stays."""
        tables = shipped.tables()
        report = self.load(shipped.rows(tables), shipped.SOURCE, "engine")
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('shipped', ?)", (shipped.digest(tables),))
        return report

    def _edit(
        self,
        action: str,
        told: str,
        key: str,
        who: str,
        expected: int | None,
        work: Callable[[Change, int], None],
    ) -> Concept:
        with self._changing(who, action, told, key, expected) as change:
            number = edit.concept_of(change.connection, key)
            work(change, number)
        return _concept(self._database.reading(), number)

    @contextmanager
    def _changing(
        self, who: str, action: str, told: str, key: str | None = None, expected: int | None = None
    ) -> Iterator[Change]:
        with changes.changing(self._database, who, action, told) as change:
            if key is not None and expected is not None:
                now = _revision(change.connection, edit.concept_of(change.connection, key))
                if now != expected:
                    raise ConflictError(
                        f"{key} was changed since you read it (revision {now}, not {expected}): read it again"
                    )
            yield change


def _concept(connection: sqlite3.Connection, number: int) -> Concept:
    key, category, count, hidden = connection.execute(
        "SELECT key, category, count, hidden FROM concept WHERE id = ?", (number,)
    ).fetchone()
    names = connection.execute(
        "SELECT text, lang, kind, source, weight FROM name WHERE concept = ? AND kind != 'key' "
        "ORDER BY lang, kind, weight DESC, id",
        (number,),
    )
    implies = connection.execute(
        "SELECT c.key FROM implies i JOIN concept c ON c.id = i.broader WHERE i.concept = ? ORDER BY c.key", (number,)
    )
    groups = connection.execute("SELECT path FROM member WHERE concept = ? ORDER BY path", (number,))
    weights = connection.execute("SELECT kind, value FROM weight WHERE concept = ? ORDER BY kind", (number,))
    return Concept(
        key,
        category,
        tuple(Name(*row) for row in names),
        tuple(k for (k,) in implies),
        tuple(path for (path,) in groups),
        dict(weights.fetchall()),
        count,
        bool(hidden),
        _revision(connection, number),
    )


def _revision(connection: sqlite3.Connection, number: int) -> int:
    (entry,) = connection.execute("SELECT coalesce(max(entry), 0) FROM touched WHERE concept = ?", (number,)).fetchone()
    return int(entry)


def _copy_shipped(path: Path) -> None:
    """Begin a file as a copy of the shipped dictionary; it appears whole or not at all.

    Raises:
        DictionaryError: it cannot be written.
    """
    shipped_file = _shipped()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped_file.path, part)
        part.chmod(0o600)
        part.replace(path)
    except OSError as error:
        raise DictionaryError(f"the dictionary {path} cannot be made: {error.strerror}") from error
    finally:
        shipped_file.close()
        part.unlink(missing_ok=True)


def _shipped() -> Database:
    """The shipped dictionary as a file, made when it is first asked for and kept in the user's cache."""
    tables = shipped.tables()
    name = f"tags-{SCHEMA_VERSION}.{_BUILD}-{shipped.digest(tables)}.db"
    for folder in (user_cache_path("deepdanbooru-engine", appauthor=False), Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / name
            if not file.is_file():
                _build(file)
            with suppress(DictionaryError):
                return Database(file, read_only=True)
            _build(file)
            return Database(file, read_only=True)
    raise DictionaryError("the shipped dictionary cannot be kept in any folder: set XDG_CACHE_HOME or TEMP to one")


def _build(file: Path) -> None:
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with Dictionary.open_empty(part) as made:
            made.load_shipped()
        connection = sqlite3.connect(part, isolation_level=None)
        connection.execute("PRAGMA journal_mode=DELETE").close()
        connection.close()
        part.replace(file)
    finally:
        for rest in (part, Path(f"{part}-wal"), Path(f"{part}-shm")):
            rest.unlink(missing_ok=True)


__all__ = ["KEYS", "Dictionary"]
