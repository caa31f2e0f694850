"""The language of queries: text -> tree, and what is wrong at which place. It never raises.

    query   = clause, { "or", clause }
    clause  = { factor }                                  all of them must hold
    factor  = "-", factor | "(", query, ")" | term
    term    = [ prefix, ":" ], ( word | '"', words, '"' )

`long_hair -hat`, `(cat or dog) smile`, `"two words"`, `*_hair`, `character:miku`, `rating:general,sensitive`,
`character:*`, `source:human`, `score:>0.8`, `untagged:`, `id:10..20`, `similar:7`, `order:new`. A colon divides only
after a known prefix, so `:d` and `re:zero` are tags. Brackets within a word belong to it: `miku_(vocaloid)`. What is
wrong is left out and named; the rest is still a search.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

MAX_LENGTH = 10_000
"""Characters of a query; what is beyond is left out."""
MAX_TERMS = 200
MAX_DEPTH = 50
"""Of brackets within brackets."""

CATEGORIES = ("general", "character", "series", "artist", "meta")
"""Prefixes that look for a name among the tags of one category."""
_ALIASES = {"char": "character", "copyright": "series", "copy": "series", "gen": "general", "art": "artist"}
_PREFIXES = (*CATEGORIES, *_ALIASES, "rating", "source", "score", "untagged", "tagged", "id", "similar", "order")
_PREFIX = re.compile(rf"({'|'.join(_PREFIXES)}):", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}")
_PLAIN_RATING = re.compile(r"[\w.+-]+(,[\w.+-]+)*")
_SCORE = re.compile(r"(>=|<=|>|<|)([01]|0?\.[0-9]{1,9}|1\.0{1,9})")

Order = Literal["best", "new", "old", "score", "random"]
_ORDERS: dict[str, Order] = {name: name for name in get_args(Order)}


@dataclass(frozen=True)
class Everything:
    """Every picture."""

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True)
class All:
    """All of the parts hold; there are two at least, and none of them is an `All`."""

    parts: tuple["Tree", ...]

    def __str__(self) -> str:
        return " ".join(f"({part})" if isinstance(part, Any_) else str(part) for part in self.parts)


@dataclass(frozen=True)
class Any_:
    """One of the parts holds; there are two at least, and none of them is an `Any_`."""

    parts: tuple["Tree", ...]

    def __str__(self) -> str:
        return " or ".join(str(part) for part in self.parts)


@dataclass(frozen=True)
class Not:
    part: "Tree"

    def __str__(self) -> str:
        return f"-({self.part})" if isinstance(self.part, All | Any_) else f"-{self.part}"


@dataclass(frozen=True)
class Name:
    """A picture has the tag that people call so; of a category, if one is given."""

    text: str
    category: str | None = None

    def __str__(self) -> str:
        return _printed(self.text, self.category)


@dataclass(frozen=True)
class Pattern:
    """A picture has a tag whose key looks so; `*` stands for any characters."""

    text: str
    category: str | None = None

    def __str__(self) -> str:
        return f"{self.category}:{self.text}" if self.category else self.text


@dataclass(frozen=True)
class Rating:
    """A picture has one of these ratings."""

    texts: tuple[str, ...]

    def __str__(self) -> str:
        joined = ",".join(self.texts)
        return f"rating:{joined}" if _PLAIN_RATING.fullmatch(joined) else f"rating:{_quoted(joined)}"


@dataclass(frozen=True)
class Source:
    """Restricts the names beside it to tags by `human`, by any `model`, or by the model of this name.

    Where no name stands beside it: a picture has any such tag.
    """

    text: str

    def __str__(self) -> str:
        return f"source:{_printed(self.text)}"


@dataclass(frozen=True)
class Score:
    """Restricts the names beside it to tags with a score in low..high, of 0..1; without a name: any tag."""

    low: float
    high: float
    sign: str
    digits: str

    def __str__(self) -> str:
        return f"score:{self.sign}{self.digits}"


@dataclass(frozen=True)
class Untagged:
    """A picture has no tag at all; or has one."""

    untagged: bool

    def __str__(self) -> str:
        return "untagged:" if self.untagged else "tagged:"


@dataclass(frozen=True)
class Ids:
    """A picture's id is in low..high, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"id:{self.low}" if self.low == self.high else f"id:{self.low}..{self.high}"


@dataclass(frozen=True)
class Similar:
    """A picture looks like the one with this id."""

    media_id: int

    def __str__(self) -> str:
        return f"similar:{self.media_id}"


Tree = Everything | All | Any_ | Not | Name | Pattern | Rating | Source | Score | Untagged | Ids | Similar


