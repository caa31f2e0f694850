"""`engine tag PATH...`: the tags of single pictures and folders, printed like `deepdanbooru evaluate`."""

import json
import math
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.console import (
    FINISHED_WITH_FAILURES,
    INTERRUPTED,
    OK,
    interruptible,
    log_to_stderr,
    printable,
    say,
    sentences,
)
from engine.cli.settings import load, options
from engine.config import RunConfig
from engine.errors import ConfigError, Unreadable
from engine.families import family_of
from engine.flow.channels import Stop
from engine.model.folder import open_model
from engine.model.open import open_session, session_config
from engine.pictures.sniff import PICTURE_SUFFIXES
from engine.pipeline import Parts, Pipeline
from engine.stages.source import FileList
from engine.stages.ticket import Entries
from engine.storage import Reading
from engine.tagger import read_file
from engine.types import FileState, Media, Outcome, Tagged

FLAGS = ("threshold", "device", "precision", "batch_size", "max_pixels", "max_file_size", "json_output", "verbose")


@options(RunConfig, "model", *FLAGS)
def tag(
    paths: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        log_to_stderr(settings.verbose)
        if settings.model is None:
            raise ConfigError("--model is missing: the folder that `engine convert` wrote")
        files = list(pictures(paths))
        model = open_model(settings.model)
        family = family_of(model.preprocessing)
        precision = model.precision(settings.precision)
        stop = Stop()
        printer = Printer(settings.json_output)
        parts = Parts(
            catalogue=FileList(files),
            storage=LocalFiles(),
            family=family,
            select=family.selection(model.tags, model.categories, settings.threshold),
            session=open_session(model, precision, session_config(settings)),
            books=printer,
        )
        with interruptible() as interrupted:
            # Results are printed in the order of the paths; the limit bounds how many wait for a slow one before them.
            given = settings.model_dump(include=set(FLAGS))
            once = RunConfig(**given, outbox_limit=1024, max_failures=None)
            Pipeline(parts, once, stop).run(tick=lambda: stop.set() if interrupted() else None)
        raise typer.Exit(INTERRUPTED if interrupted() else FINISHED_WITH_FAILURES if printer.failures else OK)


def pictures(paths: Iterable[Path]) -> Iterable[str]:
    """Files as they were named, folders as the pictures below them, in natural order as the original: p2 before p10."""
    for path in paths:
        if path.is_dir():
            found = [p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file()]
            found.sort(key=lambda picture: _natural(picture.as_posix()))
            if not found:
                say(f"warning: no pictures in {path}")
            yield from map(str, found)
        elif path.is_file():
            yield str(path)
        elif path.exists():  # a pipe or a device: reading one may never end
            raise ConfigError(f"{path} is neither a file nor a folder: save what it gives to a file first")
        else:
            raise ConfigError(f"there is no file or folder {path}")


def _natural(text: str) -> list[str | int]:
    """A sort key: text and numbers in turn, numbers by their value."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", text))]


class LocalFiles:
    """A storage whose keys are paths that the user typed: nothing to guard against."""

    def open(self, key: str, *, max_bytes: int) -> Reading:
        data = read_file(Path(key), max_bytes)
        return Reading(len(data), BytesIO(data).read)

    def state(self, key: str) -> FileState:
        raise Unreadable("the state of a file that the user typed is never compared")

    def check(self) -> None:
        """There is no root."""


class Printer:
    """Keeps nothing: prints each picture's tags, in the order of the pictures."""

    def __init__(self, as_json: bool) -> None:
        self.failures = 0
        self._as_json = as_json
        self._texts: dict[int, str | None] = {}
        self._next = 0
        self._settled: Callable[[int], None] = lambda _: None
        self._lock = threading.Lock()

    def admit(self, page: Sequence[Media], again: Collection[Outcome] = ()) -> list[Media]:
        return list(page)

    def settled(self, start: int = 0, but: Collection[Outcome] = ()) -> int:
        return 0

    def failed_media(
        self, after: int = -1, limit: int = 500, before: float = math.inf
    ) -> list[tuple[Media, FileState | None]]:
        return []

    def deaths(self, media: Media) -> int:
        return 0

    def note_listed(self) -> None: ...

    def decoding(self, media: Media) -> AbstractContextManager[None]:
        return nullcontext()

    def on_settled(self, settled: Callable[[int], None]) -> None:
        self._settled = settled

    def store(self, tagged: Sequence[Tagged], entries: Entries) -> Future[None]:
        return self._print({item.media.id: self._tags(item) for item in tagged})

    def fail(self, media: Media, outcome: Outcome, reason: str, file: FileState | None = None) -> Future[None]:
        self.failures += outcome is Outcome.FAILED
        say(f"{_name(media.storage_url)}: {reason}")
        error = _json({"path": media.storage_url, "error": reason})
        return self._print({media.id: error if self._as_json else None})

    def _tags(self, item: Tagged) -> str:
        path = item.media.storage_url
        if self._as_json:
            tags = [{"tag": tag, "score": score} for tag, score in item.tags]
            return _json({"path": path, "tags": tags})
        return "\n".join([f"Tags of {_name(path)}:", *(f"({score:05.3f}) {tag}" for tag, score in item.tags), ""])

    def _print(self, texts: Mapping[int, str | None]) -> Future[None]:
        with self._lock:
            self._texts.update(texts)
            while self._next in self._texts:
                text = self._texts.pop(self._next)
                if text is not None:
                    typer.echo(text if self._as_json else printable(text))
                self._next += 1
                self._settled(1)
        return _done()


def _name(path: str) -> str:
    """A path on one line that a terminal shows and does not obey."""
    return printable(path).replace("\n", "\\x0a")


def _json(value: Mapping[str, Any]) -> str:
    """One line of JSON: letters as they are, control characters (C1 and DEL too) and halves of pairs escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _done() -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done
