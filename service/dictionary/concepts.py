"""What the dictionary holds: concepts with names, and what a name may be."""

import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from service.dictionary.errors import DictionaryError

LONGEST_NAME = 500
"""Characters of a name, and of what is looked up."""
MOST_NAMES = 500
"""Names of one concept. The best-known concepts have some forty."""
CATEGORIES = ("general", "character", "copyright", "artist", "meta", "rating")
WEIGHTS = ("rank", "importance", "favourite")
"""Rank in suggestions, importance on a picture, a person's favourites. Each is 1.0 unless it is set."""
_INVISIBLE = frozenset(
    "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff\u00ad\u061c"
)
_LANGUAGES = {"zh": "zh-Hans", "zh-cn": "zh-Hans", "zh-sg": "zh-Hans", "zh-tw": "zh-Hant", "zh-hk": "zh-Hant"}


class Kind(StrEnum):
    """What a name is for its concept. The last three are keys: what a model or the API calls the tag."""

    DISPLAY = "display"
    SYNONYM = "synonym"
    ABBREVIATION = "abbreviation"
    KEY = "key"
    FORMER_KEY = "former key"
    COMMUNITY_KEY = "community key"


KEYS = (Kind.KEY, Kind.FORMER_KEY, Kind.COMMUNITY_KEY)


@dataclass(frozen=True)
class Name:
    """One name of a concept. `lang`: BCP 47 (`zh-Hans`, `ja`, `en`, `ja-Latn`), or empty for none."""

    text: str
    lang: str = ""
    kind: str = Kind.SYNONYM
    source: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Concept:
    """What people mean by a tag.

    Attributes:
        key: its English key, which names it.
        names: all of them, the key itself left out; the one to show comes first in each language.
        implies: keys of broader concepts.
        groups: paths of the groups that it lies in.
        weights: those that are set, by their kind.
        count: how often the tag is used in the world, as an import said; 0 if none did.
        revision: the journal entry that changed it last; 0 if none did.
    """

    key: str
    category: str
    names: tuple[Name, ...]
    implies: tuple[str, ...]
    groups: tuple[str, ...]
    weights: dict[str, float]
    count: int
    hidden: bool
    revision: int


@dataclass(frozen=True)
class Group:
    """A node of the tree for browsing; `hair/colour` lies in `hair`. `names`: by language."""

    path: str
    names: dict[str, str]


@dataclass(frozen=True)
class Found:
    """One answer: the concept's key, its name to show, and by which name and how it was found.

    `how`: key, name, prefix, word, romaji, pinyin, initials or typo.
    """

    concept: str
    name: str
    via: str
    how: str

    def as_json(self) -> dict[str, str]:
        return {"concept": self.concept, "name": self.name, "via": self.via, "how": self.how}


@dataclass(frozen=True)
class Answer:
    """What a query found: `near` holds near misses, and only where nothing was found."""

    query: str
    found: tuple[Found, ...]
    near: tuple[Found, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The answer in the form that `--json` and the REST calls give."""
        return {
            "query": self.query,
            "found": [found.as_json() for found in self.found],
            "near": [found.as_json() for found in self.near],
        }


@dataclass(frozen=True)
class Entry:
    """One entry of the journal.

    Attributes:
        at: UTC, ISO 8601.
        undone_by: the entry that undid it, or None.
        keys: of the first concepts that it changed, as they were then.
        concepts: how many these are in all.
    """

    id: int
    at: str
    who: str
    action: str
    summary: str
    undone_by: int | None
    keys: tuple[str, ...]
    concepts: int


def clean(text: str, what: str = "name") -> str:
    """The text as it is kept: composed (NFC), no invisible marks, single blanks.

    Raises:
        DictionaryError: nothing is left, it is too long, or it holds what no text can.
    """
    if len(text) > LONGEST_NAME:
        raise DictionaryError(f"the {what} {shown(text)} has {len(text):,} characters: give at most {LONGEST_NAME}")
    text = unicodedata.normalize("NFC", "".join(c for c in text if c not in _INVISIBLE))
    text = " ".join(text.split())
    if not text:
        raise DictionaryError(f"the {what} is empty: give at least one character that can be seen")
    for c in text:
        category = unicodedata.category(c)
        if category in ("Cc", "Cs", "Co", "Cn"):
            raise DictionaryError(
                f"the {what} {shown(text)} holds U+{ord(c):04X}, which is no character of a text: leave it out"
            )
    if unicodedata.category(text[0]) in ("Mn", "Me"):
        raise DictionaryError(f"the {what} {shown(text)} begins with a combining mark: put a letter before it")
    if len(text) > LONGEST_NAME:
        raise DictionaryError(f"the {what} {shown(text)} has {len(text):,} characters: give at most {LONGEST_NAME}")
    return text


def clean_key(text: str) -> str:
    """A key as it is kept: a clean text with `_` for blanks. Raises DictionaryError as `clean` does."""
    return clean(text, "key").replace(" ", "_")


def clean_language(lang: str) -> str:
    """A language as it is kept: `zh` and `zh-CN` are `zh-Hans`. Raises DictionaryError for what is no BCP 47 tag."""
    short = lang.strip()
    if short.lower() in _LANGUAGES:
        return _LANGUAGES[short.lower()]
    parts = short.split("-")
    if short and not (len(short) <= 35 and all(p.isascii() and p.isalnum() and len(p) <= 8 for p in parts)):
        raise DictionaryError(f"{shown(lang)} is no language: give a code like zh-Hans, ja, en or ja-Latn")
    return "-".join([parts[0].lower(), *(p.title() if len(p) == 4 else p for p in parts[1:])])


def shown(text: str) -> str:
    """A text as a sentence can hold it: quoted, short, nothing invisible in it."""
    short = text if len(text) <= 40 else text[:40] + "…"
    return repr(short.encode("utf-8", "backslashreplace").decode("utf-8"))
