"""How well given tags agree with the truth."""

from collections.abc import Collection, Mapping


def f1(truth: Mapping[str, Collection[str]], tagged: Mapping[str, Collection[str]]) -> float:
    """Micro-F1: 2·TP / (2·TP + FP + FN), counted over all (picture, tag) pairs.

    Args:
        truth: the tags that each picture has, by the picture's name.
        tagged: the tags that each picture was given; a picture that is missing here was given none.

    Returns:
        0..1; 1.0 when neither side holds any tag.
    """
    pairs = {(name, tag) for name, tags in truth.items() for tag in tags}
    given = {(name, tag) for name, tags in tagged.items() for tag in tags}
    return 2 * len(pairs & given) / (len(pairs) + len(given)) if pairs or given else 1.0
