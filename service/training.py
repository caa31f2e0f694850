"""Training sets: the pictures of a library and what is known of them, as trainers read them.

DeepDanbooru reads an SQLite file and the folder `images` beside it (`deepdanbooru.data.load_image_records`): of its
table `posts` the columns md5, file_ext, tag_string and tag_count_general; only png, jpg and jpeg. sd-scripts of kohya
reads a `.txt` beside each picture, or one JSON of all. Pictures are named by their MD5, as on Danbooru. A set is
written beside its place and takes it when it is whole.
"""

import csv
import hashlib
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import psutil
from sqlalchemy import select

from engine.errors import MediumError
from engine.model.folder import Model
from engine.output.template import SEPARATOR
from engine.output.wording import RATING, Tag
from engine.pictures.decode import decode, probe
from service.catalogue import Catalogue
from service.database import Database, media
from service.dictionary import Dictionary, DictionaryError
from service.errors import ServiceError
from service.export import Selection, chosen
from service.search.said import tags_of
from service.similar import Similar

FEWEST = 20
"""DeepDanbooru leaves out pictures with fewer general tags, unless project.json says another `minimum_tag_count`."""
MAX_FILE_SIZE = 256_000_000
"""Larger files are skipped; the engine's own default."""
TRAIN, HELD_OUT = "train", "held-out"
POSTS = "posts.sqlite"
MANIFEST = "set.json"
PICTURES, SKIPPED = "pictures.csv", "skipped.csv"

_AT_ONCE = 200  # pictures that are read together
_BY_A_PERSON = 2.0  # as a score: above that of any model
_READERS = 8  # on a network share each file is several round trips
_POSTS = """
CREATE TABLE posts (id INTEGER NOT NULL PRIMARY KEY, md5 TEXT, file_ext TEXT, tag_string TEXT,
                    tag_count_general INTEGER, rating TEXT, score INTEGER, is_deleted INTEGER)
"""
_WORK = """
CREATE TABLE picture (id INTEGER PRIMARY KEY, path TEXT, md5 TEXT, ext TEXT, tags TEXT, general INTEGER,
                      rating TEXT, verdicts INTEGER, family INTEGER, side TEXT);
CREATE INDEX by_md5 ON picture (md5);
CREATE TABLE skipped (id INTEGER PRIMARY KEY, path TEXT, reason TEXT);
"""


class Form(StrEnum):
    """For whom a set is written."""

    DEEPDANBOORU = "deepdanbooru"
    KOHYA = "kohya"


EXTENSIONS: Mapping[Form, Mapping[str, str]] = {
    Form.DEEPDANBOORU: {"jpeg": "jpg", "png": "png"},
    Form.KOHYA: {"jpeg": "jpg", "png": "png", "webp": "webp", "bmp": "bmp"},
}
"""What a trainer reads, by the format of the content, and the suffix that it is given."""


@dataclass(frozen=True)
class Plan:
    """What a set is to be.

    Attributes:
        selection: which tags count, and in which words.
        verdicts_only: take what people said, and nothing of what models say.
        held_out: the share of groups of near-duplicates, 0..1, that is kept apart to test a model with.
        seed: another one keeps other groups apart.
        link: hard links in place of copies, where the file system can.
    """

    form: Form
    selection: Selection = field(default_factory=Selection)
    verdicts_only: bool = False
    held_out: float = 0.0
    seed: int = 0
    link: bool = False


@dataclass
class Written:
    """What came of it.

    Attributes:
        pictures: how many, by side.
        skipped: how many pictures, by the reason.
        few: how many have fewer general tags than DeepDanbooru takes by default.
        groups: how many groups of near-duplicates they are, alone ones counted too.
        without_vector: how many of them have no vector, so that only files with the same bytes are known as duplicates.
        left_out: of tags that the target model does not have, on how many pictures each was left out.
        copied: how many files were copied although links were asked for.
    """

    pictures: dict[str, int] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    few: int = 0
    groups: int = 0
    without_vector: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    copied: int = 0


