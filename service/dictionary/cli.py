"""`engine tags`: the dictionary by itself, without any library."""

import getpass
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from engine.files import replacing
from service.dictionary.concepts import Answer, Concept, Kind, Name
from service.dictionary.dictionary import Dictionary
from service.dictionary.errors import DictionaryError
from service.dictionary.imports.apply import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The dictionary of tags: look names up in any language, import lists, edit, undo.",
)

Db = Annotated[
    Path | None, typer.Option(help="The dictionary's file. [default: the shipped dictionary]", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Lang = Annotated[str, typer.Option(help="The language of the names to show: zh-Hans, ja, en.", show_default=False)]
Who = Annotated[str | None, typer.Option(help="Who does it. [default: the user's name]", show_default=False)]
Key = Annotated[str, typer.Argument(help="The concept's key.")]


def main(argv: list[str]) -> int:
    """Runs `engine tags` with these arguments; returns the exit code."""
    try:
        typer.main.get_command(app).main(args=argv, prog_name="engine tags")
    except DictionaryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


@app.command()
def resolve(
    name: Annotated[str, typer.Argument(help="A name in any language.")],
    db: Db = None,
    lang: Lang = "",
    as_json: Json = False,
) -> None:
    """The concepts that have this name; near misses only where there is none."""
    with _reading(db) as tags:
        _show(tags.resolve(name, lang), as_json)


@app.command()
def suggest(
    prefix: Annotated[str, typer.Argument(help="The beginning of a name, or a word of it.")],
    db: Db = None,
    lang: Lang = "",
    limit: Annotated[int, typer.Option(min=1, max=100, help="The most answers.")] = 10,
    as_json: Json = False,
) -> None:
    """What somebody who has typed this much may mean."""
    with _reading(db) as tags:
        _show(tags.suggest(prefix, lang, limit), as_json)


@app.command()
def show(key: Key, db: Db = None, as_json: Json = False) -> None:
    """A concept with its names, groups and relations."""
    with _reading(db) as tags:
        concept = tags.concept(key)
    if as_json:
        print(json.dumps(_as_json(concept), ensure_ascii=False))
        return
    print(f"{concept.key} ({concept.category or 'no category'}{', hidden' if concept.hidden else ''})")
    for name in concept.names:
        print(f"  {name.lang or '-':8} {name.text} ({name.kind})")
    for word, values in (("implies", concept.implies), ("lies in", concept.groups)):
        if values:
            print(f"  {word} {', '.join(values)}")
    for kind, value in concept.weights.items():
        print(f"  {kind} {value:g}")


@app.command("import")
def import_files(
    files: Annotated[list[Path] | None, typer.Argument(help="Lists of tags; their form is recognised.")] = None,
    db: Db = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    form: Annotated[str | None, typer.Option(help="What the files are, where it is not recognised.")] = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="The shipped dictionary, after an update.")] = False,
    who: Who = None,
    as_json: Json = False,
) -> None:
    """Take over names, keys and relations from lists of tags, as one entry of the journal."""
    from service.dictionary.imports.read import FORMS, read

    if bool(files) == shipped:
        raise DictionaryError("give files to import, or --shipped alone")
    if form is not None and form not in FORMS:
        raise DictionaryError(f"there is no form {form}: choose one of {', '.join(FORMS)}")
    if db is None and not dry_run:
        raise DictionaryError("the shipped dictionary cannot be changed: name a file of your own with --db")
    given = read(files or [], form) if files else None
    new = db is not None and not db.exists()
    if new and dry_run:  # nothing is left behind
        report = _tried_in_memory(given)
    else:
        empty = given is not None and given.exact and new
        with _writing(db, empty) if db else _scratch() as tags:
            if given:
                report = tags.load(given.rows, given.source, _who(who), exact=given.exact, dry_run=dry_run)
            else:
                report = tags.load_shipped()
    _report(report, dry_run, as_json)


@app.command()
def export(
    db: Db = None,
    output: Annotated[Path | None, typer.Option(help="Where to write. [default: stdout]", show_default=False)] = None,
) -> None:
    """Write the dictionary as JSON Lines, a line a concept; importing that gives the same again."""
    with _reading(db) as tags:
        if output is None:
            _print(tags.lines())
            return
        try:
            with replacing(output) as part, part.open("w", encoding="utf-8", newline="") as out:
                out.writelines(tags.lines())
        except OSError as error:
            raise DictionaryError(f"cannot write {output}: {error.strerror}") from error


