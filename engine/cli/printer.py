"""What `engine tag` does with its results: it keeps nothing, prints them in order, and writes files where asked to."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import typer

from engine.cli.console import printable, say
from engine.cli.no_ledger import NoLedger, kept
from engine.families.family import Select
from engine.output.beside import Sidecars, Unwritten, write_keywords
from engine.output.template import SEPARATOR, Template
from engine.output.wording import Tag, Wording, best_first
from engine.stages.ticket import Entries
from engine.types import FileState, Media, Outcome, Scores, Tagged, TagScore

FRAME = "\0"
"""Stands in the key of a further frame, between the picture's path and the frame's number; no path can hold it."""


@dataclass(frozen=True)
class Wanted:
    """What becomes of each picture's tags.

    Attributes:
        as_json: print a line of JSON.
        template: print this, or write it into .txt files; None: the tags with their scores, line by line.
        wording: which tags, in which words.
        categories: of the model's tags.
        txt, xmp: write such files beside the pictures.
        metadata: write keywords into the pictures.
        overwrite: replace what is there.
        max_file_size: bytes of a picture that keywords are written into, at most.
    """

    as_json: bool = False
    template: Template | None = None
    wording: Wording = field(default_factory=Wording)
    categories: Mapping[str, str] = field(default_factory=dict)
    txt: bool = False
    xmp: bool = False
    metadata: bool = False
    overwrite: bool = False
    max_file_size: int = 1 << 28

    @property
    def printed(self) -> bool:
        """Whether tags go to stdout: where they go into files, only if that was asked for too."""
        return self.as_json or not (self.txt or self.xmp or self.metadata) or bool(self.template and not self.txt)


class Printer(NoLedger):
    """Prints each picture's tags in the order of the pictures, as soon as those before it are printed."""

    def __init__(self, wanted: Wanted, names: Sequence[str], select: Select) -> None:
        """`names`: the keys of all media in their order; the frames of an animation follow each other."""
        super().__init__()
        self.failures = 0
        self._wanted = wanted
        self._select = select
        self._picture_of = _numbered(names)
        self._left = Counter(self._picture_of)
        self._frames = Counter(self._picture_of)
        self._scores: dict[int, Scores] = {}
        self._texts: dict[int, str | None] = {}
        self._next = 0
        self._lock = threading.Lock()
        self._sidecars = Sidecars(overwrite=wanted.overwrite)
        self._tagged_files = self._untagged = 0

    def store(self, tagged: Sequence[Tagged], entries: Entries) -> Future[None]:
        for item in tagged:
            number = self._picture_of[item.media.id]
            if self._frames[number] == 1:
                self._finish(number, path_of(item.media), item.tags)
            else:
                self._add_frame(number, path_of(item.media), item.scores)
        return kept()

    def fail(self, media: Media, outcome: Outcome, reason: str, file: FileState | None = None) -> Future[None]:
        path, number = path_of(media), self._picture_of[media.id]
        with self._lock:
            self.failures += 1  # one that is skipped in a run, such as a text file, was named by hand here
        say(f"{_name(path)}: {reason}")
        if self._frames[number] > 1:
            self._add_frame(number, path, None)
        else:
            self._print(number, self._error(path, reason))
        return kept()

    def tell(self) -> None:
        """Say what was written into files."""
        done = self._sidecars
        if self._wanted.txt or self._wanted.xmp:
            say(f"wrote {done.written:,} files beside pictures")
        if self._wanted.metadata:
            say(f"wrote keywords into {self._tagged_files:,} pictures")
        if done.kept:
            say(f"kept {done.kept:,} that were there already (--overwrite replaces them)")
        if done.shared:
            say(f"passed over {done.shared:,} pictures whose name differs from another's by suffix only")
        if self._untagged:
            say(f"passed over {self._untagged:,} pictures that have none of the tags")

    def _add_frame(self, number: int, path: str, scores: Scores | None) -> None:
        """A tag of an animation counts by its highest score in any frame; `scores` is None for a frame that failed."""
        with self._lock:
            if scores is not None:
                known = self._scores.get(number)
                self._scores[number] = scores.copy() if known is None else np.maximum(known, scores)
            self._left[number] -= 1
            if self._left[number]:
                return
            found = self._scores.pop(number, None)
        if found is None:
            self._print(number, self._error(path, "none of its frames can be read"))
        else:
            self._finish(number, path, self._select(found))

    def _finish(self, number: int, path: str, tags: Sequence[TagScore]) -> None:
        wanted = self._wanted
        written = wanted.wording.of(Tag(key, score, wanted.categories.get(key, "")) for key, score in tags)
        if wanted.txt or wanted.xmp or wanted.metadata:
            self._write(path, best_first(written))
        self._print(number, self._text(path, written) if wanted.printed else None)

    def _write(self, path: str, tags: Sequence[Tag]) -> None:
        wanted, keys = self._wanted, [tag.key for tag in tags if not tag.is_rating]
        if not keys:
            self._untagged += 1
            return
        steps: list[Callable[[], object]] = []
        if wanted.txt:
            text = wanted.template.fill(path, tags) if wanted.template else SEPARATOR.join(keys)
            steps.append(lambda: self._sidecars.text(Path(path), text + "\n"))
        if wanted.xmp:
            steps.append(lambda: self._sidecars.keywords(Path(path), keys))
        if wanted.metadata:
            steps.append(lambda: self._into_picture(Path(path), keys))
        for step in steps:
            try:
                step()
            except Unwritten as error:
                with self._lock:
                    self.failures += 1
                say(str(error))

    def _into_picture(self, path: Path, keys: Sequence[str]) -> None:
        wanted = self._wanted
        self._tagged_files += write_keywords(path, keys, replace=wanted.overwrite, max_bytes=wanted.max_file_size)

    def _text(self, path: str, tags: Sequence[Tag]) -> str:
        if self._wanted.as_json:
            return _json({"path": path, "tags": [{"tag": tag.key, "score": tag.score} for tag in tags]})
        if self._wanted.template:
            shown = [tag._replace(key=_name(tag.key)) for tag in best_first(tags)]  # its own tabs and lines are meant
            return self._wanted.template.fill(_name(path), shown)
        return "\n".join([f"Tags of {_name(path)}:", *(f"({tag.score:05.3f}) {_name(tag.key)}" for tag in tags), ""])

    def _error(self, path: str, reason: str) -> str | None:
        return _json({"path": path, "error": reason}) if self._wanted.as_json else None

    def _print(self, number: int, text: str | None) -> None:
        with self._lock:
            self._texts[number] = text
            while self._next in self._texts:
                ready = self._texts.pop(self._next)
                if ready is not None:
                    typer.echo(ready)
                self._settled(self._frames[self._next])
                self._next += 1


def path_of(media: Media) -> str:
    """The path of a picture, or of the one that a frame belongs to."""
    return media.storage_url.partition(FRAME)[0]


def _numbered(names: Sequence[str]) -> list[int]:
    """The number of the picture that each medium belongs to."""
    numbers, number = [], -1
    for name in names:
        number += FRAME not in name
        numbers.append(number)
    return numbers


def _name(path: str) -> str:
    """A path or tag on one line that a terminal shows and does not obey."""
    return printable(path).replace("\n", "\\x0a")


def _json(value: Mapping[str, Any]) -> str:
    """One line of JSON: letters as they are, control characters (C1 and DEL too) and halves of pairs escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
