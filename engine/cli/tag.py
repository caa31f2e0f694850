"""`engine tag PATH...`: the tags of single pictures and folders, printed like `deepdanbooru evaluate`, or as asked."""

import glob
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
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
    say,
    sentences,
)
from engine.cli.printer import FRAME, Printer, Wanted
from engine.cli.settings import load, options
from engine.config import RunConfig
from engine.errors import ConfigError, MediumError, Unreadable
from engine.families import family_of
from engine.flow.channels import Stop
from engine.model.folder import open_model
from engine.model.open import open_session, session_config
from engine.output.template import Template
from engine.output.wording import read_wording
from engine.pictures.decode import MAX_PIXELS
from engine.pictures.frames import chosen, frame, may_move
from engine.pictures.sniff import PICTURE_SUFFIXES
from engine.pipeline import Parts, Pipeline
from engine.stages.source import FileList
from engine.storage import Reading
from engine.tagger import read_file
from engine.types import FileState

FLAGS = ("threshold", "device", "precision", "batch_size", "max_pixels", "max_file_size", "json_output", "verbose")
MOST_FRAMES = 100  # each has a place among the results that wait for those before them


class Sidecar(StrEnum):
    """What `--sidecar` takes."""

    TXT = "txt"  # a.txt: the tags in a line, as training tools expect them
    XMP = "xmp"  # a.jpg.xmp: keywords, for programs that manage pictures


@options(RunConfig, "model", *FLAGS)
def tag(
    paths: Annotated[list[Path], typer.Argument(help="Pictures, folders of pictures, or patterns such as '*.jpg'.")],
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    format: Annotated[
        str | None, typer.Option(help="What to print of a picture, or write into its .txt: '{path}: {tags}'.")
    ] = None,
    sidecar: Annotated[
        list[Sidecar] | None, typer.Option(help="Write a file beside each picture; may be given again.")
    ] = None,
    write_metadata: Annotated[
        bool, typer.Option("--write-metadata", help="Write the tags into the pictures, as keywords (XMP).")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files beside pictures, and keywords that are there.")
    ] = False,
    blacklist: Annotated[Path | None, typer.Option(help="A file of tags to leave out, one a line.")] = None,
    replace: Annotated[
        Path | None, typer.Option(help="A file of tags to write in other words, a line each: tag,words.")
    ] = None,
    underscores: Annotated[
        bool, typer.Option("--underscores/--no-underscores", help="Tags as they are, or with spaces.")
    ] = True,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Look for pictures in folders within folders too.")
    ] = True,
    frames: Annotated[
        int, typer.Option(min=1, max=MOST_FRAMES, help="Of an animation: how many frames count, by the best score.")
    ] = 1,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        log_to_stderr(settings.verbose)
        if settings.model is None:
            raise ConfigError("--model is missing: the folder that `engine convert` wrote")
        sidecars = set(sidecar or ())
        _check_together(format, settings.json_output, sidecars, write_metadata, overwrite)
        wording = read_wording(blacklist, replace, underscores=underscores)
        files = list(pictures(paths, recursive=recursive))
        model = open_model(settings.model)
        wanted = Wanted(
            as_json=settings.json_output,
            template=Template(format, model.categories) if format is not None else None,
            wording=wording,
            categories=model.category_by_tag,
            txt=Sidecar.TXT in sidecars,
            xmp=Sidecar.XMP in sidecars,
            metadata=write_metadata,
            overwrite=overwrite,
            max_file_size=settings.max_file_size,
        )
        if frames > 1:
            files = list(with_frames(files, frames, settings.max_file_size))
        family = family_of(model.preprocessing)
        precision = model.precision(settings.precision)
        select = family.selection(model.tags, model.categories, settings.threshold)
        stop = Stop()
        printer = Printer(wanted, files, select)
        parts = Parts(
            catalogue=FileList(files),
            storage=LocalFiles(settings.max_pixels),
            family=family,
            select=select,
            session=open_session(model, precision, session_config(settings)),
            books=printer,
        )
        with interruptible() as interrupted:
            # Results are printed in the order of the paths; the limit bounds how many wait for a slow one before them.
            given = settings.model_dump(include=set(FLAGS))
            once = RunConfig(**given, outbox_limit=1024, max_failures=None)
            Pipeline(parts, once, stop).run(tick=lambda: stop.set() if interrupted() else None)
        printer.tell()
        raise typer.Exit(INTERRUPTED if interrupted() else FINISHED_WITH_FAILURES if printer.failures else OK)


