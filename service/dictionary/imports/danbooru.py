"""What Danbooru gives away: aliases, implications and wiki pages, as arrays or as lines of JSON."""

from service.dictionary.concepts import Name
from service.dictionary.imports.rows import Row, Rows, wrong
from service.dictionary.imports.texts import guessed, items, text_of, texts_of


def aliases(text: str, file: str) -> Rows:
    """Old keys of tags, the active ones."""
    for line, column, item in items(text, file):
        old, new = (text_of(item, f"{which}_name", file, line, column) for which in ("antecedent", "consequent"))
        if item.get("status", "active") == "active":
            yield Row(new, f"{file}, line {line}", keys=(old,), creates=False)


def implications(text: str, file: str) -> Rows:
    """Which tag implies which, the active ones."""
    for line, column, item in items(text, file):
        narrow, broad = (text_of(item, f"{which}_name", file, line, column) for which in ("antecedent", "consequent"))
        if item.get("status", "active") == "active":
            yield Row(narrow, f"{file}, line {line}", implies=(broad,), creates=False)


def wiki_pages(text: str, file: str) -> Rows:
    """Other names of tags. Their language is guessed by their script; hashtags are of events, and are left out."""
    for line, column, item in items(text, file):
        if not item.get("is_deleted"):
            title = text_of(item, "title", file, line, column)
            yield _named(title, texts_of(item, "other_names", file, line, column), file, line)


def wiki_lines(text: str, file: str) -> Rows:
    """The same as lines `{key: [names]}`."""
    for line, column, item in items(text, file):
        if not all(isinstance(names, list) for names in item.values()):
            raise wrong(file, line, column, "a line must be {key: [names]}")
        for key in item:
            yield _named(key, texts_of(item, key, file, line, column), file, line)


def _named(key: str, names: list[str], file: str, line: int) -> Row:
    told = tuple(
        Name(name.replace("_", " "), guessed(name)) for name in names if not name.lstrip().startswith(("#", "＃"))
    )
    return Row(key, f"{file}, line {line}", names=told, creates=False)
