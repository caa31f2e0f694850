"""Which scores count as tags: a rule for each category, as values and as the text that a user writes.

0.5                            every category that goes by a threshold: scores of at least 0.5
0.35,character=0.85            the same for all but one
rating=best,general=top30      the highest score alone; the 30 highest
"""

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError

ALL = ""
"""Stands for every category that is not named, in rules that are read from text."""
_FORM = "write a score above 0 to 1, as 0.5, and for single categories character=0.85, rating=best or general=top30"


@dataclass(frozen=True, slots=True)
class Rule:
    """Which scores of one category count.

    Attributes:
        least: the lowest score that counts, compared in float32; None where the rule goes by `top`.
        top: how many of the highest scores count; None where the rule goes by `least`.
    """

    least: float | None = None
    top: int | None = None

    def __str__(self) -> str:
        if self.least is not None:
            return repr(self.least)
        return "best" if self.top == 1 else f"top{self.top}"


BEST = Rule(top=1)
Rules = Mapping[str, Rule]
"""By category, in small letters; `ALL` for those that are not named."""


def parse_rules(text: str | float) -> dict[str, Rule]:
    """Reads what a user wrote. Raises `ValueError` with the form that is wanted."""
    rules: dict[str, Rule] = {}
    for part in str(text).split(","):
        category, named, rule = part.rpartition("=")
        category = category.strip().casefold()
        if category in rules or bool(named) != bool(category):
            raise ValueError(f"{text!r} does not say which tags to give: {_FORM}")
        rules[category] = _rule(rule.strip().casefold(), text)
    return rules


def rules_text(rules: Rules) -> str:
    """The text of rules, that of all categories first; `parse_rules` reads it."""
    named = sorted(rules.items(), key=lambda item: item[0] != ALL)
    return ",".join(f"{category}={rule}" if category else str(rule) for category, rule in named)


def normal(text: str | float) -> str:
    """The same rules in their usual form, so that `0.50` and `.5` are one. Raises `ValueError`."""
    return rules_text(parse_rules(text))


def resolve(given: Rules, defaults: Rules, categories: Iterable[str]) -> dict[str, Rule]:
    """The rule of each of a model's categories: as given by name, as given for all, or the default.

    What is given for all does not change a category whose default is a number of tags, such as the best rating.

    Args:
        given: what the user asked for.
        defaults: of the model's family; holds `ALL`.
        categories: the model's, in any spelling; the result has them in small letters and in this order.

    Raises:
        KeyError: `given` names a category that is not among them.
    """
    usual = {name: defaults.get(name, defaults[ALL]) for name in map(str.casefold, categories)}
    for name in given:
        if name != ALL and name not in usual:
            raise KeyError(name)
    for_all = given.get(ALL)
    return {
        name: given.get(name, for_all if for_all and rule.least is not None else rule) for name, rule in usual.items()
    }


def read_table(path: Path) -> dict[str, float]:
    """The least scores of single tags, from a CSV file with a row `tag,threshold` each; a first row may be a heading.

    Raises `ConfigError`, which names the line.
    """
    table: dict[str, float] = {}
    try:
        _check_table(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            for row in rows:
                where = f"line {rows.line_num} of {path}"
                if not row or (not table and len(row) > 1 and row[1].strip().casefold() == "threshold"):
                    continue
                if len(row) < 2:
                    raise ConfigError(f"{where} is no row tag,threshold: {','.join(row)[:80]!r}")
                tag, text = row[0].strip(), row[1].strip()
                if tag in table:
                    raise ConfigError(f"{where} names the tag {tag} again: leave one of its rows")
                try:
                    table[tag] = _rule(text, text).least or 0.0
                except ValueError:
                    table[tag] = 0.0
                if not table[tag]:
                    raise ConfigError(f"{where} gives {tag} the threshold {text!r}: write a score above 0 to 1, as 0.5")
    except UnicodeDecodeError:
        raise ConfigError(f"the table of thresholds {path} is no UTF-8 text: save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"the table of thresholds {path} cannot be read: {why}") from None
    return table


def _check_table(path: Path) -> None:
    """Raises `ConfigError` for a file that cannot be meant, `OSError` for one that is not there."""
    size = path.stat().st_size
    if not path.is_file():  # a pipe would be waited for
        raise ConfigError(f"the table of thresholds {path} is no file")
    if not size:  # it may have been cut: that no tag has a threshold is said by the heading
        raise ConfigError(f"the table of thresholds {path} is empty: for none write the heading, tag,threshold")


def table_text(table: Mapping[str, float]) -> str:
    """A table in its usual form, so that the same rows in another order are the same; empty for none."""
    return json.dumps(dict(sorted(table.items())), ensure_ascii=False) if table else ""


def parse_table(text: str) -> dict[str, float]:
    """What `table_text` wrote. Raises `ValueError`."""
    return {str(tag): float(least) for tag, least in json.loads(text).items()} if text else {}


def _rule(text: str, whole: str | float) -> Rule:
    if text == "best":
        return BEST
    if re.fullmatch(r"top[1-9]\d{0,5}", text):
        return Rule(top=int(text[3:]))
    try:
        least = float(text)
    except ValueError:
        raise ValueError(f"{whole!r} does not say which tags to give: {_FORM}") from None
    if not 0 < least <= 1:
        raise ValueError(f"{text} is no score above 0 to 1")
    return Rule(least=least)