@app.command()
def add(
    key: Key,
    db: Db = None,
    category: Annotated[str | None, typer.Option(help="general, character, copyright, artist, meta, rating.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="LANGUAGE:NAME, zh-Hans:黑丝; may be given again.")] = None,
    display: Annotated[list[str] | None, typer.Option(help="The same, for a name to show.")] = None,
    former_key: Annotated[list[str] | None, typer.Option(help="Another key; may be given again.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group's path; may be given again.")] = None,
    implies: Annotated[list[str] | None, typer.Option(help="A broader concept; may be given again.")] = None,
    who: Who = None,
) -> None:
    """A new concept, or more names, groups and relations for one that is there."""
    names = [*_names(name, Kind.SYNONYM), *_names(display, Kind.DISPLAY)]
    names += [Name(text, "", Kind.FORMER_KEY) for text in former_key or []]
    with _writing(db) as tags:
        tags.add(key, _who(who), category=category, names=names, groups=group or [], implies=implies or [])


@app.command()
def rename(
    key: Key,
    name: Annotated[str, typer.Argument(help="The new key; with --lang, the name to show.")],
    db: Db = None,
    lang: Annotated[str | None, typer.Option(help="Of the name.", show_default=False)] = None,
    who: Who = None,
) -> None:
    """Another key, or another name to show; the old one goes on being found."""
    with _writing(db) as tags:
        tags.rename(key, name, _who(who), lang=lang)


@app.command()
def merge(
    key: Key, into: Annotated[str, typer.Argument(help="The concept that stays.")], db: Db = None, who: Who = None
) -> None:
    """Make two concepts one."""
    with _writing(db) as tags:
        tags.merge(key, into, _who(who))


@app.command()
def split(
    key: Key,
    new_key: Annotated[str, typer.Argument(help="The new concept's key.")],
    name: Annotated[list[str] | None, typer.Option(help="A name that it takes; may be given again.")] = None,
    db: Db = None,
    who: Who = None,
) -> None:
    """Make a concept of some names of another."""
    with _writing(db) as tags:
        tags.split(key, name or [], new_key, _who(who))


@app.command()
def relate(
    key: Key,
    broader: Annotated[str, typer.Argument(help="The broader concept that it implies.")],
    db: Db = None,
    remove: Annotated[bool, typer.Option("--remove", help="It does so no longer.")] = False,
    who: Who = None,
) -> None:
    """Let a concept imply a broader one: cat_ears implies animal_ears."""
    with _writing(db) as tags:
        tags.relate(key, broader, _who(who), remove=remove)


@app.command()
def group(
    key: Annotated[str | None, typer.Argument(help="The concept's key.")] = None,
    path: Annotated[str | None, typer.Argument(help="The group's path.")] = None,
    db: Db = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take it out of the group.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="Show all groups.")] = False,
    new: Annotated[bool, typer.Option("--new", help="Make the group if there is none.")] = False,
    who: Who = None,
) -> None:
    """Lay a concept into a group for browsing, or take it out."""
    if list_all:
        with _reading(db) as tags:
            for one in tags.groups():
                print(one.path, "|", " | ".join(one.names.values()))
        return
    if key is None or path is None:
        raise DictionaryError("give a concept's key and a group's path, or --list")
    with _writing(db) as tags:
        tags.concept(key)
        if new:
            tags.add_group(path, {}, _who(who))
        tags.group(key, path, _who(who), remove=remove)


@app.command()
def weigh(
    key: Key,
    kind: Annotated[Literal["rank", "importance", "favourite"], typer.Argument(help="Which weight.")],
    value: Annotated[float | None, typer.Argument(help="0 to 1000; left out: as it was.")] = None,
    db: Db = None,
    who: Who = None,
) -> None:
    """Set a weight: rank in suggestions, importance on a picture, favourite."""
    with _writing(db) as tags:
        tags.weigh(key, kind, value, _who(who))


@app.command()
def hide(
    key: Key,
    db: Db = None,
    name: Annotated[str | None, typer.Option(help="Take this name away instead.", show_default=False)] = None,
    show_again: Annotated[bool, typer.Option("--show", help="Suggest it again.")] = False,
    who: Who = None,
) -> None:
    """Leave a concept out of suggestions, or take one of its names away."""
    with _writing(db) as tags:
        if name is not None:
            tags.remove_name(key, name, _who(who))
        else:
            tags.hide(key, _who(who), hidden=not show_again)


@app.command()
def journal(
    db: Db = None, limit: Annotated[int, typer.Option(min=1, help="The most entries.")] = 20, as_json: Json = False
) -> None:
    """What was changed, by whom and when, the newest first."""
    with _reading(db) as tags:
        entries = tags.journal(limit)
    if as_json:
        print(json.dumps({"journal": [entry.__dict__ for entry in entries]}, ensure_ascii=False))
        return
    for entry in entries:
        undone = f" (undone by {entry.undone_by})" if entry.undone_by else ""
        print(f"{entry.id}  {entry.at}  {entry.who}: {entry.summary}{undone}")