def _check_together(format: str | None, as_json: bool, sidecars: set[Sidecar], metadata: bool, overwrite: bool) -> None:
    """Raises `ConfigError` for flags that contradict each other or do nothing."""
    if format is not None and as_json and Sidecar.TXT not in sidecars:
        raise ConfigError("--format and --json both say what is printed: leave one of them away")
    if overwrite and not (sidecars or metadata):
        raise ConfigError("--overwrite is for --sidecar and --write-metadata: nothing else is written")


def pictures(paths: Iterable[Path], *, recursive: bool = True) -> Iterator[str]:
    """Files as they were named, folders as the pictures in them, in natural order as the original: p2 before p10.

    A name that is no file may be a pattern: `*`, `?`, `[abc]`, and `**` for any folders. Windows' shells leave it to
    the program; elsewhere the shell has mostly replaced it already.
    """
    for path in paths:
        if path.is_dir():
            found = _in_folder(path, recursive)
            if not found:
                say(f"warning: no pictures in {path}")
            yield from found
        elif path.is_file():
            yield str(path)
        elif path.exists():  # a pipe or a device: reading one may never end
            raise ConfigError(f"{path} is neither a file nor a folder: save what it gives to a file first")
        elif glob.has_magic(str(path)):
            yield from _matching(str(path), recursive)
        else:
            raise ConfigError(f"there is no file or folder {path}")


def _in_folder(folder: Path, recursive: bool) -> list[str]:
    return _sorted(p for p in (folder.rglob("*") if recursive else folder.glob("*")) if _is_picture(p))


def _matching(pattern: str, recursive: bool) -> list[str]:
    found: list[Path] = []
    for path in map(Path, glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
        found += map(Path, _in_folder(path, recursive)) if path.is_dir() else [path] if _is_picture(path) else []
    if not found:
        raise ConfigError(f"no picture matches {pattern}")
    return _sorted(dict.fromkeys(found))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()


def _sorted(found: Iterable[Path]) -> list[str]:
    return [str(picture) for picture in sorted(found, key=lambda picture: _natural(picture.as_posix()))]


def _natural(text: str) -> list[str | int]:
    """A sort key: text and numbers in turn, numbers by their value."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", text))]


def with_frames(files: Sequence[str], most: int, max_bytes: int) -> Iterator[str]:
    """The files, and after each the further frames that stand for it, if it is an animation."""
    for file in files:
        yield file
        try:
            with Path(file).open("rb") as stream:
                head = stream.read(64)
            frames = chosen(read_file(Path(file), max_bytes), most) if may_move(head) else [0]
        except (OSError, MediumError):  # it is told when the file itself is read
            continue
        for index in frames[1:]:
            yield f"{file}{FRAME}{index}"


class LocalFiles:
    """A storage whose keys are paths that the user typed: nothing to guard against."""

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._painting = threading.Lock()  # one frame at a time: it is painted outside of the budget of pixels

    def open(self, key: str, *, max_bytes: int) -> Reading:
        path, _, index = key.partition(FRAME)
        data = read_file(Path(path), max_bytes)
        if index:
            with self._painting:
                try:
                    data = frame(data, int(index), max_pixels=self._max_pixels)
                except MediumError as error:
                    raise Unreadable(str(error)) from None
        return Reading(len(data), BytesIO(data).read)

    def state(self, key: str) -> FileState:
        raise Unreadable("the state of a file that the user typed is never compared")

    def check(self) -> None:
        """There is no root."""
