"""The report parity.html: a comparison as one HTML page that needs no other file and no network."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from convert.parity.comparison import ENOUGH, LIMIT, MARGIN, Comparison, Parity, distances, given
from convert.parity.scatter import scatter
from convert.pictures import read
from engine.types import Scores

_WORST = 8  # pictures of each precision
_CLOSE = 3  # of one whose tags are all the same
_TAGS = 20  # in the table of tags that differ most often
_LISTED = 60  # tags of a picture
_THUMBNAIL = 220  # pixels of the longer side
_REFERENCES = {
    "keras": "the Keras model with DeepDanbooru's own decoding and preprocessing",
    "original": "the ONNX file that was converted, fed by Pillow and NumPy as its users feed it",
    "fp32": "the fp32 ONNX file with the engine's preprocessing, not the Keras model itself, for which the project's "
    "folder and the extra keras are needed",
}
_NAMES = {"keras": "Keras", "original": "original", "fp32": "fp32"}
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", sans-serif; color: #23272e; background: #fff; margin: 2.5rem auto;
  max-width: 66rem; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .4rem; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p, figcaption { margin: .3rem 0; color: #565b63; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93em; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; text-align: right; border-bottom: 1px solid #e6e8eb; vertical-align: top; }
th { font-weight: 600; color: #565b63; border-bottom-color: #b9bec6; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:first-child { overflow-wrap: anywhere; }
.pass { color: #1e7d4f; font-weight: 600; } .fail { color: #b3261e; font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; flex: 1 1 17rem; max-width: 24rem; }
figcaption { font-size: .85em; } svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: #565b63; }
svg path { fill: none; } .frame { fill: none; stroke: #b9bec6; } .diagonal { stroke: #d5d9de; }
.threshold { stroke: #9aa0a8; stroke-dasharray: 3 3; }
.same, .flip { stroke-linecap: round; stroke-width: 3.2; stroke: #2f6fb3; stroke-opacity: .6; }
.flip { stroke: #d0342c; stroke-width: 4; stroke-opacity: .9; }
.picture { display: grid; grid-template-columns: 14rem 1fr 1fr; gap: 1.2rem; padding: 1rem 0;
  border-top: 1px solid #e6e8eb; }
.picture img { max-width: 100%; border-radius: 4px; } .picture p { font-size: .85em; overflow-wrap: anywhere; }
.picture h4 { font-size: .85rem; margin: 0 0 .3rem; color: #565b63; }
ul { list-style: none; margin: 0; padding: 0; font-size: .85em; columns: 2; column-gap: 1.2rem; }
li { display: flex; justify-content: space-between; gap: .5rem; overflow-wrap: anywhere; break-inside: avoid; }
li span { font-variant-numeric: tabular-nums; color: #565b63; }
li.alone { color: #b3261e; font-weight: 600; } li.alone span { color: inherit; }
@media (max-width: 45rem) { .picture { grid-template-columns: 1fr; } }
"""


def report(found: Comparison) -> str:
    """The whole document. Pictures are read again, one at a time, for their thumbnails."""
    title = f"Parity report: {found.model.project}"
    body = "".join(
        [
            f"<h1>{escape(title)}</h1>",
            *_introduction(found),
            _summary(found),
            "<h2>By category</h2>",
            _categories(found),
            "<h2>Scores</h2>",
            _plots(found),
            *(part for name in found.parity for part in _details(found, name)),
        ]
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body>{body}</body></html>\n"
    )


def _introduction(found: Comparison) -> Iterator[str]:
    skipped = f"; {found.skipped:,} files passed over: broken, or no pictures" if found.skipped else ""
    apart = ""
    if found.undecoded:
        apart += f" {found.undecoded:,} of the pictures TensorFlow does not decode, so the engine did it for both."
    if found.missed:
        names = ", ".join(escape(path.name) for path in found.missed[:_LISTED])
        apart += f" Of the files passed over it does read {len(found.missed):,}: {names}."
    yield (
        f"<p>{len(found.pictures):,} pictures of {escape(str(found.folder))}, {found.day.isoformat()}{skipped}. "
        f"Reference: {_REFERENCES[found.reference]}.{apart} Each precision ran on the CPU. "
        f"A tag is given from a score of {found.threshold:g} on.</p>"
    )
    yield (
        "<p>With A and B the two tag sets of a picture, the distance is the mean of |A xor B| / |A or B| over the "
        "pictures where not both are empty. fp32 passes if no tag differs unless the reference's score is within "
        f"{MARGIN:g} of the threshold; the others if the distance is at most {LIMIT:.0%}, overall and within each "
        f"category of which the reference gives {ENOUGH} tags or more.</p>"
    )


def _summary(found: Comparison) -> str:
    columns = ["precision", "verdict", "largest difference", "mean difference", "tags given by the reference"]
    columns += ["tags that differ", f"beyond {MARGIN:g} of the threshold", "distance"]
    positives = sum(one.positives for one in next(iter(found.parity.values())).by_category.values())
    return "<h2>Verdicts</h2>" + _table(columns, [_summary_row(n, p, positives) for n, p in found.parity.items()])