@app.command()
def undo(
    entry: Annotated[int | None, typer.Argument(help="Its number in the journal. [default: the newest]")] = None,
    db: Db = None,
    who: Who = None,
) -> None:
    """Put back what an entry of the journal changed."""
    with _writing(db) as tags:
        if entry is None:
            entry = next((one.id for one in tags.journal(10_000) if not one.undone_by and one.action != "undo"), None)
            if entry is None:
                raise DictionaryError("the journal has nothing left to undo")
        done = tags.undo(entry, _who(who))
    _say(f"undid entry {entry}{', but for what was changed since' if done.kept else ''}")
    for line in done.kept[:20]:
        _say(f"left as it is: {line}")
    if len(done.kept) > 20:
        _say(f"and {len(done.kept) - 20} more")


@app.command()
def doctor(
    model: Annotated[Path, typer.Option(help="A model folder, or a list of tags, one a line.")],
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Which keys of a model have no concept, another key today, or several concepts."""
    from service.dictionary.doctor import examine, model_keys

    with _reading(db) as tags:
        result = examine(tags, model_keys(model))
    if as_json:
        print(json.dumps(result.as_json(), ensure_ascii=False))
        return
    print(f"{result.keys} keys: {result.known} have a concept")
    print(f"{len(result.missing)} without a concept")
    for key in result.missing[:20]:
        print(f"  {key}")
    print(f"{len(result.renamed)} have another key today")
    for key, now in list(result.renamed.items())[:20]:
        print(f"  {key} -> {now}")
    print(f"{len(result.ambiguous)} belong to several concepts")
    for key, concepts in list(result.ambiguous.items())[:20]:
        print(f"  {key} -> {', '.join(concepts)}")


def _as_json(concept: Concept) -> dict[str, Any]:
    return concept.__dict__ | {"names": [name.__dict__ for name in concept.names]}


@contextmanager
def _reading(db: Path | None) -> Iterator[Dictionary]:
    if db is not None and not db.is_file():
        raise DictionaryError(f"there is no dictionary {db}: `engine tags import FILE --db {db}` makes it")
    with Dictionary.open(db or "shipped") as tags:
        yield tags


@contextmanager
def _writing(db: Path | None, empty: bool = False) -> Iterator[Dictionary]:
    if db is None:
        raise DictionaryError("the shipped dictionary cannot be changed: name a file of your own with --db")
    with Dictionary.open_empty(db) if empty else Dictionary.open(db) as tags:
        yield tags


@contextmanager
def _scratch(empty: bool = False) -> Iterator[Dictionary]:
    """A dictionary that is thrown away."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, _writing(Path(folder) / "tags.db", empty) as tags:
        yield tags


def _tried_in_memory(given: Any) -> Report:  # noqa: ANN401 - Files, which is imported late
    with _scratch(empty=given is not None and given.exact) as tags:
        if given is None:
            return Report()
        return tags.load(given.rows, given.source, "engine", exact=given.exact, dry_run=True)


def _names(given: list[str] | None, kind: Kind) -> Iterator[Name]:
    for one in given or []:
        lang, colon, text = one.partition(":")
        if not colon:
            raise DictionaryError(f"{one!r} names no language: give it as zh-Hans:{one}")
        yield Name(text, lang, kind)


def _who(who: str | None) -> str:
    if who is not None:
        return who
    with suppress(Exception):  # it asks the system in ways that fail differently
        return getpass.getuser()
    return "somebody"


def _show(answer: Answer, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer.as_json(), ensure_ascii=False))
        return
    for found in answer.found:
        print(f"{found.concept}  {found.name}  ({found.how}: {found.via})")
    if not answer.found:
        print("nothing has this name")
        for near in answer.near:
            print(f"did you mean {near.concept}  {near.name}  ({near.how}: {near.via})")


def _report(report: Report, dry_run: bool, as_json: bool) -> None:
    kinds = ("new", "changed", "unchanged", "conflicting", "ambiguous", "skipped")
    counts = {kind: report.counts[kind] for kind in kinds}
    if as_json:
        print(json.dumps({"entry": report.entry, **counts, "lines": report.lines}, ensure_ascii=False))
        return
    print(("would be: " if dry_run else "") + ", ".join(f"{count:,} {kind}" for kind, count in counts.items()))
    for kind in ("conflicting", "ambiguous", "skipped"):
        for line in report.lines.get(kind, []):
            print(f"  {kind}: {line}")
        if (more := counts[kind] - len(report.lines.get(kind, []))) > 0:
            print(f"  {kind}: and {more:,} more")
    if report.entry:
        print(f"entry {report.entry} of the journal: `engine tags undo {report.entry}` takes all of it back")


def _print(lines: Iterable[str]) -> None:
    with suppress(BrokenPipeError), open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as out:
        out.writelines(lines)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
