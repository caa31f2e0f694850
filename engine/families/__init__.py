"""Model families: how each kind of model wants its pictures, and which of its scores count as tags.

Which family a model belongs to is said by its manifest (`preprocessing.kind`). A new family is one new module and one
line in `FAMILIES`.
"""

from collections.abc import Callable, Mapping

from engine.errors import ModelError
from engine.families.deepdanbooru import DeepDanbooru
from engine.families.family import Family
from engine.types import Preprocessing

FAMILIES: Mapping[str, Callable[[Preprocessing], Family]] = {
    "deepdanbooru": DeepDanbooru,
}


def family_of(preprocessing: Preprocessing) -> Family:
    """The family that a manifest's preprocessing names. Raises `ModelError` for one that this version does not know."""
    family = FAMILIES.get(preprocessing.kind)
    if family is None:
        raise ModelError(
            f"the model asks for the preprocessing {preprocessing.kind!r}, but this version knows only "
            f"{', '.join(map(repr, FAMILIES))}: update the engine, or convert the model again"
        )
    return family(preprocessing)