class TargetTags:
    """The tags of the model that is to be trained, and which of them others mean by the dictionary."""

    def __init__(self, model: Model, dictionary: Dictionary) -> None:
        self._categories = model.category_by_tag
        self._dictionary = dictionary
        self._known: dict[str, str | None] = {}

    def of(self, tag: Tag) -> Tag | None:
        """The same tag as the target model calls it; None if it has none, or several, of that meaning."""
        if tag.key not in self._known:
            self._known[tag.key] = self._find(tag.key)
        key = self._known[tag.key]
        return None if key is None else tag._replace(key=key, category=self._categories[key])

    def _find(self, key: str) -> str | None:
        if key in self._categories:
            return key
        try:
            same = [other for other in self._dictionary.keys_of(key, narrower=False) if other in self._categories]
        except DictionaryError:  # not known, or a former key of several
            return None
        return same[0] if len(same) == 1 else None


class _Picture(NamedTuple):
    """One that has tags; `seen`: by a model, so that its file was decoded once."""

    id: int
    path: str
    tags: list[Tag]
    verdicts: int
    seen: bool


class _Read(NamedTuple):
    """What was found in its file: MD5 and suffix; or the reason why it is skipped."""

    md5: str = ""
    ext: str = ""
    reason: str = ""
    copied: bool = False


Watch = Callable[[Iterator[_Picture]], Iterator[_Picture]]


def write_set(
    database: Database,
    catalogue: Catalogue,
    similar: Similar,
    output: Path,
    plan: Plan,
    target: TargetTags | None = None,
    watch: Watch = lambda pictures: pictures,
    *,
    overwrite: bool = False,
) -> Written:
    """Write the folder `output`: a folder a side, and beside them what is in the set, what is not, and why.

    Args:
        database: the library's.
        catalogue: finds the files.
        similar: knows near-duplicates.
        output: the folder, which is made.
        plan: what is to be in it.
        target: the tags that it may have; None: all.
        watch: is shown each picture.
        overwrite: a set that is there is replaced.

    Raises:
        ServiceError: there is something else at `output`, or it cannot be written.
    """
    if not 0 <= plan.held_out < 1:
        raise ServiceError("the share that is held out lies between 0 and 1: 0.1 is a tenth")
    with _staged(output, overwrite=overwrite) as folder, closing(sqlite3.connect(folder / "work.db")) as work:
        work.executescript(_WORK)
        written = Written()
        pictures = watch(_pictures(database, plan, target, work, written))
        _gather(pictures, catalogue, folder / "files", plan, work, written)
        _skip_same_files(work)
        _divide(work, similar, plan, written)
        for side in (TRAIN, HELD_OUT) if plan.held_out else (TRAIN,):
            rows = work.execute("SELECT * FROM picture WHERE side = ? ORDER BY id", (side,))
            written.pictures[side] = _WRITERS[plan.form](folder, side, map(_Row._make, rows))
        if not sum(written.pictures.values()):
            reasons = "; ".join(f"{reason}: {count}" for reason, count in _reasons(work).most_common())
            raise ServiceError(f"there is nothing to train with ({reasons or 'the library is empty'})")
        written.skipped = _reasons(work)
        [(written.few,)] = work.execute(
            "SELECT count(*) FROM picture WHERE side IS NOT NULL AND general < ?", (FEWEST,)
        )
        _write_lists(folder, work)
        _write_manifest(folder, plan, written)
        work.close()
        (folder / "work.db").unlink()
        shutil.rmtree(folder / "files", ignore_errors=True)  # what is left there are files that others have too
    return written


