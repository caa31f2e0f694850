"""Tables of a result for people, the same on the terminal and on the HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

Figure = Mapping[str, Any]
ESTIMATED = "An estimate from published peaks and an assumed efficiency; nothing here was measured on a card."
FIRST = "GTX 1650"
"""The card of the engine's first user."""
UNITS = {"empty_stages": " µs", "huge_pictures": " MB"}


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: what it shows, its columns (the first is text, the others are right-aligned), its lines, its notes."""

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def tables(result: Mapping[str, Any]) -> list[Rows]:
    """All tables of a result, whichever command it is from."""
    return _TABLES[result["command"]](result)


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the tables, and below them the machine."""
    for rows in tables(result):
        table = Table(title=rows.title, title_justify="left")
        for number, column in enumerate(rows.columns):
            table.add_column(column, justify="right" if number else "left")
        for line in rows.lines:
            table.add_row(*line)
        console.print(table)
        for note in rows.notes:
            console.print(note, highlight=False)
    console.print(machine_line(result), style="dim", highlight=False)


def machine_line(result: Mapping[str, Any]) -> str:
    """Machine, versions, commit and date in one line."""
    m = result["machine"]
    return (
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gb']:g} GB, {m['os']}, {m['gpu']}; "
        f"ONNX Runtime {result['versions'].get('onnxruntime') or result['versions'].get('onnxruntime-gpu', '?')}, "
        f"commit {result['commit']}, {result['date'][:10]}"
    )


def text(found: Figure | None, none: str = "no GPU") -> str:
    """Median and spread of a figure: `1.35 (1.30-1.38)`."""
    if found is None:
        return none
    median = number(found["median"])
    spread = f"{number(found['low'])}-{number(found['high'])}"
    return median if found["low"] == found["high"] else f"{median} ({spread})"