Code = Literal[
    "too long",
    "too many",
    "too deep",
    "or",
    "minus",
    "bracket not opened",
    "bracket not closed",
    "brackets empty",
    "quotes not closed",
    "quotes empty",
    "stands alone",
    "nothing follows",
    "score",
    "id",
    "range",
    "similar",
    "order",
    "rating unknown",
    "model unknown",
    "no vectors",
    "nothing similar",
]
"""The kinds of mistakes; the last four are found when a query is evaluated. The page has a sentence for each."""


@dataclass(frozen=True)
class Mistake:
    """What was left out: `length` characters from `at`, and why; `code` names the kind, for those who translate."""

    at: int
    length: int
    reason: str
    code: Code


@dataclass(frozen=True)
class Query:
    """What is looked for, in what order, and what could not be read."""

    tree: Tree
    order: Order | None = None
    mistakes: tuple[Mistake, ...] = ()

    def __str__(self) -> str:
        order = f"order:{self.order}" if self.order else ""
        tree = f"({self.tree})" if order and isinstance(self.tree, Any_) else str(self.tree)
        return f"{tree} {order}".strip()


def parse(text: str) -> Query:
    """The query that the text means. What cannot be read is left out and named in `mistakes`."""
    parser = _Parser(text)
    tree = parser.query(0)
    return Query(tree, parser.order, tuple(sorted(parser.mistakes, key=lambda one: one.at)))


def names(tree: Tree) -> Iterable[Name]:
    """The names in a tree, from left to right."""
    if isinstance(tree, Name):
        yield tree
    elif isinstance(tree, Not):
        yield from names(tree.part)
    elif isinstance(tree, All | Any_):
        for part in tree.parts:
            yield from names(part)


def _printed(text: str, category: str | None = None) -> str:
    """The word, in quotes where it would be read as something else without them."""
    shown = text if _is_plain(text) else _quoted(text)
    return f"{category}:{shown}" if category else shown


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_plain(text: str) -> bool:
    if not text or any(character in '"*' or character.isspace() for character in text):
        return False
    return _is_balanced(text) and text[0] not in "-(" and text.lower() != "or" and not _PREFIX.match(text)


def _is_balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