def _pictures(
    database: Database, plan: Plan, target: TargetTags | None, work: sqlite3.Connection, written: Written
) -> Iterator[_Picture]:
    """All that have tags, by id; the reason why others are skipped goes to `work`."""
    with database.reading() as connection:
        listed = connection.execute(select(media.c.id, media.c.path, media.c.present).order_by(media.c.id)).all()
        for first in range(0, len(listed), _AT_ONCE):
            some = listed[first : first + _AT_ONCE]
            said = tags_of(connection, [row.id for row in some])
            for media_id, path, present in some:
                own = said[media_id]
                verdicts = sum(one.verdict is not None for one in own)
                given = {one.key for one in own if one.verdict}
                tags = [
                    tag._replace(score=_BY_A_PERSON) if tag.key in given else tag
                    for tag in chosen(own, plan.selection.threshold, verdicts_only=plan.verdicts_only)
                ]
                tags = plan.selection.of(_targeted(tags, target, written))
                reason = _why_not(present, verdicts, tags, plan)
                if reason:
                    _skip(work, media_id, path, reason)
                else:
                    yield _Picture(media_id, path, tags, verdicts, any(one.models for one in own))


def _why_not(present: bool, verdicts: int, tags: list[Tag], plan: Plan) -> str:
    if not present:
        return "not in the folder any more"
    if plan.verdicts_only and not verdicts:
        return "no verdict"
    return "" if tags else "no tags that were asked for"


def _targeted(tags: list[Tag], target: TargetTags | None, written: Written) -> list[Tag]:
    if target is None:
        return tags
    found = [(tag, target.of(tag)) for tag in tags]
    written.left_out.update(tag.key for tag, same in found if same is None)
    return list({same.key: same for _, same in reversed(found) if same}.values())[::-1]


