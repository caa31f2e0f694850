"""Other thresholds for media that were tagged: by the scores that are kept, without a model and without a picture."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.api.messages import pair, similarity
from engine.delivery.entries import pairs_of
from engine.errors import ConfigError, LedgerError
from engine.families import family_of
from engine.families.family import least
from engine.fingerprint import TABLE
from engine.ledger.kept import Change, Judged, Scorer
from engine.ledger.schema import LedgerView, damaged
from engine.model.folder import Model
from engine.scores import STEPS, Numbers, Steps, count, least_steps, number_type, pack_numbers, scores_of, unpack
from engine.thresholds import parse_rules, parse_table, rules_text, table_text
from engine.types import Preprocessing


class Thresholds(NamedTuple):
    """What a ledger's tags are chosen by, as its fingerprint has it."""

    threshold: str
    table: str

    def meta(self) -> dict[str, str]:
        """As the ledger keeps it."""
        return {"threshold": self.threshold, TABLE: self.table}


class Plan(NamedTuple):
    """Other thresholds, and the model by whose kept scores they are met."""

    scorer: Scorer
    thresholds: Thresholds
    limits: tuple[Steps, list[tuple[npt.NDArray[np.intp], int]]]


class NoScores(Exception):
    """Kept scores cannot answer this; the sentence says why. Pictures can."""


def plan(
    ledger: LedgerView,
    threshold: str | None,
    table: Mapping[str, float] | None,
    model: Model | None,
    precision: str | None,
) -> Plan:
    """How the ledger's media get other thresholds.

    Args:
        ledger: whose media.
        threshold: of all tags, of categories and of single tags. Where it names neither all nor a category, theirs stay
            as the ledger has them; None leaves all.
        table: of single tags, instead of the ledger's; None leaves that. Tags that `threshold` names join it.
        model: the one that the user names, if any.
        precision: that the user names, if any.

    Raises:
        NoScores: the pictures must be read for it.
        ConfigError: a category or a tag that the model does not have.
    """
    sha256, recorded = ledger.meta("model"), ledger.meta("threshold")
    scorers = {(one.sha256, one.tags_sha256): one for one in ledger.scorers()}
    scorer = scorers.get((sha256 or "", ledger.meta("tags") or ""))
    if model and (model.sha256, model.tags_sha256) != (sha256, ledger.meta("tags")):
        raise NoScores(f"{model.project} is another model than the one that gave the tags")
    if precision and precision != ledger.meta("precision"):
        raise NoScores(f"in {precision} the model gives other scores than in {ledger.meta('precision')}")
    if scorer is None or recorded is None:
        of = f": what is kept is of {', '.join(one.name for one in scorers.values())}" if scorers else ""
        raise NoScores(f"no scores are kept of the model that gave the tags{of}")
    family = family_of(Preprocessing((ledger.meta("preprocessing") or "").partition(" ")[0], 1, 1))
    of_categories, of_tags = _apart(threshold, scorer)
    try:
        known = parse_table(ledger.meta(TABLE) or "") if table is None else table
        wanted = Thresholds(
            family.threshold(scorer.categories, recorded if of_categories is None else of_categories),
            table_text({**known, **of_tags}),
        )
        singles = parse_table(wanted.table)
    except ValueError as error:
        raise damaged(ledger.path, error) from None
    before, rules = (family.rules(scorer.categories, text) for text in (recorded, wanted.threshold))
    numbers = [name for name, rule in rules.items() if rule.top and rule != before[name]]
    if numbers:
        raise NoScores(f"{numbers[0]}={rules[numbers[0]]} goes by a number of tags, some of which may not be kept")
    lowest = min([score for rule in rules.values() if (score := rule.least)] + [*singles.values()], default=1.0)
    if lowest < scorer.floor and wanted != (recorded, ledger.meta(TABLE) or ""):
        raise NoScores(f"scores below {scorer.floor:g} are not kept, and {lowest:g} is lower")
    scores, tops = least(scorer.tags, scorer.categories, rules, singles)
    return Plan(scorer, wanted, (least_steps(scores), tops))


