"""The commands `engine serve` and `engine export`."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Protocol, TextIO, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from typer.main import get_command

from engine.errors import EngineError
from engine.files import replacing
from engine.output.wording import read_wording
from service.errors import ServiceError
from service.formats import Format, Order
from service.token import kept_token, read_token

if TYPE_CHECKING:  # what needs the extra service is imported when it is used, so that --help does not need it
    from service.database import Database
    from service.embedded import Running
    from service.export import Selection, Written
    from service.tagging import PictureTagger
    from service.training import Plan
    from service.training import Written as TrainingSet

T = TypeVar("T")
LINE_EVERY = 10_000
"""Exported pictures after which a line says how far it is, where no counter can be drawn."""
TOKEN_VARIABLE = "ENGINE_API_TOKEN"  # noqa: S105 - the variable's name
PASSWORD_VARIABLE = "ENGINE_PAGE_PASSWORD"  # noqa: S105 - the variable's name
_PASSWORD_LENGTH = 12  # somebody types it on a phone
_UNENCRYPTED = (
    "warning: nothing is encrypted: whoever listens on this network reads pictures, password and token; "
    "put a proxy with TLS before it, or bind it to 127.0.0.1"
)

_OF_TRAINING = ("verdicts_only", "held_out", "seed", "model", "link")
"""Flags that only training sets take."""
_TRAINING = (Format.DEEPDANBOORU, Format.KOHYA)

_Library = Annotated[Path, typer.Option(help="The folder of pictures.", show_default=False)]
_Db = Annotated[
    Path | None, typer.Option(help="The database file. [default: in the user's data folder]", show_default=False)
]


class Tag(Protocol):
    """Tags what a running service lists until it is told to end; returns the exit code. The engine brings it.

    `every`: seconds between two looks for new pictures.
    """

    def __call__(self, running: "Running", *, library: Path, model: Path, every: float, verbose: bool) -> int: ...


class Rows(Protocol):
    """Kept scores, a row each; both tell how many were written."""

    def write_csv(self, out: TextIO) -> int: ...

    def write_parquet(self, file: Path) -> int: ...


class KeptScores(Protocol):
    """Opens the scores that a run has kept: of a library, or of the ledger `state`. The engine brings it."""

    def __call__(
        self, library: Path | None, db: Path | None, state: Path | None, threshold: float, categories: Sequence[str]
    ) -> AbstractContextManager[Rows]: ...


@dataclass(frozen=True)
class Engine:
    """What the engine brings to the service, which knows nothing of it.

    Attributes:
        tag: what --tag does.
        tagger: what answers POST /tag with the model of a folder, for the length of a block.
    """

    tag: Tag
    tagger: Callable[[Path], AbstractContextManager["PictureTagger"]]


def serve_main(argv: list[str], engine: Engine | None = None) -> int:
    """Runs `engine serve` with these arguments; returns the exit code."""
    return _run(_serve, "engine serve", argv, engine)


def export_main(argv: list[str], scores: KeptScores | None = None) -> int:
    """Runs `engine export` with these arguments; returns the exit code. `scores`: what --scores writes."""
    return _run(_export, "engine export", argv, scores)


def move_main(argv: list[str]) -> int:
    """Runs `engine move` with these arguments; returns the exit code."""
    return _run(_move, "engine move", argv)


def _run(command: Callable[..., None], name: str, argv: list[str], engine: Engine | KeptScores | None = None) -> int:
    settings = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(context_settings=settings)(command)
    try:
        get_command(app).main(args=argv, prog_name=name, obj=engine)
    except (ServiceError, EngineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


def _serve(
    context: typer.Context,
    library: _Library,
    host: Annotated[
        str, typer.Option(help="The address to bind; other than loopback, the page asks for a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    db: _Db = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"A file that holds the token; otherwise {TOKEN_VARIABLE}, or one is made and kept."),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help=f"A file that holds the page's password; otherwise {PASSWORD_VARIABLE}, or one is made and kept."
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A model folder, for the tags' categories, POST /tag and --tag.")
    ] = None,
    tag: Annotated[
        bool, typer.Option("--tag", help="Tag new pictures too, as `engine run --library --follow` does.")
    ] = False,
    rescan: Annotated[float, typer.Option(min=0, help="Seconds between looks for new pictures; 0: never.")] = 60.0,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every request.")] = False,
) -> None:
    """The media API over a folder of pictures, with a page to look at its tags."""
    from service.catalogue import Catalogue
    from service.embedded import embedded
    from service.guard import is_loopback
    from service.libraries import database_of

    if tag and model is None:
        raise ServiceError("--tag needs a model: give --model, the folder that `engine convert` wrote")
    engine: Engine | None = context.obj
    if tag and engine is None:
        raise ServiceError("--tag is to be had from `engine serve` alone")
    Catalogue.check(library)
    file = database_of(library, db)
    token, token_place = _secret(token_file, TOKEN_VARIABLE, file.with_suffix(".token"))
    password = None
    if not is_loopback(host):
        password, password_place = _secret(
            password_file, PASSWORD_VARIABLE, file.with_suffix(".password"), _PASSWORD_LENGTH
        )
    with (
        engine.tagger(model) if engine and model else nullcontext() as tagger,
        embedded(
            library,
            db=file,
            host=host,
            port=port,
            token=token,
            password=password,
            model=model,
            tagger=tagger,
            rescan=rescan,
            access_log=verbose,
        ) as running,
    ):
        if not running.pictures:
            _say(f"{library} holds no pictures yet; they are shown once they are there")
        _say(f"{running.pictures} pictures of {library} at {running.url} (the media API: {running.url}/docs)")
        if others := running.urls[1:]:
            _say(f"elsewhere on the network: {', '.join(others)}")
        if password:
            _say(_UNENCRYPTED)
            _say(f"the page asks for a user and a password: any name, and the password in {password_place}")
        _say(f"the token is in {token_place}")
        if tag and model and engine:
            raise typer.Exit(engine.tag(running, library=library, model=model, every=rescan, verbose=verbose))
        _until_interrupted()


def _export(
    context: typer.Context,
    library: Annotated[Path | None, typer.Option(help="The folder of pictures.", show_default=False)] = None,
    db: _Db = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Every score that runs have kept, of all models; as csv or parquet.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="With --scores: the ledger, where there is no library.", show_default=False)
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            help="txt writes a file beside each picture; deepdanbooru and kohya write a training set. "
            "[default: jsonl, of scores csv]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Where it goes: a file, of a training set a folder. [default: stdout]", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace .txt files, or the training set, that are there.")
    ] = False,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Only tags with at least this score.")] = 0.0,
    category: Annotated[
        list[str] | None, typer.Option(help="Only tags of this category; may be given again.", show_default=False)
    ] = None,
    blacklist: Annotated[
        Path | None, typer.Option(help="A file of tags to leave out, one a line.", show_default=False)
    ] = None,
    replace: Annotated[
        Path | None,
        typer.Option(help="A file of tags to write in other words, a line each: tag,words.", show_default=False),
    ] = None,
    max_tags: Annotated[
        int | None, typer.Option(min=1, help="The most tags of a picture, the best ones.", show_default=False)
    ] = None,
    order: Annotated[Order, typer.Option(help="Of a picture's tags.")] = Order.SCORE,
    ratings: Annotated[
        bool | None,
        typer.Option(
            "--ratings/--no-ratings", help="Write rating:… tags. [default: not into .txt]", show_default=False
        ),
    ] = None,
    underscores: Annotated[
        bool, typer.Option("--underscores/--no-underscores", help="For .txt: tags as they are, or with spaces.")
    ] = True,
    verdicts_only: Annotated[
        bool, typer.Option("--verdicts-only", help="Training set: what people said, and nothing that models say.")
    ] = False,
    held_out: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Training set: the share kept apart, near-duplicates never on both sides."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Training set: another one keeps others apart.")] = 0,
    model: Annotated[
        Path | None,
        typer.Option(help="Training set: the model folder whose tags it may have.", show_default=False),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Training set: hard links in place of copies.")] = False,
) -> None:
    """The tags of a library as JSON Lines, CSV, a .txt beside each picture, or as a training set."""
    from service import export
    from service.catalogue import Catalogue
    from service.database import Database
    from service.libraries import database_of

    if scores:
        given = {name for name in context.params if _is_given(context, name)}
        if others := sorted(given - {"library", "db", "scores", "state", "format", "output", "threshold", "category"}):
            raise ServiceError(f"--{others[0].replace('_', '-')} has no meaning with --scores")
        _export_scores(context.obj, library, db, state, format, output, threshold, category or ())
        return
    if library is None or state or format is Format.PARQUET:
        raise ServiceError(
            "--library is missing: the folder of pictures" if library is None else "--state and parquet need --scores"
        )
    Catalogue.check(library)
    _check_flags(context, library, format, output)
    txt = format is Format.TXT
    selection = export.Selection(
        threshold=threshold,
        wording=read_wording(blacklist, replace, underscores=underscores),
        ratings=format not in (Format.TXT, Format.KOHYA) if ratings is None else ratings,
        maximum=max_tags,
        order=order,
    )
    file = database_of(library, db)
    if not file.is_file():
        raise ServiceError(f"no tags are kept for {library} yet: tag it with engine run --library first")
    with closing(Database(file)) as database:
        known = export.known_categories(database, category or ())
        if output and format in _TRAINING:
            _export_training(context, database, library, output, replaced(selection, categories=known))
            return
        pictures = _watched(export.tagged(database, replaced(selection, categories=known)))
        if txt:
            _say_written(export.write_txt(pictures, Catalogue(database, library), overwrite=overwrite))
            return
        count = 0
        write = export.write_csv if format is Format.CSV else export.write_jsonl
        with _opened(output) as out:
            count = write(pictures, out)
        if count:  # 0 as well when the reader of stdout left early
            _say(f"exported the tags of {count} pictures")


def _check_flags(context: typer.Context, library: Path, format: Format | None, output: Path | None) -> None:
    """Raises ServiceError for flags that a format does not take."""
    if format not in (Format.TXT, Format.KOHYA) and not context.params["underscores"]:
        raise ServiceError("--no-underscores is for --format txt and kohya: the others hold the tags as they are")
    if format is Format.TXT and output:
        raise ServiceError("--output has no meaning for --format txt: each .txt goes beside its picture")
    if format not in _TRAINING:
        if given := [name for name in _OF_TRAINING if _is_given(context, name)]:
            raise ServiceError(f"--{given[0].replace('_', '-')} is for --format deepdanbooru and kohya")
    elif output is None:
        raise ServiceError(f"--format {format} needs --output FOLDER")
    elif output.resolve().is_relative_to(library.resolve()):
        raise ServiceError(f"{output} lies in the library, where its pictures would be listed: name a folder elsewhere")


def _export_training(
    context: typer.Context, database: "Database", library: Path, output: Path, selection: "Selection"
) -> None:
    from engine.model.folder import open_model
    from service.catalogue import Catalogue
    from service.dictionary import Dictionary, beside
    from service.similar import Similar
    from service.training import Form, Plan, TargetTags, write_set

    flags = context.params
    plan = Plan(
        Form(flags["format"]), selection, flags["verdicts_only"], flags["held_out"], flags["seed"], flags["link"]
    )
    with ExitStack() as stack:
        similar = stack.enter_context(closing(Similar(database.path)))
        target = None
        if flags["model"]:
            model = open_model(flags["model"])
            target = TargetTags(model, stack.enter_context(Dictionary.open(beside(database.path))))
        catalogue = Catalogue(database, library)
        done = write_set(database, catalogue, similar, output, plan, target, _watched, overwrite=flags["overwrite"])
    for sentence in _about_training(done, plan, output):
        _say(sentence)


def _about_training(done: "TrainingSet", plan: "Plan", output: Path) -> Iterator[str]:
    from service.training import FEWEST, SKIPPED, Form

    for side, count in done.pictures.items():
        yield f"{output / side}: {count:,} picture{'s' * (count != 1)}"
    for reason, count in done.skipped.most_common():
        yield f"skipped {count:,}: {reason}"
    if done.skipped:
        yield f"which ones, and why: {output / SKIPPED}"
    if done.left_out:
        most = ", ".join([*(tag for tag, _ in done.left_out.most_common(5)), *["..."] * (len(done.left_out) > 5)])
        yield f"left out {len(done.left_out):,} tags that the model does not have: {most}"
    if plan.form is Form.DEEPDANBOORU and done.few:
        yield (
            f"{done.few:,} have fewer than {FEWEST} general tags: DeepDanbooru leaves them out, unless project.json "
            "says a lower minimum_tag_count"
        )
    if done.without_vector:
        yield (
            f"{done.without_vector:,} have no vector, so what looks like them is not known: each is a group of its own "
            "(`engine run` keeps vectors, if the model has features)"
        )
    if done.copied:
        yield f"copied {done.copied:,} that could not be linked: links need one file system"


def _move(
    old: Annotated[Path, typer.Argument(help="Where the library was.")],
    new: Annotated[Path, typer.Argument(help="Where it is now.")],
) -> None:
    """Take the tags of a library along to the folder's new name or place."""
    from service.libraries import move

    move(old, new)
    _say(f"the tags of {old} belong to {new} now")


