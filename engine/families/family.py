"""What the pipeline asks of a model family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import ConfigError
from engine.families.traits import Traits
from engine.pictures import over_white, pillow_fit
from engine.pictures.decode import decode, probe
from engine.pictures.fit import fit
from engine.thresholds import Rule, Rules, parse_rules, resolve, rules_text
from engine.types import Preprocessing, Rgb, Row, Scores, TagScore

NO_TABLE: Mapping[str, float] = {}
Select = Callable[[Scores], tuple[TagScore, ...]]
"""Of one picture's scores, float32 [tags], those that count, in the model's order."""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of model at one size. Stateless: used by many threads at once."""

    traits: Traits
    preprocessing: Preprocessing

    def pixels(self, data: bytes, key: str) -> int:
        """How many pixels a file will have decoded, told by its header. Raises `MediumError`."""
        header = over_white.probe(data, key) if self.traits.alpha == "white" else probe(data, key)
        return header.width * header.height

    def decode(self, data: bytes, key: str, *, max_pixels: int) -> Rgb:
        """A whole file -> uint8 [h, w, 3], RGB, with alpha treated as this family does. Raises `MediumError`."""
        if self.traits.alpha == "white":
            return over_white.decode(data, key, max_pixels=max_pixels, upright=self.traits.upright)
        return decode(data, key, max_pixels=max_pixels)

    def fit(self, rgb: Rgb, row: Row) -> None:
        """Put a decoded picture of any size into a row of the batch, [height, width, 3] of the preprocessing's dtype.

        All of it is written.
        """
        if self.traits.first == "resize":
            fit(rgb, self.preprocessing.height, self.preprocessing.width, row)
        else:
            pillow_fit.fit(rgb, row, pad=self.traits.pad, interpolation=self.traits.interpolation)

    def rules(self, categories: Sequence[str], threshold: str | float | None = None) -> dict[str, Rule]:
        """The rule of each category of a model, by its name in small letters.

        Args:
            categories: of the tags, in the model's order.
            threshold: as `engine.thresholds` reads it; what it leaves open is this family's default.

        Raises:
            ConfigError: it names a category that the model does not have.
        """
        present = tuple(dict.fromkeys(map(str.casefold, categories)))
        try:
            return resolve(parse_rules(threshold) if threshold is not None else {}, self.traits.rules, present)
        except KeyError as error:
            raise ConfigError(
                f"--threshold names the category {error.args[0]}, and the model has only {', '.join(present)}"
            ) from None

    def threshold(self, categories: Sequence[str], threshold: str | float | None = None) -> str:
        """The same as text, the shortest that says all of it: what a ledger keeps. Raises `ConfigError` likewise."""
        rules = self.rules(categories, threshold)
        first = str(next(iter(rules.values())))
        return first if self.rules(categories, first) == rules else rules_text(rules)

    def selection(
        self,
        tags: Sequence[str],
        categories: Sequence[str],
        threshold: str | float | None = None,
        table: Mapping[str, float] = NO_TABLE,
    ) -> Select:
        """Which tags count. `tags` and `categories` are the model's, in its order. Raises as `rules` and `least`."""
        return selection(tags, categories, self.rules(categories, threshold), table)


def least(
    tags: Sequence[str], categories: Sequence[str], rules: Rules, table: Mapping[str, float] = NO_TABLE
) -> tuple[Scores, list[tuple[npt.NDArray[np.intp], int]]]:
    """What a model's scores are compared with.

    Args:
        tags: the names, in the model's order.
        categories: of each tag.
        rules: of each category, by its name in small letters.
        table: the least scores of single tags, which go before their category's.

    Returns:
        the least score of each tag, float32 [tags], infinite where its category goes by a number of tags; and for each
        such category the numbers of its tags, and how many of them count.

    Raises:
        ConfigError: the table names a tag that the model does not have, or one whose category goes by a number.
    """
    names = np.array([category.casefold() for category in categories])
    # What goes by a number of tags is above every score here, and added after.
    lowest = np.array([rules[name].least or np.inf for name in names.tolist()], np.float32)
    if table:
        numbers = {tag: number for number, tag in enumerate(tags)}
        for tag, score in table.items():
            if tag not in numbers:
                raise ConfigError(f"--threshold-file names the tag {tag}, which the model does not have")
            if lowest[numbers[tag]] == np.inf:
                raise ConfigError(
                    f"--threshold-file names the tag {tag}, of whose category {names[numbers[tag]]} a number of tags "
                    "counts, not a score"
                )
            lowest[numbers[tag]] = score
    return lowest, [(np.flatnonzero(names == name), rule.top) for name, rule in rules.items() if rule.top]


def selection(
    tags: Sequence[str], categories: Sequence[str], rules: Rules, table: Mapping[str, float] = NO_TABLE
) -> Select:
    """The tags of one picture by these rules, in the order of the model's tags. Arguments and errors as of `least`."""
    lowest, tops = least(tags, categories, rules, table)

    def select(scores: Scores) -> tuple[TagScore, ...]:
        found = np.flatnonzero(scores >= lowest)
        if tops:
            found = np.sort(np.concatenate([found, *(_highest(scores, these, count) for these, count in tops)]))
        return tuple(TagScore(tags[i], score) for i, score in zip(found.tolist(), scores[found].tolist(), strict=True))

    return select


def _highest(scores: Scores, these: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
    """Those of `these` tags with the highest scores; of equal ones the first."""
    return these[np.argsort(-scores[these], kind="stable")[:count]]
