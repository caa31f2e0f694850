"""The dictionary's own form: JSON Lines, first the groups, then a line a concept; see `export`."""

from typing import Any

from service.dictionary.concepts import Kind, Name
from service.dictionary.imports.rows import GroupRow, Row, Rows, wrong
from service.dictionary.imports.texts import items, text_of, texts_of


def concepts(text: str, file: str) -> Rows:
    """Groups and concepts, as `export` writes them."""
    for line, column, item in items(text, file):
        place = f"{file}, line {line}"
        if "group" in item:
            names = item.get("names") or {}
            if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
                raise wrong(file, line, column, "'names' of a group must be {language: name}")
            yield GroupRow(text_of(item, "group", file, line, column), names, place)
            continue
        count, weights = item.get("count", 0), item.get("weights") or {}
        if not isinstance(count, int) or not 0 <= count < 1 << 53:
            raise wrong(file, line, column, "'count' is no whole number")
        if not isinstance(weights, dict) or not all(isinstance(w, int | float) for w in weights.values()):
            raise wrong(file, line, column, "'weights' must be {kind: number}")
        yield Row(
            key=text_of(item, "key", file, line, column),
            place=place,
            category=item.get("category") or "",
            count=count,
            names=tuple(_name(name, file, line) for name in item.get("names") or []),
            implies=tuple(texts_of(item, "implies", file, line, column)),
            groups=tuple(texts_of(item, "groups", file, line, column)),
            qualifiers=tuple(texts_of(item, "qualifiers", file, line, column)),
            pinned=tuple(texts_of(item, "pinned", file, line, column)),
            weights=weights,
            hidden=bool(item.get("hidden", False)),
        )


def _name(name: Any, file: str, line: int) -> Name:  # noqa: ANN401 - JSON
    if not isinstance(name, dict):
        raise wrong(file, line, 1, "a name must be an object in braces")
    kind, weight = name.get("kind", Kind.SYNONYM), name.get("weight", 1.0)
    if kind not in list(Kind):
        raise wrong(file, line, 1, f"{kind!r} is no kind of name")
    if not isinstance(weight, int | float) or not 0 <= weight <= 1000:
        raise wrong(file, line, 1, "a name's weight must be a number from 0 to 1000")
    lang, source = (str(name.get(which, "")) for which in ("lang", "source"))
    return Name(text_of(name, "text", file, line, 1), lang, kind, source, float(weight))
