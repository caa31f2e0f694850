"""The README's table, made from the committed results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.compare import ENGINE
from bench.machine import ROOT
from bench.output import ESTIMATED, machine_line, number, text
from engine.errors import EngineError

RESULTS = ROOT / "bench" / "results"
README = ROOT / "README.md"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def update(readme: Path = README, results: Path = RESULTS) -> bool:
    """Write the table into the README, between its markers; False if it was right already."""
    old = readme.read_text(encoding="utf-8")
    new = between(old, table(results))
    readme.write_text(new, encoding="utf-8", newline="\n")
    return new != old


def between(document: str, content: str) -> str:
    """The document with what stands between the markers replaced. Raises `EngineError` without markers."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise EngineError(f"the README has no place for the table: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def table(results: Path = RESULTS) -> str:
    """The committed results in Markdown, one part for each result that is there."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    parts = [_PARTS[result["command"]](result) for result in found.values() if result["command"] in _PARTS]
    return "\n\n".join(parts)


def _compare(result: Mapping[str, Any]) -> str:
    lines = [
        f"**{result['title']}**, {result['images']} pictures, median of {result['rounds']} "
        "interleaved rounds (spread):",
        "",
        "| | device | images/s | first tag | peak memory | VRAM | requests | other tags |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in result["rows"].items():
        vram = "no GPU" if row["peak_vram_mb"] is None else f"{number(row['peak_vram_mb']['median'])} MB"
        lines.append(
            f"| {name} | {row['device']} | {text(row['images_per_second'])} | "
            f"{number(row['first_tag_seconds']['median'])} s | {number(row['peak_rss_mb']['median'])} MB | {vram} | "
            f"{row['requests']:,} | {row['differences']['tags']} of {row['differences']['of']} |"
        )
    ratios = [f"{name}: {text(found)}" for name, found in result["ratios"].items() if name.startswith(ENGINE)]
    return "\n".join([*lines, "", f"images/s, {'; '.join(ratios)}.", _measured_on(result)])


def _pipeline(result: Mapping[str, Any]) -> str:
    lines = ["| the pipeline | measured | target | |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {check['what']} | {text(check['value'])} | {'≥' if check['at_least'] else '≤'} {check['target']:g} | "
        f"{check['verdict']} |"
        for check in result["checks"].values()
    ]
    return "\n".join([*lines, "", _measured_on(result)])


def _estimate(result: Mapping[str, Any]) -> str:
    rows = [row for row in result["rows"] if row["precision"] == "fp32"]
    return "\n".join([ESTIMATED, "", *(f"- {row['sentence']}" for row in rows)])


def _fit(result: Mapping[str, Any]) -> str:
    threads = result["rows"][0]["threads"]
    lines = [
        f"| resize and warp to {result['side']} x {result['side']}, one thread | engine | original | ratio | "
        f"engine by {threads} threads |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['pictures']} | {text(row['engine'])} ms | {text(row['original'])} ms | {text(row['ratio'])} | "
        f"x {text(row['by_threads'])} |"
        for row in result["rows"]
    ]
    return "\n".join([*lines, "", _measured_on(result)])


def _storage(result: Mapping[str, Any]) -> str:
    """One line for each place: the engine's files/s by readers, and beside the library alone."""
    readers = result["readers"]
    counts = " | ".join(f"{count} reader{'s' * (count > 1)}" for count in readers)
    lines = [
        f"| files/s, files of {result['kb']} kB | {counts} | beside |",
        f"| --- |{' ---: |' * len(readers)} --- |",
    ]
    for place in dict.fromkeys(row["place"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["place"] == place]
        cells = [f"{number(row['engine']['median'])} (x {number(row['ratio']['median'])})" for row in rows]
        lines.append(f"| {place} | {' | '.join(cells)} | {rows[0]['library']} |")
    lines += ["", "In brackets: times the files/s of what stands beside, in turns in the same process."]
    return "\n".join([*lines, "", _measured_on(result)])


def _measured_on(result: Mapping[str, Any]) -> str:
    return f"Measured on {machine_line(result)}."


_PARTS = {"compare": _compare, "pipeline": _pipeline, "estimate": _estimate, "fit": _fit, "storage": _storage}
