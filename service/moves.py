"""Which known picture a file is that came to another path: by its content, so that what people said goes with it.

A file that lies at a path where none was, or another one, has arrived. A known picture whose file is not at its path
any more has departed: it vanished, or another file took the path. Where these are the same file, the picture has moved.
So two files that exchange their names, or a row of pages that is numbered anew, keep each its own verdicts.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple


class File(NamedTuple):
    """Size in bytes and modification time in ns of a file; None where it was not asked yet."""

    size: int | None
    changed: int | None


class Known(NamedTuple):
    """A picture of the catalogue.

    Attributes:
        present: whether its file was there at the last look.
        file: the state of its file then.
        content: the SHA-256 of that file; None: it was not read.
        judged: whether a person said anything of it.
    """

    id: int
    path: str
    present: bool
    file: File
    content: bytes | None
    judged: bool


class Move(NamedTuple):
    """A picture and the path where its file is now.

    Attributes:
        file: the state of that file.
        content: its SHA-256, as far as it is known.
        other: a picture that was at that path and whose file is a copy: it takes the old path, without a file.
    """

    known: Known
    path: str
    file: File
    content: bytes | None
    other: Known | None = None


Content = Callable[[str, File], bytes | None]
"""The SHA-256 of the file at a path, which is read for it; None if it cannot be read."""


def moves(known: Sequence[Known], there: Collection[str], files: Mapping[str, File], content: Content) -> list[Move]:
    """The pictures whose file was recognised at a path where it was not before, or at its own with another time.

    Args:
        known: all pictures of the catalogue.
        there: the paths where a file is now.
        files: the states of the files that were asked, of those at new paths at least.
        content: is asked only of files that have the size of a departed one.
    """
    own = {one.path: one for one in known}
    arrived = {path: file for path, file in files.items() if path not in own or _is_another(own[path].file, file)}
    departed = {
        one.id: one for one in known if one.file.size is not None and (one.path not in there or one.path in arrived)
    }
    sizes = {one.file.size for one in departed.values()}
    arrived = {path: file for path, file in arrived.items() if file.size in sizes}
    found: list[Move] = []
    if departed:
        for way in (_by_state, _in_place, _by_content):
            some = way(departed, arrived, content)
            found += some
            for move in some:
                del departed[move.known.id], arrived[move.path]
        found += _at_copies(departed.values(), known, there, {m.path for m in found}, content)
    return found


def _is_another(before: File, now: File) -> bool:
    return before.size is not None and before != now


def _by_state(departed: Mapping[int, Known], arrived: Mapping[str, File], _: Content) -> list[Move]:
    """A file that is renamed keeps its time: where one alone departed and one alone arrived, nothing is read."""
    gone: dict[File, list[Known]] = defaultdict(list)
    come: dict[File, list[str]] = defaultdict(list)
    for one in departed.values():
        gone[one.file].append(one)
    for path, file in arrived.items():
        come[file].append(path)
    return [
        Move(gone[file][0], paths[0], file, gone[file][0].content)
        for file, paths in come.items()
        if len(paths) == len(gone.get(file, ())) == 1
    ]


def _in_place(departed: Mapping[int, Known], arrived: Mapping[str, File], content: Content) -> list[Move]:
    """Files that only have another time than before."""
    return [
        Move(one, one.path, arrived[one.path], one.content)
        for one in departed.values()
        if one.path in arrived
        and one.content is not None
        and one.file.size == arrived[one.path].size
        and content(one.path, arrived[one.path]) == one.content
    ]


def _by_content(departed: Mapping[int, Known], arrived: Mapping[str, File], content: Content) -> list[Move]:
    left: dict[bytes, list[Known]] = defaultdict(list)
    for one in departed.values():
        if one.content is not None:
            left[one.content].append(one)
    sizes = {one.file.size for some in left.values() for one in some}
    found = []
    for path, file in sorted(arrived.items()):
        digest = content(path, file) if file.size in sizes else None
        if digest and (some := left.get(digest)):
            # Of copies that all departed: the one of the same name, one that was there until now, the first.
            name = PurePosixPath(path).name
            best = min(some, key=lambda one: (PurePosixPath(one.path).name != name, not one.present, one.id))
            some.remove(best)
            found.append(Move(best, path, file, digest))
    return found


def _at_copies(
    departed: Iterable[Known], known: Sequence[Known], there: Collection[str], taken: Collection[str], content: Content
) -> list[Move]:
    """Of pictures that people judged and that vanished just now, a copy that was there already and nobody judged.

    So it is with files that are copied elsewhere and then deleted, and with one of two copies that is tidied away.
    """
    gone = [one for one in departed if one.present and one.judged and one.content and one.path not in there]
    if not gone:
        return []
    sizes = {one.file.size for one in gone}
    copies: dict[bytes, list[Known]] = defaultdict(list)
    for one in known:
        if one.present and not one.judged and one.path in there and one.path not in taken and one.file.size in sizes:
            digest = one.content or content(one.path, one.file)
            if digest:
                copies[digest].append(one)
    found = []
    for one in gone:
        if one.content and (some := copies.get(one.content)):
            copy = some.pop(0)
            found.append(Move(one, copy.path, copy.file, one.content, copy))
    return found
