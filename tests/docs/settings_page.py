"""The tables of docs/settings.md, made from the settings' declaration and from the commands' parsers.

`python -m tests.docs.settings_page` writes them into the page, between its markers.
"""

import re
import sys
import types
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from engine.cli.settings import FLAGS, PREFIX
from engine.config import RunConfig
from tests.docs.pages import ROOT
from tests.docs.program import Flag, commands

PAGE = ROOT / "docs" / "settings.md"
RENEW = "python -m tests.docs.settings_page"

UNITS = {
    "give_up_after": "s",
    "follow": "s",
    "timeout": "s",
    "read_timeout": "s",
    "threshold": "",
    "keep_scores": "",
    "chunk_bytes": "bytes",
    "read_ahead": "bytes",
    "max_file_size": "bytes",
    "vram_limit": "bytes",
    "max_pixels": "pixels",
}
"""The unit of each setting that measures something; a setting that counts says in words what it counts."""

PLAIN = {bool: "yes or no", int: "number", float: "number", str: "text", Path: "path", tuple: "list of texts"}


def settings_table(config: type[BaseModel] = RunConfig) -> str:
    """Every setting in all its spellings, with type, default, meaning and the commands that take it."""
    rows = [_row(name, field) for name, field in config.model_fields.items()]
    return _table(("flag", "variable", "key", "type", "default", "what it does", "commands"), rows)


def other_flags() -> str:
    """For each command the flags that are no settings: they have neither a variable nor a key."""
    parts = []
    for words, command in commands().items():
        own = {} if command.passed_on else {"config", *RunConfig.model_fields}
        rows = [_flag_row(flag) for flag in command.flags if flag.parameter not in own]
        if rows:
            parts.append(f"### engine {words}\n\n{_table(('flag', 'default', 'what it does'), rows)}")
    return "\n\n".join(parts)


PARTS: dict[str, Callable[[], str]] = {"settings": settings_table, "flags": other_flags}


def renewed(text: str) -> str:
    """The page with what stands between its markers made anew."""
    for name, make in PARTS.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        assert found and ended, f"{PAGE.name} has no place for its table: {begin} and {end}"
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text


def type_of(field: FieldInfo) -> tuple[Any, str]:
    """The Python type of a setting, and how the page calls it, with its limits."""
    annotation: Any = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(one for one in get_args(annotation) if one is not types.NoneType)
    if get_origin(annotation) is Literal:
        return str, ", ".join(get_args(annotation))
    if get_origin(annotation) is Annotated and get_args(annotation)[0] is str:
        return str, "text"
    if get_origin(annotation) is Annotated or any(isinstance(it, BeforeValidator) for it in field.metadata):
        return int, "size"
    if any(getattr(it, "pattern", None) for it in field.metadata):
        return str, "number, or share as 20%"
    plain = get_origin(annotation) or annotation
    return plain, _limited(PLAIN[plain], field.metadata)


def _limited(word: str, metadata: Iterable[Any]) -> str:
    low = high = ""
    for it in metadata:
        if isinstance(it, annotated_types.Ge):
            low = f"from {it.ge:,}"
        elif isinstance(it, annotated_types.Gt):
            low = f"above {it.gt:,}"
        elif isinstance(it, annotated_types.Le):
            high = f"to {it.le:,}"
    return " ".join(part for part in (word, low, high) if part)


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    python, word = type_of(field)
    unit = UNITS.get(name)
    assert unit is not None or not (python is float or word == "size"), f"{name}: which unit? Add it to UNITS here"
    takers = [
        command.words
        for command in commands().values()
        if not command.passed_on and any(flag.parameter == name for flag in command.flags)
    ]
    flag = "--" + FLAGS.get(name, name).replace("_", "-")
    meaning, _, said = (field.description or "").partition(" Default")
    return (
        _code(flag),
        _code(PREFIX + name.upper()),
        _code(name),
        word,
        _default(field.default, unit or "", said.lstrip(": ").rstrip(".")),
        _cell(meaning),
        ", ".join(takers),
    )


def _default(value: Any, unit: str, said: str) -> str:
    """A default as a reader wants it; where there is none in the declaration, what its description says."""
    if value is None:
        return said or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(_code, value))
    if isinstance(value, int | float):
        return f"{value:,g} {unit}".strip() if value < 10**6 else f"{value:,} {unit}".strip()
    return _code(value)


def _flag_row(flag: Flag) -> tuple[str, str, str]:
    meaning, _, said = flag.help.partition(" [default: ")
    return _code(", ".join(flag.names)), said.rstrip("]") or _default_of(flag), _cell(meaning)


def _default_of(flag: Flag) -> str:
    if flag.default is None:
        return "must be given" if flag.required else "none"
    if isinstance(flag.default, bool):
        return "yes" if flag.default else "no"
    if str(flag.default) == sys.executable:
        return "this Python"
    return _code(str(flag.default.value if isinstance(flag.default, Enum) else flag.default))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    return re.sub(r"([\\|])", r"\\\1", re.sub(r"\s+", " ", text))


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
