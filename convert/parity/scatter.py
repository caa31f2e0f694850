"""A scatter plot of two sets of scores against each other, as a small SVG."""

from html import escape

import numpy as np
import numpy.typing as npt

from convert.parity.comparison import given
from engine.types import Scores

_BINS, _FAR, _OTHERS = 50, 30, 30
_SIDE, _LEFT, _BOTTOM = 320, 44, 40  # pixels: the square of the plot, and the room for what is written beside it
_Indices = npt.NDArray[np.intp]


def scatter(expected: Scores, scores: Scores, threshold: float, x_label: str, y_label: str) -> str:
    """The plot with its caption; a sample is drawn, for there are millions of points and most lie upon each other."""
    x, y = expected.ravel(), np.nan_to_num(scores.ravel())
    shown = _sample(x, y)
    x_shown, y_shown = x[shown], y[shown]
    flips = given(x_shown, threshold) != given(y_shown, threshold)
    width, height = _SIDE + _LEFT + 10, _SIDE + _BOTTOM + 10
    parts = [
        *_axes(x_label, y_label),
        _line(0, 0, 1, 1, "diagonal"),
        _line(threshold, 0, threshold, 1, "threshold"),
        _line(0, threshold, 1, threshold, "threshold"),
        _points(x_shown[~flips], y_shown[~flips], "same"),
        _points(x_shown[flips], y_shown[flips], "flip"),
    ]
    caption = (
        f"{y_label} against {x_label}: {len(shown):,} of {x.size:,} scores, those farthest from the diagonal among"
    )
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'
        f"<figcaption>{escape(caption)} them; red where only one side gives the tag.</figcaption></figure>"
    )


def _sample(x: Scores, y: Scores) -> _Indices:
    """In each bin of x, the points farthest from the diagonal and some of the others."""
    rng = np.random.default_rng(0)
    bins = np.minimum((x * _BINS).astype(np.intp), _BINS - 1)
    difference = np.abs(x - y)
    chosen = []
    for number in range(_BINS):
        there = np.flatnonzero(bins == number)
        if len(there) > _FAR + _OTHERS:
            ranked = np.argpartition(difference[there], len(there) - _FAR)
            there = there[np.concatenate([ranked[-_FAR:], rng.choice(ranked[:-_FAR], _OTHERS, replace=False)])]
        chosen.append(there)
    return np.concatenate(chosen)


def _at(x: float, y: float) -> tuple[str, str]:
    """Pixels, from the left and from the top."""
    return f"{_LEFT + x * _SIDE:.1f}", f"{5 + (1 - y) * _SIDE:.1f}"


def _points(x: Scores, y: Scores, kind: str) -> str:
    """All points as one path: a line of no length with round ends is a dot, in far fewer bytes than a circle."""
    dots = "".join("M{} {}h0".format(*_at(a, b)) for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return f'<path class="{kind}" d="{dots}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    (a, b), (c, d) = _at(x1, y1), _at(x2, y2)
    return f'<path class="{kind}" d="M{a} {b}L{c} {d}"/>'


def _axes(x_label: str, y_label: str) -> list[str]:
    left, top = _at(0, 1)
    parts = [f'<rect class="frame" x="{left}" y="{top}" width="{_SIDE}" height="{_SIDE}"/>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        (x, bottom), (_, y) = _at(tick, 0), _at(0, tick)
        parts.append(f'<text x="{x}" y="{float(bottom) + 15}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{_LEFT - 6}" y="{float(y) + 4}" text-anchor="end">{tick:g}</text>')
    middle_x, middle_y = _LEFT + _SIDE / 2, 5 + _SIDE / 2
    parts.append(f'<text x="{middle_x}" y="{_SIDE + 38}" text-anchor="middle">score of {escape(x_label)}</text>')
    parts.append(
        f'<text transform="translate(11 {middle_y})rotate(-90)" text-anchor="middle">score of {escape(y_label)}</text>'
    )
    return parts
