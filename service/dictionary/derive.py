"""Which series a character belongs to, by what stands in brackets behind its key.

`shimakaze_(kancolle)` and `shimakaze_(kantai_collection)` are one: both qualifiers name one series. A qualifier is a
name of a series, or one of the table that the shipped dictionary brings (`fate`, `idolmaster`).
"""

from collections.abc import Callable


def series_of(key: str, series: Callable[[str], int | None]) -> tuple[str, int] | None:
    """Base of a character's key and the series that its last qualifier names; None if it names none.

    `fate/grand_order` names what it names itself, or what `fate` does.
    """
    start = key.rfind("_(")
    if start <= 0 or not key.endswith(")"):
        return None
    base, qualifier = key[:start], key[start + 2 : -1]
    found = series(qualifier)
    if found is None and "/" in qualifier:
        found = series(qualifier.partition("/")[0])
    return None if found is None else (base, found)