def _say_written(done: "Written") -> None:
    _say(f"wrote {done.written} .txt files")
    if done.kept:
        _say(f"kept {done.kept} that were there already (--overwrite replaces them)")
    if done.empty:
        _say(f"passed over {done.empty} pictures that have none of the tags asked for")
    if done.impossible:
        _say(
            f"passed over {done.impossible} pictures whose file is gone "
            "or whose name differs from another's by suffix only"
        )


def _watched(pictures: Iterator[T]) -> Iterator[T]:
    """The same, with a counter on stderr; a line now and then where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        for number, picture in enumerate(pictures, start=1):
            yield picture
            if number % LINE_EVERY == 0:
                _say(f"exported {number:,} pictures so far")
        return
    if sys.stdout.isatty():  # the tags themselves go to this terminal: a bar would cut them
        yield from pictures
        return
    columns = SpinnerColumn(), TextColumn("exporting: {task.completed:,} pictures"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as shown:
        yield from shown.track(pictures, total=None)


def _secret(named: Path | None, variable: str, kept: Path, characters: int = 43) -> tuple[str, str]:
    """A token or password: from the named file, the variable, or made and kept; and words that say where it is."""
    if named:
        return read_token(named), str(named)
    if secret := os.environ.get(variable, "").strip():
        return secret, variable
    return kept_token(kept, characters), str(kept)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _export_scores(
    kept_scores: KeptScores | None,
    library: Path | None,
    db: Path | None,
    state: Path | None,
    format: Format | None,
    output: Path | None,
    threshold: float,
    categories: Sequence[str],
) -> None:
    if kept_scores is None:
        raise ServiceError("--scores is to be had from `engine export` alone")
    if format not in (None, Format.CSV, Format.PARQUET):
        raise ServiceError(f"--scores writes csv or parquet, not {format}")
    if format is Format.PARQUET and output is None:
        raise ServiceError("--format parquet needs --output FILE")
    with kept_scores(library, db, state, threshold, categories) as rows:
        if format is Format.PARQUET and output:
            count = rows.write_parquet(output)
        else:
            count = 0
            with _opened(output) as out:
                count = rows.write_csv(out)
    if count:
        _say(f"exported {count:,} scores")


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """The file, or stdout, to write to: UTF-8, LF. A file appears whole or not at all.

    It is no error if the reader of stdout leaves early.
    """
    if output is None:
        try:
            with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as out:
                yield out
        except BrokenPipeError:
            sys.stdout = None  # nothing left to flush at exit
        return
    try:
        with replacing(output) as part, part.open("w", encoding="utf-8", newline="") as out:
            yield out
    except OSError as error:
        raise ServiceError(f"cannot write {output}: {error.strerror}") from error


def _until_interrupted() -> None:
    """Waits for Ctrl-C or SIGTERM. It wakes twice a second, because Windows delivers Ctrl-C only to a waking thread."""

    def end(_signal: int, _frame: Any) -> NoReturn:  # noqa: ANN401 - the standard library's signature
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    with suppress(KeyboardInterrupt):
        while not threading.Event().wait(0.5):
            pass


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
