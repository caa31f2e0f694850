"""Which pictures have which tag, in memory: made from the database, and brought up to date before each search.

A picture is a row, in the order of the ids. For each tag and model the rows and scores of its pictures lie side by
side in arrays, so a search is a few passes over arrays of numbers: 1,000,000 pictures of 30 tags take some 250 MB.
Every transaction that changes something raises the library's revision and marks the media it changed; so the index
finds what this or another process wrote since, and reads that alone.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select

from service.database import Database, library, model, tag
from service.opinions import entries

Rows = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]
"""[pictures]: one for each row."""
Best = npt.NDArray[np.uint16]
"""[pictures]: the best score of a tag in each row, in steps of opinions.py; 0: the picture does not have it."""

YES = np.uint16(65_535)
"""The score of what a person said."""
_READ_ANEW = 0.25
"""From this share of changed pictures on, reading everything is cheaper than changing what is there."""
_FETCHED = 20_000
_MEMO = 1_000
T = TypeVar("T")
_NONE: Rows = np.empty(0, np.uint32)


class Told(NamedTuple):
    """What one model says of one tag: the rows of its pictures and their scores, side by side."""

    rows: Rows
    scores: npt.NDArray[np.uint16]


class Tag:
    """A tag, and the pictures that have it.

    Attributes:
        threshold: the step of a score from which an opinion counts.
        told: by model id, what models say.
        yes: rows of which a person said that they have it, and `no`: that they do not.
    """

    __slots__ = ("category", "id", "key", "no", "threshold", "told", "yes")

    def __init__(self, tag_id: int, key: str, category: str, threshold: float | None) -> None:
        self.id, self.key, self.category = tag_id, key, category
        self.threshold = round((threshold or 0.0) * YES)
        self.told: dict[int, Told] = {}
        self.yes: Rows = _NONE
        self.no: Rows = _NONE

    @property
    def size(self) -> int:
        """As many pictures as can have it at most."""
        return sum(len(told.rows) for told in self.told.values()) + len(self.yes)


class Count(NamedTuple):
    """A tag among pictures, and how many of them have it."""

    tag: Tag
    pictures: int


class Wanted(NamedTuple):
    """Which opinions and verdicts count.

    Attributes:
        low, high: of the score, 0..1; a person's yes is a 1.
        source: `human`, `model`, or a model's name; None: all.
    """

    low: float = -1.0
    high: float = 2.0
    source: str | None = None


ANY = Wanted()


class Index:
    """The pictures and tags of one database. Its methods are called within `fresh`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()
        self._revision = self._tags_revision = -1
        self.ids: npt.NDArray[np.int64] = np.empty(0, np.int64)
        """[pictures]: ascending."""
        self.present: Mask = np.empty(0, np.bool_)
        self.tags: dict[int, Tag] = {}
        self.by_key: dict[str, Tag] = {}
        self.models: dict[str, int] = {}
        """Ids by name."""
        self._known: Mask = np.empty(0, np.bool_)  # rows that are in some array of a tag
        self._memo: dict[object, Any] = {}  # what was computed of this revision

    @contextmanager
    def fresh(self) -> Iterator["Index"]:
        """The index as the database is now, for one thread at a time."""
        with self._lock:
            with self._database.reading() as connection:
                self._refresh(connection)
            yield self

    # What a search asks.

    def best(self, tags: Iterable[Tag], wanted: Wanted = ANY) -> Best:
        """For each picture the best score among these tags, as far as opinions and verdicts of each tag count."""
        best = np.zeros(len(self.ids), np.uint16)
        low, high = wanted.low * int(YES), wanted.high * int(YES)
        for one in tags:
            for model_id, told in one.told.items():
                if not self._is_from(model_id, wanted.source):
                    continue
                rows, scores = told
                least = max(low, one.threshold)
                if least > 0 or high < YES:
                    counts = (scores >= least) & (scores <= high)
                    rows, scores = rows[counts], scores[counts]
                if len(one.no):
                    stays = ~np.isin(rows, one.no)
                    rows, scores = rows[stays], scores[stays]
                best[rows] = np.maximum(best[rows], scores)  # a row stands once in `rows`
            if len(one.yes) and wanted.source in (None, "human") and low <= YES <= high:
                best[one.yes] = YES
        return best

    def tagged(self, wanted: Wanted = ANY) -> Mask:
        """Pictures that have any tag so."""
        return self._remember(("tagged", wanted), lambda: self.best(self.tags.values(), wanted) > 0)

    def row(self, media_id: int) -> int | None:
        """The row of a picture that is there."""
        at = int(np.searchsorted(self.ids, media_id))
        return at if at < len(self.ids) and self.ids[at] == media_id and self.present[at] else None

    def count(self, tags: Iterable[Tag]) -> int:
        """How many pictures that are there have one of these tags."""
        chosen = tuple(sorted(one.id for one in tags))
        return self._remember(
            ("count", chosen),
            lambda: int(np.count_nonzero((self.best(self.tags[one] for one in chosen) > 0) & self.present)),
        )

    def most(self, mask: Mask, category: str | None, number: int) -> list[Count]:
        """The tags that most of these pictures have, of a category if one is given."""
        found: list[Count] = []
        least = 0
        for one in self._by_size():
            if len(found) >= number and one.size <= least:
                break  # no tag from here on can have more pictures
            if category not in (None, one.category):
                continue
            pictures = int(np.count_nonzero((self.best([one]) > 0) & mask)) if one.size else 0
            if pictures:
                found.append(Count(one, pictures))
                found.sort(key=lambda count: (-count.pictures, count.tag.key))
                del found[number:]
                least = found[-1].pictures
        return found

    def categories(self) -> list[str]:
        """Those of the tags in use."""
        return self._remember("categories", lambda: sorted({t.category for t in self.tags.values() if t.size}))

    def matching(self, pattern: Any) -> list[Tag]:  # noqa: ANN401 - a compiled pattern of `re`
        """The tags whose key a compiled pattern matches wholly."""
        return [one for one in self.tags.values() if pattern.fullmatch(one.key)]

    def _by_size(self) -> list[Tag]:
        return self._remember("by size", lambda: sorted(self.tags.values(), key=lambda one: (-one.size, one.key)))

    def _is_from(self, model_id: int, source: str | None) -> bool:
        return source in (None, "model") or self.models.get(source or "") == model_id

    def _remember(self, key: object, compute: Callable[[], T]) -> T:
        if key not in self._memo:
            if len(self._memo) > _MEMO:
                self._memo.clear()
            self._memo[key] = compute()
        remembered: T = self._memo[key]
        return remembered

    # How it is kept up to date.

    def _refresh(self, connection: Connection) -> None:
        revision, tags_revision = connection.execute(select(library.c.revision, library.c.tags_revision)).one()
        if revision == self._revision:
            return
        self._memo.clear()
        driver: Any = connection.connection.driver_connection  # sqlite3's own cursors: a million rows go through them
        changed = _pairs(driver.execute("SELECT id, present FROM media WHERE revision > ?", (self._revision,)))
        self._read_tags(connection, anew=tags_revision != self._tags_revision)
        anew = len(changed) > _READ_ANEW * len(self.ids)
        if anew:
            self._read_all(driver)
        elif len(changed):
            self._change(driver, changed)
        self._revision, self._tags_revision = revision, tags_revision

    def _read_tags(self, connection: Connection, *, anew: bool) -> None:
        self.models = {row.name: row.id for row in connection.execute(select(model.c.name, model.c.id))}
        first = 0 if anew else max(self.tags, default=0) + 1
        for row in connection.execute(select(tag).where(tag.c.id >= first)):
            one = Tag(row.id, row.key, row.category, row.threshold)
            if former := self.tags.get(row.id):
                one.told, one.yes, one.no = former.told, former.yes, former.no
            self.tags[row.id] = self.by_key[row.key] = one

    def _read_all(self, driver: Any) -> None:  # noqa: ANN401 - sqlite3.Connection
        media = _pairs(driver.execute("SELECT id, present FROM media ORDER BY id"))
        self.ids, self.present = media[:, 0].copy(), media[:, 1] != 0
        self._known = np.zeros(len(media), np.bool_)
        for one in self.tags.values():
            one.told, one.yes, one.no = {}, _NONE, _NONE
        self._add(
            driver.execute("SELECT media_id, model_id, tags FROM opinion ORDER BY model_id, media_id"),
            driver.execute("SELECT media_id, tag_id, yes FROM verdict"),
        )

    def _change(self, driver: Any, changed: npt.NDArray[np.int64]) -> None:  # noqa: ANN401
        """`changed`: [N, 2] of id and presence."""
        changed = changed[np.argsort(changed[:, 0])]
        new = changed[changed[:, 0] > (self.ids[-1] if len(self.ids) else 0)]  # an id is never given twice
        self.ids = np.concatenate([self.ids, new[:, 0]])
        self.present = np.concatenate([self.present, new[:, 1] != 0])
        self._known = np.concatenate([self._known, np.zeros(len(new), np.bool_)])
        rows = np.searchsorted(self.ids, changed[:, 0])
        self.present[rows] = changed[:, 1] != 0
        if self._known[rows].any():
            self._forget(rows)
        since = "WHERE media_id IN (SELECT id FROM media WHERE revision > ?)"
        self._add(
            driver.execute(
                f"SELECT media_id, model_id, tags FROM opinion {since} ORDER BY model_id, media_id",  # noqa: S608
                (self._revision,),
            ),
            driver.execute(f"SELECT media_id, tag_id, yes FROM verdict {since}", (self._revision,)),  # noqa: S608
        )

    def _forget(self, rows: npt.NDArray[np.intp]) -> None:
        gone = np.zeros(len(self.ids), np.bool_)
        gone[rows] = True
        self._known[rows] = False
        for one in self.tags.values():
            for model_id, told in list(one.told.items()):
                left = gone[told.rows]
                if left.any():
                    one.told[model_id] = Told(told.rows[~left], told.scores[~left])
            one.yes = one.yes[~gone[one.yes]]
            one.no = one.no[~gone[one.no]]

    def _add(self, opinions: Any, verdicts: Any) -> None:  # noqa: ANN401 - cursors
        """`opinions`: (media id, model id, blob), by model and ascending by medium within one."""
        for model_id, media_ids, blobs in _by_model(opinions):
            rows = np.searchsorted(self.ids, np.array(media_ids, np.int64)).astype(np.uint32)
            self._known[rows] = True
            lengths = np.fromiter(map(len, blobs), np.int64, len(blobs)) // entries(b"").itemsize
            said = entries(b"".join(blobs))
            self._add_told(model_id, np.repeat(rows, lengths), said["tag"], said["score"])
        answers = np.array(verdicts.fetchall(), np.int64).reshape(-1, 3)
        rows = np.searchsorted(self.ids, answers[:, 0]).astype(np.uint32)
        self._known[rows] = True
        for tag_id in np.unique(answers[:, 1]).tolist():
            one, mine = self.tags[tag_id], answers[:, 1] == tag_id
            one.yes = np.concatenate([one.yes, rows[mine & (answers[:, 2] != 0)]])
            one.no = np.concatenate([one.no, rows[mine & (answers[:, 2] == 0)]])

    def _add_told(self, model_id: int, rows: Rows, tags: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
        if not len(tags):
            return
        # Numpy sorts 16-bit numbers several times faster.
        order = np.argsort(tags.astype(np.uint16) if tags.max() < 2**16 else tags, kind="stable")
        tags = tags[order]
        starts = np.flatnonzero(np.concatenate([[True], tags[1:] != tags[:-1]]))
        ends = np.append(starts[1:], len(tags))
        rows, scores = rows[order], scores[order]
        for tag_id, start, end in zip(tags[starts].tolist(), starts.tolist(), ends.tolist(), strict=True):
            told = self.tags[tag_id].told
            more = Told(rows[start:end], scores[start:end])
            if model_id in told:
                before = told[model_id]
                told[model_id] = Told(
                    np.concatenate([before.rows, more.rows]), np.concatenate([before.scores, more.scores])
                )
            else:
                told[model_id] = Told(more.rows.copy(), more.scores.copy())  # a view would keep the whole array


def _pairs(cursor: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401
    """[N, 2] of a cursor's rows."""
    parts = [np.empty((0, 2), np.int64)]
    while some := cursor.fetchmany(_FETCHED):
        parts.append(np.array(some, np.int64))
    return np.concatenate(parts)


def _by_model(cursor: Any) -> Iterator[tuple[int, list[int], list[bytes]]]:  # noqa: ANN401
    """(model id, media ids, blobs), some 20,000 pictures at a time."""
    media_ids: list[int] = []
    blobs: list[bytes] = []
    now: int | None = None
    for media_id, model_id, blob in cursor:
        if model_id != now or len(blobs) >= _AT_ONCE:
            if blobs and now is not None:
                yield now, media_ids, blobs
            now, media_ids, blobs = model_id, [], []
        media_ids.append(media_id)
        blobs.append(blob)
    if blobs and now is not None:
        yield now, media_ids, blobs


_AT_ONCE = 250_000  # pictures whose opinions are sorted together


def keyed(tags: Mapping[str, Tag], keys: Iterable[str]) -> list[Tag]:
    """The tags of these keys, as far as the library has them."""
    return [tags[key] for key in keys if key in tags]