def _apart(threshold: str | None, scorer: Scorer) -> tuple[str | None, dict[str, float]]:
    """What a user wrote for all and for categories, None if nothing; and for single tags. Raises `ConfigError`.

    A name that a category and a tag share is the category's.
    """
    if threshold is None:
        return None, {}
    rules = parse_rules(threshold)
    categories = {category.casefold() for category in scorer.categories}
    tags = {tag.casefold(): tag for tag in scorer.tags}
    named = {tags[name]: rule for name, rule in rules.items() if name in tags and name not in categories}
    for tag, rule in named.items():
        if rule.least is None:
            raise ConfigError(f"--threshold gives the tag {tag} the rule {rule}: a single tag takes a score, as 0.5")
    rest = {name: rule for name, rule in rules.items() if tags.get(name) not in named}
    return rules_text(rest) if rest else None, {tag: rule.least for tag, rule in named.items() if rule.least}


class Rethreshold:
    """Judges media by other thresholds, and counts what changes. A `Judge` of the ledger.

    Attributes:
        media: that were judged.
        changed: of these, those that are posted again.
        added: tags that they get.
        taken_away: tags that they lose.
        kept_there: tags below the thresholds that a service keeps that cannot replace tags.
        media_kept_there: of so many media.
    """

    def __init__(self, wanted: Plan, *, replaces: bool) -> None:
        """`replaces`: whether the service can put tags in place of others; else it only gets those that are new."""
        self._lowest, self._tops = wanted.limits
        self._size, self._replaces = len(wanted.scorer.tags), replaces
        # Entries are made of ready texts, for there may be millions of records.
        steps = np.arange(STEPS + 1, dtype=np.uint16)
        self._tag_texts = _texts([pair(tag, "") for tag in wanted.scorer.tags])
        self._score_texts = _texts([similarity(score) for score in scores_of(steps).tolist()])
        self.media = self.changed = self.added = self.taken_away = self.kept_there = self.media_kept_there = 0

    def __call__(self, page: Sequence[Judged]) -> Iterator[Change]:
        """Raises `LedgerError` for what is no score of the model."""
        try:
            sizes = count([medium.kept for medium in page], self._size)
            numbers, steps = unpack(b"".join([medium.kept for medium in page]), self._size)
        except ValueError as error:
            raise LedgerError(
                f"the state file holds {error}: it is damaged; `engine retag` without thresholds reads the pictures"
            ) from None
        taken = steps >= self._lowest[numbers]
        if self._tops:
            self._take_highest(taken, numbers, steps, sizes)
        of = np.repeat(np.arange(len(page)), sizes)[taken]
        numbers, steps = numbers[taken], steps[taken]
        ends = np.cumsum(np.bincount(of, minlength=len(page))).tolist()
        blob, width = numbers.tobytes(), number_type(self._size).itemsize
        records = (self._tag_texts[numbers] + self._score_texts[steps]).tolist()
        begin = 0
        for medium, end in zip(page, ends, strict=True):
            if blob[begin * width : end * width] != medium.given:
                change = self._change(medium, numbers[begin:end], records[begin:end])
                if change:
                    self.changed += 1
                    yield change
            begin = end
        self.media += len(page)

    def _take_highest(
        self, taken: npt.NDArray[np.bool_], numbers: Numbers, steps: Steps, sizes: npt.NDArray[np.intp]
    ) -> None:
        """Of categories that go by a number of tags, the highest scores; of equal ones the first."""
        ends = np.cumsum(sizes)
        for tags, top in self._tops:
            counts = np.zeros(self._size, bool)
            counts[tags] = True
            those = counts[numbers]
            for begin, end in zip(ends - sizes, ends, strict=True):
                found = begin + np.flatnonzero(those[begin:end])
                taken[found[np.argsort(-steps[found].astype(np.int32), kind="stable")[:top]]] = True

    def _change(self, medium: Judged, numbers: Numbers, records: Sequence[str]) -> Change | None:
        given = np.frombuffer(medium.given, number_type(self._size)).tolist()
        now = numbers.tolist()
        before = set(given)
        added, lost = len(set(now) - before), len(before.difference(now))
        self.added += added
        if self._replaces:
            self.taken_away += lost
            return Change(medium.media_id, "\n".join(records), numbers.tobytes())
        self.kept_there += lost
        self.media_kept_there += lost > 0
        if not added:
            return None
        new = [record for number, record in zip(now, records, strict=True) if number not in before]
        waits = pairs_of(medium.waiting or "")  # which was tagged earlier and so goes first; it may be without tags
        entry = "\n".join([waits, *new] if waits else new)
        return Change(medium.media_id, entry, pack_numbers(sorted(before.union(now)), self._size))


def _texts(texts: Sequence[str]) -> npt.NDArray[np.object_]:
    """As an array, so that those of a whole page are picked and joined at once."""
    return np.array(texts, object)