class _Parser:
    """Reads a text once, from left to right."""

    def __init__(self, text: str) -> None:
        self.mistakes: list[Mistake] = []
        self.order: Order | None = None
        self._text = text[:MAX_LENGTH]
        self._at = 0
        self._terms = 0
        if len(text) > MAX_LENGTH:
            self._wrong(
                MAX_LENGTH,
                len(text),
                "too long",
                f"a query has {MAX_LENGTH:,} characters at most: the rest is left out",
            )

    def query(self, depth: int) -> Tree:
        """Up to the bracket that closes it, or the end."""
        clauses: list[Tree] = []
        parts: list[Tree] = []
        began = self._at
        while self._more(depth):
            at = self._at
            if self._is_or():
                if not parts:
                    self._wrong(at, self._at, "or", "`or` stands between two tags")
                else:
                    clauses.append(_all(parts))
                    parts = []
                began = at
            elif (part := self._factor(depth)) is not None:
                parts.append(part)
        if clauses and not parts:
            self._wrong(began, began + 2, "or", "`or` stands between two tags")
        elif parts:
            clauses.append(_all(parts))
        return _any(clauses)

    def _more(self, depth: int) -> bool:
        """Whether another factor begins here; passes blanks, and closing brackets that nothing opened."""
        while self._at < len(self._text):
            if self._text[self._at] == ")":
                if depth:
                    return False
                reason = "nothing opened this bracket: write a tag that begins with one in quotes"
                self._wrong(self._at, self._at + 1, "bracket not opened", reason)
            elif not self._text[self._at].isspace():
                return True
            self._at += 1
        return False

    def _is_or(self) -> bool:
        found = re.compile(r"or(?=[\s)]|$)", re.IGNORECASE).match(self._text, self._at)
        if found:
            self._at = found.end()
        return found is not None

    def _factor(self, depth: int) -> Tree | None:
        at = self._at
        negative = False
        while self._text.startswith("-", self._at):
            negative = not negative
            self._at += 1
        if self._at > at and (self._at == len(self._text) or self._text[self._at].isspace()):
            self._wrong(at, self._at, "minus", "nothing follows the minus: write it directly before a tag")
            return None
        part = self._group(depth) if self._text.startswith("(", self._at) else self._term(depth)
        if not negative or part is None:
            return part
        return part.part if isinstance(part, Not) else Not(part)

    def _group(self, depth: int) -> Tree | None:
        at = self._at
        self._at += 1
        if depth >= MAX_DEPTH:
            self._wrong(at, at + 1, "too deep", f"brackets may lie {MAX_DEPTH} deep at most")
            return None
        tree = self.query(depth + 1)
        closed = self._text.startswith(")", self._at)
        if closed:
            self._at += 1
        elif not any(one.code == "bracket not closed" for one in self.mistakes):  # of several one is enough
            self._wrong(at, at + 1, "bracket not closed", "this bracket is not closed")
        if isinstance(tree, Everything):
            if closed and self._at - at <= 2:
                self._wrong(at, self._at, "brackets empty", "there is nothing between the brackets")
            return None
        return tree

    def _term(self, depth: int) -> Tree | None:
        at = self._at
        prefix = None
        if found := _PREFIX.match(self._text, at):
            self._at = found.end()
            prefix = _ALIASES.get(found[1].lower(), found[1].lower())
        quoted = self._text.startswith('"', self._at)
        word = self._quoted() if quoted else self._word(depth)
        self._terms += 1
        if self._terms > MAX_TERMS:
            if self._terms == MAX_TERMS + 1:
                self._wrong(
                    at, len(self._text), "too many", f"a query has {MAX_TERMS} tags at most: the rest is left out"
                )
            return None
        return self._meaning(prefix, word, quoted, at)

    def _word(self, depth: int) -> str:
        at, inside = self._at, 0
        while self._at < len(self._text) and not (character := self._text[self._at]).isspace():
            if character == ")" and not inside and (depth or self._at == at):
                break
            inside = max(0, inside + {"(": 1, ")": -1}.get(character, 0))
            self._at += 1
        return self._text[at : self._at]

    def _quoted(self) -> str:
        at = self._at
        found = re.compile(r'"((?:[^"\\]|\\.)*)("|$|\\$)', re.DOTALL).match(self._text, at)
        if found is None or found[2] != '"':
            self._wrong(at, at + 1, "quotes not closed", "these quotes are not closed")
        self._at = found.end() if found else len(self._text)
        return re.sub(r"\\(.)", r"\1", found[1] if found else "", flags=re.DOTALL)

    def _meaning(self, prefix: str | None, word: str, quoted: bool, at: int) -> Tree | None:
        if prefix in ("untagged", "tagged"):
            if word:
                return self._wrong(at, self._at, "stands alone", f"`{prefix}:` stands alone")
            return Untagged(prefix == "untagged")
        if not word.strip():
            if prefix:
                return self._wrong(at, self._at, "nothing follows", f"nothing follows `{prefix}:`")
            return self._wrong(at, self._at, "quotes empty", "there is nothing between the quotes")
        if prefix is None or prefix in CATEGORIES:
            is_pattern = "*" in word and not quoted and _is_balanced(word)
            return Pattern(word, prefix) if is_pattern else Name(word, prefix)
        return {
            "rating": self._rating,
            "source": lambda word, _at: Source(word),
            "score": self._score,
            "id": self._ids,
            "similar": self._similar,
            "order": self._order,
        }[prefix](word, at)

    def _rating(self, word: str, at: int) -> Tree | None:
        texts = tuple(text for text in word.split(",") if text.strip())
        return Rating(texts) if texts else self._wrong(at, self._at, "nothing follows", "nothing follows `rating:`")

    def _score(self, word: str, at: int) -> Tree | None:
        found = _SCORE.fullmatch(word)
        if not found:
            return self._wrong(at, self._at, "score", "a score is a number from 0 to 1, as in `score:>0.8`")
        sign, value = found[1], float(found[2])
        low = value if sign in ("", ">", ">=") else -1.0
        high = value if sign in ("", "<", "<=") else 2.0
        return Score(low, high, sign, found[2])

    def _ids(self, word: str, at: int) -> Tree | None:
        low, dots, high = word.partition("..")
        ends = (low, high) if dots else (low,)
        if word == ".." or not all(_NUMBER.fullmatch(end) or (dots and not end) for end in ends):
            return self._wrong(at, self._at, "id", "an id is a number, and a range is written `id:10..20`")
        first = int(low) if low else 0
        if high and int(high) < first:
            return self._wrong(at, self._at, "range", f"a range begins with the smaller number: `id:{high}..{low}`")
        return Ids(first, (int(high) if high else 10**18 - 1) if dots else first)

    def _similar(self, word: str, at: int) -> Tree | None:
        if not _NUMBER.fullmatch(word):
            return self._wrong(at, self._at, "similar", "`similar:` takes the id of a picture")
        return Similar(int(word))

    def _order(self, word: str, at: int) -> None:
        order = _ORDERS.get(word.lower())
        self.order = order or self.order
        if order is None:
            self._wrong(at, self._at, "order", f"the orders are {', '.join(_ORDERS)}")

    def _wrong(self, at: int, end: int, code: Code, reason: str) -> Tree | None:
        """Leaves this out; None, for callers that have nothing else to give."""
        self.mistakes.append(Mistake(at, max(1, end - at), reason, code))
        return None


def _all(parts: list[Tree]) -> Tree:
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, All) else (part,))]
    return flat[0] if len(flat) == 1 else All(tuple(flat)) if flat else Everything()


def _any(parts: list[Tree]) -> Tree:
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Any_) else (part,))]
    return flat[0] if len(flat) == 1 else Any_(tuple(flat)) if flat else Everything()
