"""Model families: how each kind of model wants its pictures, and which of its scores count as tags.

A family is a value (`Traits`), and all of them stand in `engine.families.known`. Which one a model belongs to is said
by its manifest, and so is what the model has different from its family.
"""

from dataclasses import replace
from typing import Any

from engine.errors import ModelError
from engine.families.family import Family
from engine.families.known import FAMILIES
from engine.families.traits import CHOICES, Traits
from engine.types import Preprocessing

__all__ = ["FAMILIES", "Family", "Traits", "family_of", "traits_of"]


def family_of(preprocessing: Preprocessing) -> Family:
    """The family that a manifest's preprocessing names. Raises `ModelError` for what this version does not know."""
    return Family(traits_of(preprocessing), preprocessing)


def traits_of(preprocessing: Preprocessing) -> Traits:
    """The traits of the family that a manifest's preprocessing names, with the manifest's changes."""
    traits = FAMILIES.get(preprocessing.kind)
    if traits is None:
        raise ModelError(
            f"the model asks for the preprocessing {preprocessing.kind!r}, but this version knows only "
            f"{', '.join(map(repr, FAMILIES))}: update the engine, or convert the model again"
        )
    changes: dict[str, Any] = dict(preprocessing.changes)
    for name, value in changes.items():
        if not any(value is choice or value == choice for choice in CHOICES.get(name, ())):
            raise ModelError(
                f"the model asks for the preprocessing {name} {value!r}, which this version does not know: update the "
                "engine, or convert the model again"
            )
    return replace(traits, **changes)
