"""What a picture shows, chosen at random, and its tags. Only what can be seen is tagged."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

GENERAL = (
    "1girl",
    ":d",
    "^_^",
    "animal_ears",
    "black_hair",
    "blonde_hair",
    "blue_eyes",
    "blue_hair",
    "cat",
    "glasses",
    "hair_ribbon",
    "hat",
    "long_hair",
    "night_sky",
    "no_humans",
    "outdoors",
    "pink_hair",
    "red_eyes",
    "short_hair",
    "simple_background",
)
# A comma, an apostrophe and parentheses: real tag lists hold all of them, and CSV, URLs and SQL must bear them.
CHARACTERS = ("d'arc_(demo)", "miko_(demo)", "sora,_star_witch")
RATINGS = ("rating:safe", "rating:questionable", "rating:explicit")
TAGS = GENERAL + CHARACTERS + RATINGS
CATEGORIES = (
    ("General", 0),
    ("Character", len(GENERAL)),
    ("System", len(GENERAL) + len(CHARACTERS)),
)

Background = Literal["simple_background", "night_sky", "outdoors"]
Subject = Literal["girl", "cat", "nothing"]
BACKGROUNDS: tuple[Background, ...] = ("simple_background", "night_sky", "outdoors")


@dataclass(frozen=True, slots=True)
class Girl:
    """How she looks. Silver and green hair, brown and green eyes have no tag: the model must learn to give none."""

    hair: str = "black"  # black, blonde, blue, pink; silver, green
    long: bool = False
    eyes: str = "brown"  # blue, red; brown, green
    happy: bool = False  # ^_^: the eyes are closed, so their colour is not seen
    laughing: bool = False  # :d
    glasses: bool = False
    hat: bool = False
    ears: bool = False
    ribbon: bool = False
    character: str | None = None
    turned: bool = False  # seen from behind: no face

    def tags(self) -> set[str]:
        """The tags of what is visible of her."""
        seen = {"1girl", f"{self.hair}_hair", "long_hair" if self.long else "short_hair"}
        seen |= {tag for tag, there in (("hat", self.hat), ("animal_ears", self.ears)) if there}
        seen |= {"hair_ribbon"} if self.ribbon else set()
        seen |= {self.character} if self.character else set()
        if not self.turned:
            seen.add("^_^" if self.happy else f"{self.eyes}_eyes")
            seen |= {tag for tag, there in ((":d", self.laughing), ("glasses", self.glasses)) if there}
        return seen & set(TAGS)


@dataclass(frozen=True, slots=True)
class Scene:
    """What one picture shows. `seed` decides the details that have no tag (dress, clouds, stars)."""

    subject: Subject
    girl: Girl
    background: Background
    rating: str
    seed: int

    def tags(self) -> tuple[str, ...]:
        """The tags of the picture, in the order of the model's tags."""
        seen = {self.background, self.rating}
        seen |= self.girl.tags() if self.subject == "girl" else {"no_humans"}
        seen |= {"cat"} if self.subject == "cat" else set()
        return tuple(tag for tag in TAGS if tag in seen)


CAST = {
    "d'arc_(demo)": Girl(hair="blonde", eyes="blue", character="d'arc_(demo)"),
    "miko_(demo)": Girl(hair="black", long=True, eyes="red", ribbon=True, character="miko_(demo)"),
    "sora,_star_witch": Girl(hair="blue", eyes="blue", hat=True, character="sora,_star_witch"),
}


def draw_scene(rng: np.random.Generator, *, colour: bool = True, detailed: bool = True) -> Scene:
    """A scene chosen at random.

    Args:
        rng: the only source of randomness.
        colour: False for a picture stored in gray: what only colour can tell (most hair, eyes, characters) is left out.
        detailed: False for a picture so long and narrow that no face can be seen at the model's size: the girl is
            seen from behind.
    """
    background = BACKGROUNDS[rng.integers(3)]
    subject: Subject = "girl" if rng.random() < 0.8 else "cat"
    if subject == "cat" and background != "simple_background" and rng.random() < 0.45:
        subject = "nothing"
    return Scene(
        subject=subject,
        girl=_draw_girl(rng, colour, detailed),
        background=background,
        rating=RATINGS[rng.choice(3, p=(0.5, 0.25, 0.25))],
        seed=int(rng.integers(2**32)),
    )


def _draw_girl(rng: np.random.Generator, colour: bool, detailed: bool) -> Girl:
    happy, laughing, glasses, ribbon, long = (rng.random(5) < (0.25, 0.35, 0.3, 0.3, 0.5)).tolist()
    if colour and detailed and rng.random() < 0.25:
        return replace(CAST[CHARACTERS[rng.integers(3)]], happy=happy, laughing=laughing, glasses=glasses)
    hair = ("black", "silver", "blonde", "blue", "pink", "green")[rng.integers(6 if colour else 2)]
    eyes = ("brown", "green", "blue", "red", "blue", "red")[rng.integers(6)] if colour else "brown"
    headwear = rng.integers(4)
    return Girl(
        hair=hair,
        long=long,
        eyes=eyes,
        happy=happy,
        laughing=laughing,
        glasses=glasses,
        hat=headwear == 1,
        ears=headwear == 2,
        ribbon=ribbon,
        turned=not detailed,
    )
