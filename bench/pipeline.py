"""`engine bench pipeline`: speed and memory of the pipeline, each figure compared with the target it must meet."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import pictures
from bench.new_process import in_new_process
from bench.stats import figure, verdict
from engine.config import RunConfig
from engine.model.folder import open_model

Pair = Mapping[str, float]
BYTES_A_PIXEL = 3


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; the defaults are what the committed results were made with."""

    pairs: int = 9
    full: int = 24
    paced: int = 960
    null: int = 12_000  # as many as the original's job had, so that filling the read-ahead at the start hardly counts
    empty: int = 10_000
    kept: int = 2_000
    tiny: tuple[int, int] = (2_000, 20_000)
    huge: int = 6
    huge_side: int = 7746  # 60 MP
    canvas: int = 64


def measure(
    model: Path | None, precision: str, size: Size, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """All figures, the quick ones first; the full-size one only with a model folder.

    Returns `checks` and what the plots need.
    """
    if model:
        # Used last. A wrong name is told now, not after ten minutes of other measurements.
        open_model(model).precision(precision)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        web, large, tiny = (str(work / name) for name in ("web", "large", "tiny"))
        pictures.write(Path(web), 64, pictures.WEB)
        pictures.write(Path(large), min(12, size.full), pictures.LARGE)
        pictures.write(Path(tiny), 1, ((16, 16),))
        timelines: dict[str, Any] = {}
        progress("memory: many tiny pictures")
        memory, rss = flat_memory(tiny, size)
        progress("memory: huge pictures")
        checks = {"flat_memory": memory, "huge_pictures": huge_pictures(work / "huge", size)}
        progress("d: empty stages")
        checks["empty_stages"] = empty_stages(
            in_new_process("bench.empty_pipeline:empty_stages", folder=tiny, count=size.empty, pairs=size.pairs)
        )
        progress("c: no inference")
        checks["null_session"] = null_session(
            in_new_process("bench.throughput:null_session", folder=web, count=size.null, pairs=size.pairs)
        )
        progress("e: scores that are kept")
        checks["kept_scores"] = kept_scores(
            in_new_process("bench.throughput:kept_scores", folder=web, count=size.kept, pairs=size.pairs)
        )
        progress("b: a paced session, 20 ms for every read")
        checks["paced"] = paced(
            in_new_process("bench.throughput:paced", folder=web, count=size.paced, pairs=size.pairs)
        )
        timelines["paced"] = in_new_process("bench.timeline:paced", folder=web, count=min(480, size.paced))
        if model:
            progress("a: a real model, pictures of 2 to 4 MP")
            given = {"model": str(model), "precision": precision, "folder": large, "count": size.full}
            checks["full_size"] = full_size(in_new_process("bench.throughput:full_size", **given, pairs=size.pairs))
            timelines["full_size"] = in_new_process("bench.timeline:full_size", **given)
        checks, timelines = (dict(reversed(found.items())) for found in (checks, timelines))
    return {"pairs": size.pairs, "checks": checks, "timelines": timelines, "rss": rss}


def full_size(pairs: Sequence[Pair]) -> dict[str, Any]:
    what = "end-to-end against the bound: session time / (session time + CPU time of decoding and fitting / cores)"
    return check(what, pairs, "of_bound", 0.97, at_least=True)


def paced(pairs: Sequence[Pair]) -> dict[str, Any]:
    what = "share of the run that a session of 200 ms for 16 is busy; 0.3 MP JPEGs, 20 ms more for every read"
    return check(what, pairs, "session_busy", 0.97, at_least=True)


def null_session(pairs: Sequence[Pair]) -> dict[str, Any]:
    what = "end-to-end without inference against as many threads that only decode and fit"
    return check(what, pairs, "of_loading_alone", 0.90, at_least=True)


def kept_scores(pairs: Sequence[Pair]) -> dict[str, Any]:
    what = "CPU time of a run without inference that keeps 150 scores a picture, against one that keeps none"
    return check(what, pairs, "cpu_of_without", 1.03, at_least=False)


def empty_stages(pairs: Sequence[Pair]) -> dict[str, Any]:
    what = "µs an image where no stage does any work, ledger included"
    return check(what, pairs, "us_an_image", 150, at_least=False)


def flat_memory(tiny: str, size: Size) -> tuple[dict[str, Any], dict[str, Any]]:
    """Peak RSS of many media over that of few, in pairs of fresh processes; and the last pair's memory over time."""
    few, many = size.tiny
    pairs, rss = [], {}
    for _ in range(min(3, size.pairs)):  # from run to run memory differs by less than 1 %
        runs = {n: in_new_process("bench.memory:run", folder=tiny, count=n, canvas=size.canvas) for n in (few, many)}
        rss = {f"{n:,} pictures": run["rss"] for n, run in runs.items()}
        pairs.append(
            {
                "ratio": runs[many]["peak_rss_mb"] / runs[few]["peak_rss_mb"],
                "few_peak_rss_mb": runs[few]["peak_rss_mb"],
                "many_peak_rss_mb": runs[many]["peak_rss_mb"],
            }
        )
    what = f"peak RSS with {many:,} pictures over that with {few:,}, media API and delivery included"
    return check(what, pairs, "ratio", 1.05, at_least=False), rss


def huge_pictures(folder: Path, size: Size) -> dict[str, Any]:
    """The memory that decoded pictures take, which the pixel budget of all threads together limits."""
    side = size.huge_side
    pictures.write(folder, 1, ((side, side),))
    budget = RunConfig().max_pixels

    def above(threads: int) -> float:
        run = in_new_process(
            "bench.memory:run", folder=str(folder), count=size.huge, canvas=512, decode_threads=threads
        )
        return float(run["peak_rss_mb"] - run["baseline_mb"])

    pairs = [{"above_baseline_mb": above(4), "one_thread_mb": above(1)} for _ in range(min(3, size.pairs))]
    return check(
        f"MB above an idle pipeline with {side * side / 1e6:.0f} MP pictures on 4 decode threads; "
        f"budget {budget / 1e6:.0f} MP of {BYTES_A_PIXEL} bytes for all of them, and 25 % for files and buffers",
        pairs,
        "above_baseline_mb",
        1.25 * BYTES_A_PIXEL * budget / 1e6,
        at_least=False,
    )


def check(what: str, pairs: Sequence[Pair], key: str, target: float, *, at_least: bool) -> dict[str, Any]:
    """The figure `key` of the pairs with its target and verdict; `beside` holds their other figures."""
    figures = {name: figure([pair[name] for pair in pairs]) for name in pairs[0]}
    return {
        "what": what,
        "value": figures[key].as_json(),
        "target": target,
        "at_least": at_least,
        "verdict": verdict(figures[key], target, at_least=at_least),
        "beside": {name: found.as_json() for name, found in figures.items() if name != key},
    }
