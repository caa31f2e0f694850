"""In which order a person is asked about the pictures of one tag.

Seventeen of twenty are those whose score is nearest to the threshold: there the model is least sure. Two of twenty are
drawn at random from all that were scored, so that what is learned holds for sure ones too, and one from the pictures
that no model scored, so that what the models miss is seen. Of pictures that are copies of each other only one is asked.

Chance comes from a seed that belongs to the library and the tag, and the places are given to judged pictures too. So
the same state has the same order, and a verdict takes its picture out and moves no other while the threshold stays.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.search.index import Mask

Ids = npt.NDArray[np.int64]
Steps = npt.NDArray[np.uint16]
"""[N]: scores in steps of opinions.py; 0: no model gave the tag."""

UNCERTAIN, SAMPLE, UNSCORED = 0, 1, 2
"""Why a picture is asked about."""
TURN: Final = 20
"""Places after which the pattern begins again."""
_SAMPLE_AT, _UNSCORED_AT = np.array([4, 14]), np.array([19])
_UNSURE_AT = np.delete(np.arange(TURN), [*_SAMPLE_AT, *_UNSCORED_AT])


class Order(NamedTuple):
    """Pictures in the order in which they are asked about.

    Attributes:
        rows: [M], places in the arrays that the order was made from.
        why: [M], UNCERTAIN, SAMPLE or UNSCORED.
    """

    rows: npt.NDArray[np.intp]
    why: npt.NDArray[np.uint8]


def seed_of(identity: str, key: str) -> int:
    """The seed of one tag of a library."""
    return int.from_bytes(sha256(f"{identity}\n{key}".encode()).digest()[:8], "big")


def chance(seed: int, ids: Ids) -> npt.NDArray[np.uint64]:
    """[N]: a number for each id that looks random, and is the same each time.

    The mixing function of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def in_order(ids: Ids, scores: Steps, threshold: int | None, seed: int) -> Order:
    """The order of all these pictures, judged or not.

    It ends with the scored ones: of those without a score there are a twentieth as many.

    Args:
        ids: [N].
        scores: [N].
        threshold: the step nearest to which the model is least sure. While that is not known (None), scores are asked
            about that lie far apart, as one looks for a place by halving.
        seed: of chance.
    """
    number = chance(seed, ids)
    scored, unscored = np.flatnonzero(scores), np.flatnonzero(scores == 0)
    turns = -(-len(scored) // TURN)
    by_chance = scored[np.argsort(number[scored], kind="stable")]
    sample, unsure = np.split(by_chance, [len(_SAMPLE_AT) * turns])
    if threshold is None:  # of equal scores, chance decides
        unsure = unsure[np.argsort(scores[unsure], kind="stable")]
        unsure = unsure[np.argsort(_halving(len(unsure)))]
    else:
        distance = np.abs(scores[unsure].astype(np.int64) - threshold)
        unsure = unsure[np.argsort(distance, kind="stable")]
    parts = [unsure, sample, _lowest(number, unscored, len(_UNSCORED_AT) * turns)]
    places = np.concatenate(
        [_places(len(part), at) for part, at in zip(parts, (_UNSURE_AT, _SAMPLE_AT, _UNSCORED_AT), strict=True)]
    )
    order = np.argsort(places)
    why = np.repeat(np.array([UNCERTAIN, SAMPLE, UNSCORED], np.uint8), [len(part) for part in parts])
    return Order(np.concatenate(parts)[order], why[order])


def _halving(count: int) -> npt.NDArray[np.int64]:
    """[count]: a key by which the first ones of an order are spread evenly, and the next ones lie between them.

    The bits of each number in reverse (van der Corput, 1935).
    """
    bits = max(1, (count - 1).bit_length())
    numbers = np.arange(count, dtype=np.int64)
    return sum(((numbers >> bit & 1) << (bits - 1 - bit) for bit in range(bits)), np.zeros(count, np.int64))


def _places(count: int, at: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """[count]: where a part's pictures stand, of which each turn has those places `at`."""
    turn, within = np.divmod(np.arange(count), len(at))
    found: npt.NDArray[np.intp] = TURN * turn + at[within]
    return found


def one_of_each(ids: Ids, scores: Steps, judged: Mask, groups: "Groups") -> Mask:
    """[N]: the pictures that stand for their copies: of each group one that was judged, or the one scored highest."""
    chosen = np.ones(len(ids), np.bool_)
    members = np.flatnonzero(np.isin(ids, groups.ids))
    if not len(members):
        return chosen
    group = groups.numbers[np.searchsorted(groups.ids, ids[members])]
    order = np.lexsort([ids[members], -scores[members].astype(np.int64), ~judged[members], group])
    group = group[order]
    chosen[members[order[1:][group[1:] == group[:-1]]]] = False
    return chosen


class Groups(NamedTuple):
    """Groups of copies: ids, ascending, and by each the number of its group."""

    ids: Ids
    numbers: npt.NDArray[np.int64]

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]]) -> "Groups":
        ids = np.fromiter((one for group in groups for one in group), np.int64)
        numbers = np.repeat(np.arange(len(groups), dtype=np.int64), [len(group) for group in groups])
        order = np.argsort(ids)
        return cls(ids[order], numbers[order])


def _lowest(number: npt.NDArray[np.uint64], rows: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
    """The `count` rows whose numbers are lowest, ascending."""
    if count < len(rows):
        rows = rows[np.argpartition(number[rows], count)[:count]]
    return rows[np.argsort(number[rows], kind="stable")]