def _summary_row(name: str, one: Parity, positives: int) -> list[str]:
    verdict = "pass" if one.passed else "fail"
    return [
        name,
        f'<span class="{verdict}">{verdict}</span>',
        _number(one.max_difference),
        _number(one.mean_difference),
        f"{positives:,}",
        f"{one.flips:,}",
        f"{one.flips_beyond_margin:,}",
        _percent(one.jaccard),
    ]


def _categories(found: Comparison) -> str:
    columns = ["category", "tags given by the reference"]
    columns += [f"{name}: {what}" for name in found.parity for what in ("differ", "distance")]
    rows = []
    for category, first in next(iter(found.parity.values())).by_category.items():
        row = [escape(category), f"{first.positives:,}"]
        for parity in found.parity.values():
            one = parity.by_category[category]
            failed = one.positives >= ENOUGH and one.jaccard is not None and one.jaccard > LIMIT
            row += [
                f"{one.flips:,}",
                f'<span class="fail">{_percent(one.jaccard)}</span>' if failed else _percent(one.jaccard),
            ]
        rows.append(row)
    return _table(columns, rows)


def _plots(found: Comparison) -> str:
    reference = _NAMES[found.reference]
    plots = (scatter(found.expected, s, found.threshold, reference, name) for name, s in found.scores.items())
    return f'<div class="plots">{"".join(plots)}</div>'


def _details(found: Comparison, name: str) -> Iterator[str]:
    a, b = given(found.expected, found.threshold), given(found.scores[name], found.threshold)
    gained, lost = (b & ~a).sum(axis=0), (a & ~b).sum(axis=0)
    order = [int(i) for i in np.argsort(-(gained + lost), kind="stable")[:_TAGS] if gained[i] + lost[i]]
    yield f"<h2>{name}</h2>"
    if order:
        yield f"<h3>Tags that differ{' most often' if len(order) == _TAGS else ''}</h3>"
        columns = ("tag", "category", "given by the reference", f"only by {_NAMES[found.reference]}", f"only by {name}")
        yield _table(columns, [_tag_row(found, i, int(a[:, i].sum()), lost[i], gained[i]) for i in order])
        yield "<h3>Pictures whose tags differ most</h3>"
    else:
        yield "<p>No tag of any picture differs.</p><h3>Pictures whose scores differ most</h3>"
    yield from (_picture(found, name, number) for number in _worst(found, name))


def _worst(found: Comparison, name: str) -> list[int]:
    """The pictures whose tags differ most; if none do, those whose scores do."""
    apart = distances(given(found.expected, found.threshold), given(found.scores[name], found.threshold))
    apart = np.nan_to_num(apart)
    ranked = np.lexsort((-np.abs(found.expected - found.scores[name]).max(axis=1), -apart))
    return [int(i) for i in ranked[:_WORST] if apart[i]] or ranked[:_CLOSE].tolist()


def _tag_row(found: Comparison, tag: int, positives: int, lost: int, gained: int) -> list[str]:
    names = escape(found.model.tags[tag]), escape(found.model.categories[tag])
    return [*names, f"{positives:,}", f"{lost:,}", f"{gained:,}"]


def _picture(found: Comparison, name: str, number: int) -> str:
    path = found.pictures[number]
    shown = path.relative_to(found.folder) if path.is_relative_to(found.folder) else path
    sides = found.expected[number], found.scores[name][number]
    difference = np.abs(sides[0] - sides[1])
    farthest = int(np.argmax(difference))
    sets = [given(scores, found.threshold) for scores in sides]
    lists = "".join(
        f"<div><h4>{title}, {int(own.sum())} tags</h4>{_tag_list(found.model.tags, scores, own, ~other)}</div>"
        for title, scores, own, other in zip((_NAMES[found.reference], name), sides, sets, sets[::-1], strict=True)
    )
    return (
        f'<div class="picture"><div>{_thumbnail(path)}<p>{escape(str(shown))}<br>'
        f"largest difference {_number(float(difference[farthest]))}, {escape(found.model.tags[farthest])}</p></div>"
        f"{lists}</div>"
    )


def _tag_list(tags: Sequence[str], scores: Scores, own: npt.NDArray[np.bool_], alone: npt.NDArray[np.bool_]) -> str:
    """The tags of one side: first what only it gives, then by score."""
    found = np.flatnonzero(own)
    order = found[np.lexsort((-scores[found], ~alone[found]))].tolist()
    items = "".join(
        f"<li{' class=alone' if alone[i] else ''}>{escape(tags[i])} <span>{scores[i]:.3f}</span></li>"
        for i in order[:_LISTED]
    )
    more = f"<p>and {len(order) - _LISTED:,} more</p>" if len(order) > _LISTED else ""
    return f"<ul>{items}</ul>{more}"


def _thumbnail(path: Path) -> str:
    rgb = read(path)
    if rgb is None:  # it was there a moment ago
        return ""
    scale = min(1.0, _THUMBNAIL / max(rgb.shape[:2]))
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode("ascii")}">'


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """`rows` hold HTML."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _number(value: float | None) -> str:
    return "no number" if value is None else f"{value:.2g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"
