"""How names are made alike, so that 黑絲 finds 黑丝 and かんこれ finds カンコレ.

Both what is looked up and every name are folded: NFKC, casefold, Chinese characters to simplified ones, hiragana to
katakana. `alike` keeps the signs between words (`:d` is not `;d`, `cow_boy` is not `cowboy`), `fold` drops them too.
Characters are simplified one by one (OpenCC's jp2t, then t2s), so that the fold of a name's beginning is the beginning
of its fold.
"""

import unicodedata
from functools import cache
from typing import Any

_ROUNDS = 4
"""The fold of a fold is itself, which some texts reach at a second try only: a dropped sign lets two marks meet."""


def fold(text: str) -> str:
    """The text without signs, in one writing; empty for a text of signs alone. `fold(fold(x)) == fold(x)`."""
    if text.isascii():
        return text.lower().translate(_DROPPING)
    return _fixed(text, _DROPPING)


def alike(text: str) -> str:
    """The text in one writing, its signs kept, blanks as `_`. `alike(alike(x)) == alike(x)`."""
    return _fixed("_".join(text.split()), _KEEPING)


def words(text: str) -> str:
    """The folded words of a text with a blank before each; empty for one word."""
    spaced = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in alike(text)).split()
    return "".join(f" {word}" for word in spaced) if len(spaced) > 1 else ""


def is_han(c: str) -> bool:
    """Whether it is a Chinese character."""
    return "\u4e00" <= c <= "\u9fff" or "\u3400" <= c <= "\u4dbf" or "\U00020000" <= c <= "\U000323af"


def is_kana(c: str) -> bool:
    return "\u3041" <= c <= "\u3096" or "\u30a1" <= c <= "\u30fc" or "\uff66" <= c <= "\uff9d"


def _fixed(text: str, table: "_Table") -> str:
    for _ in range(_ROUNDS):
        composed = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        folded = composed.translate(table)
        if folded == text:
            break
        text = folded
    return text


class _Table(dict[int, str | None]):
    """For `str.translate`: what becomes of a character, found out when it is first seen. None: it is dropped."""

    def __init__(self, keep_signs: bool) -> None:
        super().__init__()
        self._keep_signs = keep_signs

    def __missing__(self, code: int) -> str | None:
        self[code] = became = self._folded(chr(code))
        return became

    def _folded(self, c: str) -> str | None:
        if is_han(c):
            return _simplified(c)
        if "\u3041" <= c <= "\u3096" or c in "\u309d\u309e":
            return chr(ord(c) + 0x60)
        if unicodedata.category(c)[0] in "CZ":
            return "_" if self._keep_signs and c.isspace() else None
        if not self._keep_signs and unicodedata.category(c)[0] in "PS":
            return None
        return c


def _simplified(c: str) -> str:
    for _ in range(_ROUNDS):
        simplified = _to_simplified().convert(_to_traditional().convert(c))
        if simplified == c:
            break
        c = simplified
    return c


@cache
def _to_traditional() -> Any:  # noqa: ANN401 - OpenCC has no types
    from opencc import OpenCC

    return OpenCC("jp2t")


@cache
def _to_simplified() -> Any:  # noqa: ANN401 - OpenCC has no types
    from opencc import OpenCC

    return OpenCC("t2s")


_DROPPING = _Table(keep_signs=False)
_KEEPING = _Table(keep_signs=True)