def _gather(
    pictures: Iterator[_Picture],
    catalogue: Catalogue,
    files: Path,
    plan: Plan,
    work: sqlite3.Connection,
    written: Written,
) -> None:
    """Bring all files into `files`, and what is known of them into `work`."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="copy") as pool:
        waiting: list[_Picture] = []

        def take() -> None:
            found = pool.map(lambda one: _bring(one, catalogue, files, plan), waiting)
            with work:
                for picture, read in zip(waiting, found, strict=True):
                    if read.reason:
                        _skip(work, picture.id, picture.path, read.reason)
                    else:
                        written.copied += plan.link and read.copied
                        work.execute(
                            "INSERT INTO picture VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
                            (
                                picture.id,
                                picture.path,
                                read.md5,
                                read.ext,
                                *_texts(picture.tags, plan),
                                picture.verdicts,
                            ),
                        )
            waiting.clear()

        for picture in pictures:
            waiting.append(picture)
            if len(waiting) == _AT_ONCE:
                take()
        take()


def _texts(tags: list[Tag], plan: Plan) -> tuple[str, int, str]:
    """The tags as the trainer reads them, how many are general, and the letter of the rating."""
    ratings = [one for one in tags if one.is_rating]
    best = max(ratings, key=lambda one: one.score, default=None)
    tags = [one for one in tags if not one.is_rating or one is best]  # a picture has one rating
    letter = best.key.removeprefix(RATING)[:1] if best else ""
    general = sum(one.category == "General" for one in tags)
    if plan.form is Form.DEEPDANBOORU:  # there a blank ends a tag
        return " ".join("_".join(one.key.split()) for one in tags), general, letter
    return SEPARATOR.join(one.key for one in tags), general, letter


def _bring(picture: _Picture, catalogue: Catalogue, files: Path, plan: Plan) -> _Read:
    file = catalogue.resolve(picture.path)
    if file is None:
        return _Read(reason="not found")
    try:
        if file.stat().st_size > MAX_FILE_SIZE:
            return _Read(reason=f"larger than {MAX_FILE_SIZE:,} bytes")
        data = file.read_bytes()
    except OSError as error:
        return _Read(reason=f"cannot be read: {error.strerror}")
    try:
        kind = probe(data, picture.path).format
        if not picture.seen:  # no model has told that it can be decoded
            decode(data, picture.path)
    except (MediumError, MemoryError) as error:
        return _Read(reason=f"broken: {error}")
    ext = EXTENSIONS[plan.form].get(kind)
    if ext is None:
        return _Read(reason=f"{plan.form} does not read {kind}")
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    place = _place(files, md5, ext)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        copied = not (plan.link and _linked(file, place))
        if copied and not place.exists():  # the same bytes may have come from another file
            place.write_bytes(data)
    except OSError as error:
        raise ServiceError(f"cannot write {place.name} into the training set: {error.strerror}") from error
    return _Read(md5, ext, copied=copied)


def _linked(file: Path, place: Path) -> bool:
    try:
        os.link(file, place)
    except FileExistsError:
        return True
    except OSError:  # another file system, or one without links
        return False
    return True


def _place(folder: Path, md5: str, ext: str) -> Path:
    return folder / md5[:2] / f"{md5}.{ext}"


def _skip(work: sqlite3.Connection, media_id: int, path: str, reason: str) -> None:
    work.execute("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?)", (media_id, path, reason))


def _skip_same_files(work: sqlite3.Connection) -> None:
    """Of files with the same bytes one is in the set: that of which people said most, then the first."""
    same = work.execute(
        "SELECT id, path, md5 FROM (SELECT *, row_number() OVER (PARTITION BY md5 ORDER BY verdicts DESC, id) AS place "
        "FROM picture) WHERE place > 1"
    ).fetchall()
    with work:
        for media_id, path, _ in same:
            _skip(work, media_id, path, "the same file as another")


def _divide(work: sqlite3.Connection, similar: Similar, plan: Plan, written: Written) -> None:
    """Give each picture its group and its side. A group is named by its lowest id, and that chooses its side.

    So a picture stays on its side while the library grows, unless a duplicate with a lower id comes.
    """
    groups = _Groups()
    for group in similar.copies():
        for other in group[1:]:
            groups.join(group[0], other)
    for first, other in work.execute("SELECT min(p.id), q.id FROM picture p JOIN picture q USING (md5) GROUP BY q.id"):
        groups.join(first, other)
    with_vector = similar.ids()
    kept = work.execute("SELECT id FROM picture WHERE id NOT IN (SELECT id FROM skipped)").fetchall()
    sides = [(groups.of(media_id), media_id) for (media_id,) in kept]
    written.groups = len({family for family, _ in sides})
    written.without_vector = sum(media_id not in with_vector for _, media_id in sides)
    with work:
        work.executemany(
            "UPDATE picture SET family = ?, side = ? WHERE id = ?",
            [(family, HELD_OUT if _is_held_out(family, plan) else TRAIN, media_id) for family, media_id in sides],
        )


def _is_held_out(family: int, plan: Plan) -> bool:
    digest = hashlib.sha256(f"{plan.seed}:{family}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < plan.held_out * 2**64


class _Groups:
    """Pictures that belong together, each group by its lowest id."""

    def __init__(self) -> None:
        self._leader: dict[int, int] = {}

    def of(self, one: int) -> int:
        leader = self._leader.get(one, one)
        while leader != self._leader.get(leader, leader):
            leader = self._leader[leader]
        self._leader[one] = leader
        return leader

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.of(one), self.of(other)))
        self._leader[second] = first


class _Row(NamedTuple):
    id: int
    path: str
    md5: str
    ext: str
    tags: str
    general: int
    rating: str
    verdicts: int
    family: int
    side: str


def _deepdanbooru(folder: Path, side: str, rows: Iterable[_Row]) -> int:
    """`posts.sqlite` and `images/ab/<md5>.<ext>`; how many."""
    images = folder / side / "images"
    images.mkdir(parents=True)
    count = 0
    with closing(sqlite3.connect(folder / side / POSTS)) as posts, posts:
        posts.execute(_POSTS)
        for row in rows:
            count += 1
            place = _place(images, row.md5, row.ext)
            place.parent.mkdir(exist_ok=True)
            _place(folder / "files", row.md5, row.ext).rename(place)
            posts.execute(
                "INSERT INTO posts VALUES (?, ?, ?, ?, ?, ?, 0, 0)",
                (row.id, row.md5, row.ext, row.tags, row.general, row.rating or None),
            )
    return count


def _kohya(folder: Path, side: str, rows: Iterable[_Row]) -> int:
    """`<md5>.<ext>` and `<md5>.txt`, and beside the folder one JSON of all, by the names without suffix; how many."""
    (folder / side).mkdir()
    count = 0
    with (folder / f"{side}.json").open("w", encoding="utf-8", newline="\n") as out:
        out.write("{")
        for row in rows:
            name = folder / side / f"{row.md5}.{row.ext}"
            _place(folder / "files", row.md5, row.ext).rename(name)
            name.with_suffix(".txt").write_text(row.tags + "\n", encoding="utf-8", newline="\n")
            entry = f"{json.dumps(row.md5)}: {json.dumps({'tags': row.tags}, ensure_ascii=False)}"
            out.write(f"{',' if count else ''}\n  {entry}")
            count += 1
        out.write("\n}\n")
    return count


_WRITERS: Mapping[Form, Callable[[Path, str, Iterable[_Row]], int]] = {
    Form.DEEPDANBOORU: _deepdanbooru,
    Form.KOHYA: _kohya,
}


def _reasons(work: sqlite3.Connection) -> Counter[str]:
    """How many were skipped, by the reason; those that name a file's own trouble are counted together."""
    counts: Counter[str] = Counter()
    for reason, count in work.execute("SELECT reason, count(*) FROM skipped GROUP BY reason"):
        counts[reason.partition(":")[0]] += count
    return counts


