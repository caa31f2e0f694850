"""The plots of a result, as SVG elements for the HTML page."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#33373d",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "xtick.color": "#565b63",
    "ytick.color": "#565b63",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small, and searchable
    "svg.hashsalt": "bench",
}
PLAIN = FuncFormatter(lambda value, _: f"{value:,g}")
COLOURS = ("#3566b8", "#d9822b", "#3a9a6d", "#a3459c", "#7a7f87")
KINDS = {
    "busy": ("#3566b8", "busy"),
    "waiting_in": ("#cfd6e1", "waiting for input"),
    "waiting_out": ("#efb45c", "waiting for room"),
}


def plots(result: Mapping[str, Any]) -> list[str]:
    """The SVG elements for a result of any command."""
    with mpl.rc_context(STYLE):
        return [_svg(made) for made in _PLOTS[result["command"]](result)]


def _compare(result: Mapping[str, Any]) -> list[Figure]:
    rows = result["rows"]
    figure, (rate, requests) = _figure(1, 2, height=0.6 + 0.55 * len(rows))
    for axes, key, label in ((rate, "images_per_second", "images/s"), (requests, "requests", "requests (log scale)")):
        values = [row[key]["median"] if isinstance(row[key], Mapping) else row[key] for row in rows.values()]
        bars = axes.barh(list(rows), values, color=COLOURS[: len(rows)], height=0.6)
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")
        shown = "{:,.3g}" if key != "requests" else "{:,.0f}"
        axes.bar_label(bars, fmt=shown, label_type="center", color="white", fontweight="bold")
    low = [row["images_per_second"]["median"] - row["images_per_second"]["low"] for row in rows.values()]
    high = [row["images_per_second"]["high"] - row["images_per_second"]["median"] for row in rows.values()]
    medians = [row["images_per_second"]["median"] for row in rows.values()]
    rate.errorbar(medians, list(rows), xerr=(low, high), fmt="none", ecolor="#33373d", elinewidth=1, capsize=3)
    requests.set(xscale="log", xlim=(1, None))
    requests.xaxis.set_major_formatter(PLAIN)
    requests.set_yticklabels([])
    rate.set_title("Throughput")
    requests.set_title("Requests to the API")
    return [figure, _memory({name: row["rss"] for name, row in rows.items()}, "Memory over a run, start included")]


def _devices(result: Mapping[str, Any]) -> list[Figure]:
    rows = result["rows"]
    figure, parts = _figure(1, 2, height=0.6 + 0.55 * len(rows))
    for axes, key in zip(parts, ("alone", "from file to API"), strict=True):
        values = [row[key]["median"] for row in rows.values()]
        bars = axes.barh(list(rows), values, color=COLOURS[0], height=0.6)
        axes.invert_yaxis()
        axes.set(title=key, xlabel="images/s")
        axes.grid(visible=False, axis="y")
        axes.bar_label(bars, fmt="{:,.3g}", label_type="center", color="white", fontweight="bold")
    return [figure]


def _sweep(result: Mapping[str, Any]) -> list[Figure]:
    figure, (rate, latency, memory) = _figure(1, 3, height=3.2)
    precisions = sorted({row["precision"] for row in result["rows"] if "failed" not in row})
    for colour, precision in zip(COLOURS, precisions, strict=False):
        rows = sorted(
            (row for row in result["rows"] if row["precision"] == precision and "failed" not in row),
            key=lambda row: int(row["batch"]),
        )
        batches = [row["batch"] for row in rows]
        for axes, key in ((rate, "images_per_second"), (latency, "latency_ms"), (memory, "peak_rss_mb")):
            middle = [row[key]["median"] for row in rows]
            axes.plot(batches, middle, "o-", color=colour, label=precision, markersize=4)
            axes.fill_between(
                batches,
                [row[key]["low"] for row in rows],
                [row[key]["high"] for row in rows],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
    for axes, title, label in (
        (rate, "Throughput by batch", "images/s"),
        (latency, "Latency of a batch", "ms"),
        (memory, "Peak memory", "RSS, MB"),
    ):
        axes.set(title=title, xlabel="batch size", ylabel=label, ylim=(0, None), xscale="log")
        ticks = sorted({row["batch"] for row in result["rows"]})
        axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axes.minorticks_off()
    rate.legend()
    return [figure]


def _pipeline(result: Mapping[str, Any]) -> list[Figure]:
    titles = {
        "full_size": "What the stages do: a real model on the CPU",
        "paced": "What the stages do: a paced session (200 ms for 16), 20 ms more for every read",
    }
    made = [_timeline(timeline, titles[name]) for name, timeline in result["timelines"].items()]
    return [*made, _memory(result["rss"], "Memory over a run: many tiny pictures")]


def _timeline(timeline: Mapping[str, Any], title: str) -> Figure:
    stages = timeline["stages"]
    figure, rows = _figure(len(stages), 1, height=0.75 * len(stages) + 1, sharex=True)
    for axes, (name, stage) in zip(rows, stages.items(), strict=True):
        edges = [i * timeline["bin_s"] for i in range(len(stage["busy"]) + 1)]
        bottom = [0.0] * len(stage["busy"])
        for kind, (colour, label) in KINDS.items():
            top = [min(1.0, b + share) for b, share in zip(bottom, stage[kind], strict=True)]
            axes.stairs(top, edges, baseline=bottom, fill=True, color=colour, label=label, linewidth=0)
            bottom = top
        axes.set(ylim=(0, 1), yticks=[], xlim=(0, edges[-1]))
        threads = f"{stage['threads']} thread{'s' if stage['threads'] > 1 else ''}"
        axes.set_ylabel(f"{name}\n{threads}", rotation=0, ha="right", va="center")
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
    rows[0].set_title(title, pad=26)
    rows[0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.1, handlelength=1.2)
    rows[-1].set_xlabel("seconds; height: share of the stage's threads")
    return figure


def _memory(series: Mapping[str, Any], title: str) -> Figure:
    figure, (axes,) = _figure(1, 1, height=2.8)
    for colour, (name, points) in zip(COLOURS, series.items(), strict=False):
        axes.plot([t for t, _ in points], [mb for _, mb in points], color=colour, label=name, linewidth=1.6)
    axes.set(title=title, xlabel="seconds", ylabel="RSS, MB", xlim=(0, None))
    axes.set_ylim(0, 1.1 * max(mb for points in series.values() for _, mb in points))
    axes.legend(loc="best")
    return figure


def _estimate(result: Mapping[str, Any]) -> list[Figure]:
    rows = result["rows"]
    figure, (axes,) = _figure(1, 1, height=0.8 + 0.3 * len(rows))
    names = [f"{row['card']}, {row['precision']}" for row in rows]
    low = [row["images_per_second"][0] for row in rows]
    width = [row["images_per_second"][1] - row["images_per_second"][0] for row in rows]
    colours = [COLOURS[0] if row["precision"] == "fp32" else COLOURS[1] for row in rows]
    axes.barh(names, width, left=low, color=colours, height=0.55)
    axes.invert_yaxis()
    axes.set(
        title="Estimate, not measured",
        xlabel="images/s (log scale); blue fp32, orange fp16",
        xscale="log",
        xlim=(8, None),
    )
    axes.xaxis.set_major_formatter(PLAIN)
    axes.grid(visible=False, axis="y")
    return [figure]


def _fit(result: Mapping[str, Any]) -> list[Figure]:
    figure, (axes,) = _figure(1, 1, height=2.9)
    names = [f"{row['pictures']}: {side}" for row in result["rows"] for side in ("engine", "original")]
    times = [row[side]["median"] for row in result["rows"] for side in ("engine", "original")]
    axes.barh(names, times, color=[COLOURS[0], COLOURS[1]] * len(result["rows"]), height=0.55)
    axes.invert_yaxis()
    axes.set(title="Fitting alone, one thread", xlabel="ms a picture")
    axes.grid(visible=False, axis="y")
    return [figure]


def _delivery(result: Mapping[str, Any]) -> list[Figure]:
    figure, (axes,) = _figure(1, 1, height=1.8)
    rows = result["rows"]
    axes.barh(list(rows), [row["cpu_ms"]["median"] for row in rows.values()], color=COLOURS[:2], height=0.55)
    axes.invert_yaxis()
    axes.set(title="Posting one tag a call", xlabel="ms of processor time a record")
    axes.grid(visible=False, axis="y")
    return [figure]


def _service(result: Mapping[str, Any]) -> list[Figure]:
    title = f"Searches among {result['pictures']:,} pictures"
    return _latencies(title, "median_ms", result["rows"], result["target_ms"])


def _similar(result: Mapping[str, Any]) -> list[Figure]:
    title = f"Similar pictures among {result['pictures']:,}"
    return _latencies(title, "median_ms", result["rows"], result["targets"]["p95_ms"])


def _tags(result: Mapping[str, Any]) -> list[Figure]:
    return _latencies(
        f"Suggestions of {result['names']:,} names", "p50_ms", result["rows"], result["targets"]["p95_ms"]
    )


def _latencies(title: str, median: str, rows: Mapping[str, Any], target: float | None) -> list[Figure]:
    figure, (axes,) = _figure(1, 1, height=3.0)
    axes.barh(
        list(rows), [row["p95_ms"] for row in rows.values()], color=COLOURS[1], height=0.6, label="slowest 5 % from"
    )
    axes.barh(list(rows), [row[median] for row in rows.values()], color=COLOURS[0], height=0.6, label="median")
    if target:
        axes.axvline(target, color=COLOURS[2], linestyle="--", label="target")
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="lower right")
    axes.set(title=title, xlabel="ms")
    axes.grid(visible=False, axis="y")
    return [figure]


def _retag(result: Mapping[str, Any]) -> list[Figure]:
    figure, (axes,) = _figure(1, 1, height=1.8)
    rows = result["rows"]
    names = list(rows)
    axes.barh(names, [row["seconds"]["median"] for row in rows.values()], color=COLOURS[0], height=0.55, label="in all")
    axes.barh(
        names, [row["seconds_scores"]["median"] for row in rows.values()], color=COLOURS[1], height=0.55, label="scores"
    )
    if result["target_s"]:
        axes.axvline(result["target_s"], color=COLOURS[2], linestyle="--", label="target")
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="lower right")
    axes.set(title=f"engine retag of {result['pictures']:,} pictures", xlabel="s")
    axes.grid(visible=False, axis="y")
    return [figure]


def _storage(result: Mapping[str, Any]) -> list[Figure]:
    places = list(dict.fromkeys(row["place"] for row in result["rows"]))
    height = (len(places) + 1) // 2
    figure, axes = _figure(height, 2, height=2.9 * height)
    for place, each in zip(places, axes, strict=False):
        rows = [row for row in result["rows"] if row["place"] == place]
        readers = [row["readers"] for row in rows]
        for side, label, colour in (("engine", "engine", COLOURS[0]), ("alone", rows[0]["library"], COLOURS[1])):
            each.plot(readers, [row[side]["median"] for row in rows], "o-", color=colour, label=label, markersize=4)
            each.fill_between(
                readers,
                [row[side]["low"] for row in rows],
                [row[side]["high"] for row in rows],
                color=colour,
                alpha=0.2,
            )
        each.set_xscale("log", base=2)
        each.set_xticks(readers, [str(number) for number in readers])
        each.set_ylim(bottom=0)
        each.set(title=place, xlabel="readers", ylabel="files/s")
        each.legend(frameon=False)
    for unused in axes[len(places) :]:
        unused.set_visible(False)
    return [figure]


def _cluster(result: Mapping[str, Any]) -> list[Figure]:
    figure, (axes,) = _figure(1, 1, height=3.4)
    rows = [row for row in result["rows"] if row["sessions"]]
    sessions = [row["sessions"] for row in rows]
    rates = [row["images_per_second"] for row in rows]
    plain = next(row for row in result["rows"] if not row["sessions"])["images_per_second"]["median"]
    axes.plot(sessions, [result["pace"] * one for one in sessions], "--", color=COLOURS[4], label="linear")
    axes.plot(sessions, [one["median"] for one in rates], "o-", color=COLOURS[0], label="by Ray")
    axes.fill_between(
        sessions, [one["low"] for one in rates], [one["high"] for one in rates], color=COLOURS[0], alpha=0.2
    )
    axes.plot([1], [plain], "s", color=COLOURS[1], label="plain engine run")
    axes.set(title="Throughput by sessions", xlabel="sessions", ylabel="images/s", xlim=(0, None), ylim=(0, None))
    axes.set_xticks(sessions)
    axes.legend()
    return [figure]


def _nodes(result: Mapping[str, Any]) -> list[Figure]:
    figure, (axes,) = _figure(1, 1, height=2.8)
    rows = result["rows"]
    colours = [COLOURS[1] if not number else COLOURS[0] for number in range(len(rows))]
    axes.barh([row["name"] for row in rows], [row["images_per_second"] for row in rows], color=colours, height=0.55)
    axes.invert_yaxis()
    axes.set(title="Estimate, not measured", xlabel="images/s (log scale); orange: the limit", xscale="log")
    axes.xaxis.set_major_formatter(PLAIN)
    axes.grid(visible=False, axis="y")
    return [figure]


def _figure(rows: int, columns: int, height: float, *, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9.2, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex)
    return figure, list(axes.flat)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return out.getvalue().partition("<svg")[2].join(("<svg", ""))


_PLOTS = {
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
