"""Reading a file as text and as JSON, with the place of what is wrong in it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.dictionary.concepts import shown
from service.dictionary.errors import DictionaryError
from service.dictionary.fold import is_han, is_kana
from service.dictionary.imports.rows import wrong

_LARGEST = 1 << 30


def read_text(file: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        DictionaryError: it cannot be read, is larger than 1 GiB, or is no text, with the place of the first wrong byte.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise DictionaryError(f"{file} is larger than 1 GiB: that is no list of tags")
        raw = file.read_bytes()
    except OSError as error:
        raise DictionaryError(f"{file} cannot be read: {error.strerror}") from None
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        good = raw[: error.start].decode(encoding, "replace")
        line, column = place(good, len(good))
        raise wrong(file.name, line, column, "here is a byte that is no UTF-8") from None


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column of a character, from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def parsed(text: str, file: str, line: int = 1) -> Any:  # noqa: ANN401 - JSON
    """A JSON document that begins on this line. Raises DictionaryError with the place of what is wrong."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise wrong(file, line + error.lineno - 1, error.colno, f"this is no JSON ({error.msg})") from None
    except RecursionError:
        raise wrong(file, line, 1, "this is nested too deep") from None


def items(text: str, file: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Line, column and value of each object of a JSON array, or of each line that holds one.

    Raises DictionaryError with the place of what is wrong.
    """
    if not text.lstrip().startswith("["):
        for number, one in enumerate(text.split("\n"), 1):
            if one.strip():
                yield number, 1, _object(parsed(one, file, number), file, number, 1)
        return
    decoder = json.JSONDecoder()
    position = _skip(text, text.index("[") + 1)
    line, column, seen = 1, 1, 0
    while text[position : position + 1] != "]":
        line += text.count("\n", seen, position)
        column, seen = position - text.rfind("\n", 0, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise wrong(file, error.lineno, error.colno, f"this is no JSON ({error.msg})") from None
        except RecursionError:
            raise wrong(file, line, column, "this is nested too deep") from None
        yield line, column, _object(value, file, line, column)
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != "]":
            raise wrong(file, *place(text, position), "the array does not end here as it should, with ]")


def text_of(item: dict[str, Any], name: str, file: str, line: int, column: int) -> str:
    """A text of an object. Raises DictionaryError if it is missing or none."""
    value = item.get(name)
    if not isinstance(value, str):
        raise wrong(file, line, column, f"{name!r} is missing or no text")
    return value


def texts_of(item: dict[str, Any], name: str, file: str, line: int, column: int) -> list[str]:
    """A list of texts of an object, empty if it is missing. Raises DictionaryError if it is none."""
    value = item.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise wrong(file, line, column, f"{name!r} is no list of texts")
    return value


def guessed(name: str) -> str:
    """The language of a name by its script: kana are Japanese, Chinese characters alone are taken for Chinese."""
    if any(is_kana(c) for c in name):
        return "ja"
    return "zh-Hans" if any(is_han(c) for c in name) else ""


def _object(value: Any, file: str, line: int, column: int) -> dict[str, Any]:  # noqa: ANN401 - JSON
    if not isinstance(value, dict):
        raise wrong(file, line, column, f"{shown(str(value))} is no object in braces")
    return value


def _skip(text: str, position: int) -> int:
    while text[position : position + 1] and text[position] in " \t\r\n":
        position += 1
    return position