def number(value: float) -> str:
    """Three significant digits, or whole numbers with separated thousands: `0.844`, `12.3`, `1,204`."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def span(low: float, high: float) -> str:
    """A range, such as `11-22` or `0.4-0.9`."""
    digits = 0 if low >= 5 else 1
    return f"{low:,.{digits}f}-{high:,.{digits}f}"


def _compare(result: Mapping[str, Any]) -> list[Rows]:
    columns = ("", "device", "images/s", "first tag, s", "peak RSS, MB", "peak VRAM, MB", "requests", "other tags")
    lines = [
        (
            name,
            row["device"],
            text(row["images_per_second"]),
            text(row["first_tag_seconds"]),
            text(row["peak_rss_mb"]),
            text(row["peak_vram_mb"]),
            f"{row['requests']:,}",
            f"{row['differences']['tags']} of {row['differences']['of']}",
        )
        for name, row in result["rows"].items()
    ]
    notes = [
        f"{result['images']} pictures, threshold {result['threshold']}, "
        f"median of {result['rounds']} interleaved rounds and its spread. images/s from the first question to the API "
        "to the last tag; first tag from the start of the process; other tags: against the first row's.",
        *(f"images/s, {name}: {text(ratio)}" for name, ratio in result["ratios"].items()),
    ]
    return [Rows(f"{result['title']}: the same pictures through each", columns, lines, notes)]


def _sweep(result: Mapping[str, Any]) -> list[Rows]:
    columns = ("precision", "batch", "device", "images/s", "latency, ms", "start, s", "peak RSS, MB", "peak VRAM, MB")
    lines = []
    for row in sorted(result["rows"], key=lambda row: (row["precision"], row["batch"])):
        if "failed" in row:
            lines.append((row["precision"], str(row["batch"]), "does not fit", *[""] * 5))
            continue
        figures = ("images_per_second", "latency_ms", "start_seconds", "peak_rss_mb", "peak_vram_mb")
        lines.append((row["precision"], str(row["batch"]), row["device"], *(text(row[key]) for key in figures)))
    notes = [f"{row['precision']}, batch {row['batch']}: {row['failed']}" for row in result["rows"] if "failed" in row]
    return [Rows(f"{result['title']}: batch by precision, the session alone", columns, lines, notes)]


def _pipeline(result: Mapping[str, Any]) -> list[Rows]:
    lines = [
        (
            check["what"],
            text(check["value"]) + UNITS.get(key, ""),
            f"{'>=' if check['at_least'] else '<='} {check['target']:g}",
            check["verdict"],
        )
        for key, check in result["checks"].items()
    ]
    beside = [
        (f"{key}: {name.replace('_', ' ')}", text(found))
        for key, check in result["checks"].items()
        for name, found in check["beside"].items()
    ]
    note = f"Median of {result['pairs']} interleaved pairs (memory: of 3) and the interval that holds it with 95 %."
    return [
        Rows("The pipeline against its targets", ("", "measured", "target", "verdict"), lines, [note]),
        Rows("Measured beside them", ("", "median (spread)"), beside),
    ]


def _estimate(result: Mapping[str, Any]) -> list[Rows]:
    lines = [
        (
            f"{row['card']}, {row['precision']}",
            f"{row['peak_tflops']:g}",
            span(*row["images_per_second"]),
            span(*row["minutes"]),
        )
        for row in result["rows"]
    ]
    low, high = result["efficiency"]
    notes = [f"{ESTIMATED} {result['gflop']:g} GFLOP an image, {low:.0%} to {high:.0%} of the peak."]
    notes += [row["sentence"] for row in result["rows"] if row["card"] == FIRST]
    columns = ("card", "peak, TFLOP/s", "images/s", f"{result['images']:,} pictures, min")
    return [Rows(f"{result['title']}: estimate", columns, lines, notes)]


def _fit(result: Mapping[str, Any]) -> list[Rows]:
    lines = [
        (
            row["pictures"],
            text(row["engine"]),
            text(row["original"]),
            text(row["ratio"]),
            f"<= {row['target']:.2f}",
            row["verdict"],
            text(row["by_threads"]),
        )
        for row in result["rows"]
    ]
    threads = result["rows"][0]["threads"]
    columns = ("pictures", "engine, ms", "original, ms", "ratio", "target", "verdict", f"engine by {threads} threads")
    notes = [
        "After decoding, one thread each, in turns; medians with their spread. By threads: how many times as many "
        "pictures the engine fits on one thread for each core as on one."
    ]
    return [Rows(f"Fitting onto {result['side']} x {result['side']}", columns, lines, notes)]


def _delivery(result: Mapping[str, Any]) -> list[Rows]:
    lines = [(side, text(row["cpu_ms"]), text(row["records_per_second"])) for side, row in result["rows"].items()]
    notes = [
        f"CPU of the engine / CPU of httpx: {text(result['ratio'])}, target <= {result['target']:g}: "
        f"{result['verdict']}.",
        f"{result['records']:,} records a turn on {result['connections']} connections to a service in another process "
        f"that answers {result['latency_ms']:g} ms late; median of {result['pairs']} interleaved pairs and its spread.",
    ]
    return [Rows("Posting one tag a call", ("", "CPU, ms a record", "records/s"), lines, notes)]


def _service(result: Mapping[str, Any]) -> list[Rows]:
    lines = [(name, f"{row['median_ms']:g}", f"{row['p95_ms']:g}") for name, row in result["rows"].items()]
    target = f"; target {result['target_ms']:g} ms" if result["target_ms"] else ""
    notes = [
        f"Each asked {result['times']} times{target}. The library's file has {result['file_mb']:g} MB, its index takes "
        f"{result['memory_mb']:g} MB of memory and is there {result['ready_s']:g} s after the start."
    ]
    title = f"Searches among {result['pictures']:,} pictures with tags out of {result['tags']:,}"
    searches = Rows(title, ("", "median, ms", "95th percentile, ms"), lines, notes)
    if "curation" not in result:  # of before it was measured
        return [searches]
    spent = [(name, f"{1000 * seconds:,.0f}") for name, seconds in result["curation"].items()]
    note = f"Each once; target of the edit {1000 * result['target_edit_s']:,.0f} ms."
    return [searches, Rows("Editing and review", ("", "ms"), spent, [note])]


def _similar(result: Mapping[str, Any]) -> list[Rows]:
    lines = [(name, f"{row['median_ms']:g}", f"{row['p95_ms']:g}") for name, row in result["rows"].items()]
    recall, copies, targets = result["recall"], result["copies"], result["targets"]
    notes = [
        f"Each asked {result['times']} times; target {targets['p95_ms']:g} ms among 100,000. Of the exact 50 nearest "
        f"{recall['mean']:.1%} are found, in the worst case {recall['worst']:.0%} (target {targets['recall']:.0%}). "
        f"A picture takes {result['memory_bytes']:,} bytes of memory (target {targets['memory_bytes']:,}) and "
        f"{result['file_bytes']:,} of the file; the index is there {result['ready_s']:g} s after the start. "
        f"{copies['groups']:,} groups of copies in {copies['seconds']:g} s."
    ]
    title = f"Similar pictures among {result['pictures']:,} with {result['dimensions']:,} features"
    return [Rows(title, ("", "median, ms", "95th percentile, ms"), lines, notes)]


def _tags(result: Mapping[str, Any]) -> list[Rows]:
    lines = [(name, f"{row['p50_ms']:g}", f"{row['p95_ms']:g}") for name, row in result["rows"].items()]
    targets = result["targets"]
    notes = [
        f"Each typed {result['times']} times; target {targets['p95_ms']:g} ms. Ready {result['ready_s']:g} s after the "
        f"start (target {targets['ready_s']:g}), with {result['peak_mb']:g} MB of memory at most (target "
        f"{targets['peak_mb']:g}); the file has {result['file_mb']:g} MB. Import: {result['import_s']:g} s."
    ]
    title = f"Suggestions from a dictionary of {result['names']:,} names"
    return [Rows(title, ("what is typed", "median, ms", "95th percentile, ms"), lines, notes)]


def _devices(result: Mapping[str, Any]) -> list[Rows]:
    columns = (
        "",
        "alone, images/s",
        "from file to API",
        "against the first",
        "CPU s/image",
        "start, s",
        "peak RSS, MB",
        "other tags",
    )
    lines = [
        (
            name,
            text(row["alone"]),
            text(row["from file to API"]),
            _against(result["ratios"].get(name)),
            text(row["cpu_seconds_an_image"]),
            text(row["start_seconds"]),
            text(row["peak_rss_mb"]),
            f"{row['differences']['tags']:,} of {row['differences']['of']:,}",
        )
        for name, row in result["rows"].items()
    ]
    notes = [
        f"{result['images']} pictures, batches of {result['batch']}, threshold {result['threshold']:g}, median of "
        f"{result['rounds']} interleaved rounds and its spread. Against the first row: alone, "
        "from file to API, by CPU time.",
        *(
            f"{name}: wanted {check['target']:g} x, measured {text(check['value'])}: {check['verdict']}"
            for name, check in result["checks"].items()
        ),
    ]
    return [Rows(result["title"], columns, lines, notes)]


def _against(ratios: Mapping[str, Any] | None) -> str:
    return " / ".join(f"x {number(found['median'])}" for found in ratios.values()) if ratios else ""


def _retag(result: Mapping[str, Any]) -> list[Rows]:
    columns = ("engine retag", "s", "of which for the scores", "pictures that change", "records posted")
    lines = [
        (
            flags,
            text(row["seconds"]),
            text(row["seconds_scores"]),
            f"{row['changed']:,}",
            f"{row['records']:,}",
        )
        for flags, row in result["rows"].items()
    ]
    target = f"; target {result['target_s']:g} s" if result["target_s"] else ""
    notes = [
        f"From {result['before']}, each {result['times']} times; the whole process{target}. With --library it "
        "stores the tags besides, in the embedded service; else they go to another process, which answers at once. "
        f"{result['scores']} scores take {result['bytes_a_picture']:,} bytes a picture of the "
        f"state file; target {result['target_bytes']:,}."
    ]
    return [Rows(f"Other thresholds for {result['pictures']:,} pictures by kept scores", columns, lines, notes)]


def _storage(result: Mapping[str, Any]) -> list[Rows]:
    found = []
    for place in dict.fromkeys(row["place"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["place"] == place]
        lines = [(str(row["readers"]), text(row["engine"]), text(row["alone"]), text(row["ratio"])) for row in rows]
        columns = ("readers", "engine, files/s", f"{rows[0]['library']} alone, files/s", "ratio")
        found.append(Rows(place, columns, lines))
    notes = [
        f"{result['files']} files of {result['kb']} kB, read again and again for {result['seconds']:g} s a point; "
        f"median of {result['rounds']} interleaved rounds and its spread. 20 ms: an open of a file, or a request, "
        "takes so much longer.",
        *result["skipped"],
    ]
    return [*found[:-1], replace(found[-1], notes=notes)]


def _cluster(result: Mapping[str, Any]) -> list[Rows]:
    columns = (
        "sessions",
        "images/s",
        "of linear",
        "target",
        "verdict",
        "own CPU, ms a picture",
        "rows, kB",
        "to another node",
        "scores, kB",
    )
    lines = []
    for row in result["rows"]:
        check = result["checks"].get(str(row["sessions"]))
        lines.append(
            (
                f"{row['sessions']} by Ray" if row["sessions"] else "1, plain engine run",
                text(row["images_per_second"]),
                text(row["of_linear"]),
                f">= {check['target']:g}" if check else "",
                check["verdict"] if check else "",
                text(row["driver_cpu_ms"]),
                *(number(row[key]["median"]) for key in ("rows_kb", "rows_between_nodes_kb", "scores_kb")),
            )
        )
    alone = result["driver"]
    notes = [
        f"Sessions that wait at {result['pace']:g} images/s, {result['nodes']} nodes of Ray on this machine, small "
        f"pictures, {result['seconds']:g} s a run without its beginning; median of {result['rounds']} rounds in turns "
        "and their spread. Own CPU: of the process of the run. kB a picture.",
        f"The run's own machine alone, scores into tags, ledger and delivery in bulk: "
        f"{text(alone['images_per_second'])} images/s, {text(alone['records_per_second'])} records/s.",
    ]
    return [Rows("Throughput by sessions of a cluster", columns, lines, notes)]


def _nodes(result: Mapping[str, Any]) -> list[Rows]:
    lines = [
        (
            row["name"],
            f"{row['images_per_second']:,.0f}",
            "" if row["gpus"] is None else f"{row['gpus']:,.0f}",
            f"{row['hours']:,.1f}",
            row["why"],
        )
        for row in result["rows"]
    ]
    columns = ("what can limit", "images/s", "reached by GPUs", f"{result['images']:,} pictures, h", "from")
    notes = [
        f"An estimate from the figures given; nothing here was measured in a cluster of {result['nodes']:,}.",
        f"{result['sentence']}. Each GPU needs about {result['cores_a_gpu']:g} cores for decoding.",
    ]
    return [Rows(f"{result['title']}: what limits a cluster", columns, lines, notes)]


_TABLES = {
    "cluster": _cluster,
    "nodes": _nodes,
    "compare": _compare,
    "devices": _devices,
    "sweep": _sweep,
    "pipeline": _pipeline,
    "estimate": _estimate,
    "fit": _fit,
    "delivery": _delivery,
    "service": _service,
    "similar": _similar,
    "tags": _tags,
    "retag": _retag,
    "storage": _storage,
}