def _write_lists(folder: Path, work: sqlite3.Connection) -> None:
    lists = {
        PICTURES: (
            ("side", "file", "media_id", "path", "group"),
            "SELECT side, md5 || '.' || ext, id, path, family FROM picture WHERE side IS NOT NULL ORDER BY id",
        ),
        SKIPPED: (("media_id", "path", "reason"), "SELECT id, path, reason FROM skipped ORDER BY id"),
    }
    for name, (heading, sql) in lists.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as out:
            table = csv.writer(out, lineterminator="\n")
            table.writerow(heading)
            table.writerows(work.execute(sql))


def _write_manifest(folder: Path, plan: Plan, written: Written) -> None:
    content = {
        "format": plan.form,
        "verdicts_only": plan.verdicts_only,
        "threshold": plan.selection.threshold,
        "held_out": plan.held_out,
        "seed": plan.seed,
        "pictures": written.pictures,
        "groups": written.groups,
        "skipped": dict(sorted(written.skipped.items())),
        "tags_left_out": dict(sorted(written.left_out.items())),
    }
    text = json.dumps(content, ensure_ascii=False, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")


@contextmanager
def _staged(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder beside `output` that takes its place when the block ends well, and is deleted otherwise.

    Those that a process left which was killed are deleted too. Raises ServiceError.
    """
    output = output.absolute()
    _check_place(output, overwrite=overwrite)
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        _delete_leftovers(output)
        part.mkdir(parents=True)
        yield part
        _check_place(output, overwrite=overwrite)
        if output.exists():
            old = output.with_name(f".{output.name}.{os.getpid()}.old")
            output.rename(old)
            part.rename(output)
            shutil.rmtree(old, ignore_errors=True)
        else:
            part.rename(output)
    except OSError as error:
        raise ServiceError(f"cannot write the training set {output}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise ServiceError(f"cannot write the training set {output}: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_place(output: Path, *, overwrite: bool) -> None:
    """Raises ServiceError if a set must not be written there."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / MANIFEST).is_file():
        raise ServiceError(f"{output} is there and is no training set: name a folder that is new or empty")
    if not overwrite:
        raise ServiceError(f"{output} holds a training set already: name another folder, or give --overwrite")


def _delete_leftovers(output: Path) -> None:
    for left in output.parent.glob(f".{output.name}.*.part"):
        with suppress(ValueError):
            if not psutil.pid_exists(int(left.name.split(".")[-2])):
                shutil.rmtree(left, ignore_errors=True)
