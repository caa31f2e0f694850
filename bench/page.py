"""A result as one HTML file: tables and plots, nothing loaded from anywhere."""

from collections.abc import Mapping
from html import escape
from typing import Any

from bench.output import Rows, machine_line, tables
from bench.plots import plots

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", sans-serif; color: #23272e; background: #fff; margin: 2.5rem auto;
  max-width: 62rem; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0; color: #565b63; }
table { border-collapse: collapse; width: 100%; font-size: .93em; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .5rem; text-align: right; border-bottom: 1px solid #e6e8eb;
  white-space: nowrap; vertical-align: top; }
th { font-weight: 600; color: #565b63; border-bottom-color: #b9bec6; }
th:first-child, td:first-child { text-align: left; padding-left: 0;
  white-space: normal; }
td.met { color: #1e7d4f; font-weight: 600; } td.missed { color: #b3261e; font-weight: 600; }
td.inconclusive { color: #9a6300; font-weight: 600; }
svg { width: 100%; height: auto; margin: 1.4rem 0 0; }
svg text { font-family: system-ui, "Segoe UI", sans-serif !important; }
"""


def page(result: Mapping[str, Any]) -> str:
    """The whole document."""
    title = f"engine bench {result['command']}"
    body = "".join(_table(rows) for rows in tables(result)) + "<h2>Plots</h2>" + "".join(plots(result))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1><p>{escape(machine_line(result))}</p>{body}</body></html>\n"
    )


def _table(rows: Rows) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in rows.columns)
    lines = "".join("<tr>" + "".join(map(_cell, line)) + "</tr>\n" for line in rows.lines)
    notes = "".join(f"<p>{escape(note)}</p>" for note in rows.notes)
    return f"<h2>{escape(rows.title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>{notes}"


def _cell(value: str) -> str:
    marked = f' class="{value}"' if value in ("met", "missed", "inconclusive") else ""
    return f"<td{marked}>{escape(value)}</td>"
