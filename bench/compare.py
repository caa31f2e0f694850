"""`engine bench compare`: the ways in which people tag today, and the engine.

All of them tag the same pictures with the same model through the same kind of API, in turns.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import python_command
from bench.new_process import environment
from bench.process import Watched, watch
from bench.server import BULK, SEGMENT, SINGLE, TOKEN, Server, serving
from bench.stats import figure
from engine.families import family_of
from engine.model.folder import open_model

ORIGINAL, ONE_BY_ONE, ENGINE = "original", "onnx one by one", "engine"
SINGLE_LOOP, BATCHES, IMGUTILS, DEEPDANBOORU_ONNX = (
    "published loop",
    "loader + batches",
    "dghs-imgutils",
    "deepdanbooru-onnx",
)
PER_ROUND = ("images_per_second", "seconds", "first_tag_seconds", "peak_rss_mb", "peak_vram_mb")


@dataclass(frozen=True, slots=True)
class Given:
    """What is compared, and on what.

    Attributes:
        project: the DeepDanbooru project folder, for the original; None leaves it out.
        published: of a WD tagger, the folder that the model was made from.
        model: the model folder made from it.
        precisions: each is a row of the engine.
        pictures: a folder of pictures.
        keras_python: an interpreter with the extra `keras`.
        imgutils_python: one with dghs-imgutils; None leaves it out.
        imgutils_files: what it takes the model from.
        deepdanbooru_onnx_python: one with deepdanbooru-onnx; None leaves it out.
        deepdanbooru_onnx_files: what it takes the model from.
        device: the `--device` of all of them.
        threshold: the least score of a tag; None: as the family's users have it.
        latency_s: seconds that the API waits before each answer.
    """

    project: Path | None
    model: Path
    precisions: Sequence[str]
    pictures: Path
    keras_python: str = sys.executable
    device: str = "auto"
    threshold: float | None = None
    latency_s: float = 0.0
    published: Path | None = None
    imgutils_python: str | None = None
    imgutils_files: Path = Path()
    deepdanbooru_onnx_python: str | None = None
    deepdanbooru_onnx_files: Path = Path()


def compare(given: Given, rounds: int, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Let all contestants tag the pictures, `rounds` times in turn.

    Returns:
        `rows`, each with its figures over the rounds and the memory of its last one; `ratios` of images/s by pairs of
        rows, from the same round each.
    """
    names = sorted(p.relative_to(given.pictures).as_posix() for p in given.pictures.rglob("*") if p.is_file())
    taken: dict[str, list[dict[str, Any]]] = {}
    for number in range(rounds):
        for name, command in contestants(given).items():
            progress(f"round {number + 1} of {rounds}: {name}")
            taken.setdefault(name, []).append(one(given, names, command))
    reference = next(iter(taken.values()))[-1]["tags"]
    return {
        "images": len(names),
        "threshold": given.threshold if given.threshold is not None else _usual(given),
        "api_latency_s": given.latency_s,
        "rounds": rounds,
        "rows": {name: _row(results, reference) for name, results in taken.items()},
        "ratios": _ratios(taken),
    }


def contestants(given: Given) -> dict[str, Callable[[Server, Path], list[str]]]:
    """Each row's command, for a server and a folder of its own."""
    common = ["--storage", str(given.pictures), "--device", given.device]
    if given.threshold is not None:
        common += ["--threshold", str(given.threshold)]

    def script(python: str, *words: str | Path) -> Callable[[Server, Path], list[str]]:
        return lambda server, _: [python, "-m", *map(str, words), "--api", server.url, *common]

    def engine(precision: str) -> Callable[[Server, Path], list[str]]:
        start = python_command("-c", "from engine.cli import main; main()", "run", "--model", str(given.model))
        own = ["--precision", precision, "--json", "--quiet"]
        return lambda server, work: [*start, *own, *common, *_addresses(server), "--state", str(work / "ledger.db")]

    rows = {ORIGINAL: script(given.keras_python, "bench.original", given.project)} if given.project else {}
    if given.published:
        rows[SINGLE_LOOP] = script(sys.executable, "bench.others", "single", given.published)
        rows[BATCHES] = script(sys.executable, "bench.others", "batches", given.published)
    else:
        rows[ONE_BY_ONE] = script(sys.executable, "bench.one_by_one", given.model)
    if python := given.imgutils_python:
        rows[IMGUTILS] = script(python, "bench.others", "imgutils", given.imgutils_files)
    if python := given.deepdanbooru_onnx_python:
        rows[DEEPDANBOORU_ONNX] = script(python, "bench.others", "deepdanbooru-onnx", given.deepdanbooru_onnx_files)
    return rows | {f"{ENGINE} {precision}": engine(precision) for precision in given.precisions}


def _usual(given: Given) -> float | str:
    model = open_model(given.model)
    text = family_of(model.preprocessing).threshold(model.categories)
    return float(text) if text.replace(".", "").isdecimal() else text


def _addresses(server: Server) -> list[str]:
    paths = {"--segment-url": SEGMENT, "--recognition-url": SINGLE, "--recognition-bulk-url": BULK}
    return [word for flag, path in paths.items() for word in (flag, server.url + path)]


def one(given: Given, names: Sequence[str], command: Callable[[Server, Path], list[str]]) -> dict[str, Any]:
    """Run one contestant once. Its rate counts from its first request to its last tag, so its start is not in it."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        # Media 1..n take the names in turn, the second name first.
        with serving(work, names, len(names), given.latency_s) as server:
            watched = watch(command(server, work), environment(ENGINE_API_TOKEN=TOKEN), work / "log.txt")
            report = server.report()
    return {
        "images_per_second": len(names) / (report["last_record"] - report["began"]),
        "seconds": watched.seconds,
        "first_tag_seconds": report["first_record"] - watched.started,
        "peak_rss_mb": watched.peak_rss_mb,
        "peak_vram_mb": watched.peak_vram_mb,
        "device": _device(watched),
        "requests": sum(report["requests"].values()),
        "records": report["records"],
        "tags": report["tags"],
        "rss": watched.rss,
    }


def _device(watched: Watched) -> str:
    """The device that the contestant names in the last line of its output."""
    return str(json.loads(watched.stdout.splitlines()[-1])["device"])


def _row(results: Sequence[dict[str, Any]], reference: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    last = results[-1]
    figures: dict[str, Any] = {
        key: figure([result[key] for result in results]).as_json() if last[key] is not None else None
        for key in PER_ROUND
    }
    told = {key: last[key] for key in ("device", "requests", "records", "rss")}
    return told | figures | {"differences": differences(reference, last["tags"])}


def differences(reference: Mapping[str, Mapping[str, str]], found: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The tags of all media compared with the reference's.

    Returns:
        `tags`: how many only one side has; `of`: how many the reference has; `max_similarity`: the largest difference
        of a similarity.
    """
    both = {(m, t) for m in reference for t in reference[m]}
    ours = {(m, t) for m in found for t in found[m]}
    apart = [abs(float(reference[m][t]) - float(found[m][t])) for m, t in both & ours]
    return {"tags": len(both ^ ours), "of": len(both), "max_similarity": round(max(apart, default=0.0), 4)}


def _ratios(taken: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Images/s of each row divided by those of each row before it, in the same round."""
    names = list(taken)
    return {
        f"{one} / {other}": figure(
            [a["images_per_second"] / b["images_per_second"] for a, b in zip(taken[one], taken[other], strict=True)]
        ).as_json()
        for i, one in enumerate(names)
        for other in names[:i]
    }
