"""`engine bench devices`: ONNX Runtime and OpenVINO side by side on this CPU, in fp32, bf16 and int8.

Each is measured alone, on pixels that are there already, and from file to API as `engine bench compare` does it.
All take their turns, there and back, each in a process of its own.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import pictures
from bench.compare import ENGINE, Given, contestants, differences, one
from bench.new_process import in_new_process
from bench.stats import figure, verdict
from engine.model.folder import BF16, Model

ROWS = {
    "onnxruntime fp32": ("cpu", "fp32"),
    "openvino fp32": ("openvino", "fp32"),
    "openvino bf16": ("openvino", BF16),
    "onnxruntime int8": ("cpu", "int8"),
    "openvino int8": ("openvino", "int8"),
}
"""Device and precision of each row; the first is what the others are held against."""
WANTED = {"openvino bf16": 1.9, "openvino int8": 3.6}
"""How many times as fast as the first row they must be."""
ALONE, TO_API, CPU = "alone", "from file to API", "cpu_seconds_an_image"
BATCH = 4


def devices(
    model: Model,
    count: int,
    rounds: int,
    seconds: float,
    threshold: float = 0.5,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure all rows whose precision the model folder holds; `count` pictures go from file to API.

    Returns:
        `rows`, each with images/s alone and from file to API, CPU time, peak memory and differing tags; `ratios` to the
        first row, from the same round each; `checks`, what was wanted and whether it was met.
    """
    chosen = {name: row for name, row in ROWS.items() if row[1] in (*model.precisions, BF16)}
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder)
        names = pictures.write(drawn, count, pictures.MIXED, png_every=6)
        for number in range(rounds):
            order = list(chosen) if number % 2 == 0 else list(reversed(chosen))
            for name in order:
                progress(f"round {number + 1} of {rounds}: {name}")
                taken[name].append(_measure(model, chosen[name], drawn, names, seconds, threshold))
    first = next(iter(chosen))
    reference = taken[first][-1]["tags"]
    ratios = {name: _ratios(taken[name], taken[first]) for name in chosen if name != first}
    return {
        "images": count,
        "rounds": rounds,
        "batch": BATCH,
        "threshold": threshold,
        "rows": {name: _row(chosen[name], taken[name], reference) for name in chosen},
        "ratios": ratios,
        "checks": _checks(taken, first),
    }


def _measure(
    model: Model, row: tuple[str, str], folder: Path, names: Sequence[str], seconds: float, threshold: float
) -> dict[str, Any]:
    device, precision = row
    alone = in_new_process(
        "bench.sweep:point", model=str(model.folder), precision=precision, batch=BATCH, device=device, seconds=seconds
    )
    given = Given(None, model.folder, [precision], folder, device=device, threshold=threshold)
    found = one(given, names, contestants(given)[f"{ENGINE} {precision}"])
    return {
        ALONE: alone["images_per_second"],
        CPU: alone[CPU],
        TO_API: found["images_per_second"],
        "start_seconds": alone["start_seconds"],
        "peak_rss_mb": found["peak_rss_mb"],
        "tags": found["tags"],
    }


def _row(
    row: tuple[str, str], results: Sequence[Mapping[str, Any]], reference: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    keys = (ALONE, TO_API, CPU, "start_seconds", "peak_rss_mb")
    figures = {key: figure([result[key] for result in results]).as_json() for key in keys}
    busy = figure([result[TO_API] / result[ALONE] for result in results]).as_json()
    return {
        "device": row[0],
        "precision": row[1],
        **figures,
        "of_alone": busy,
        "differences": differences(reference, results[-1]["tags"]),
    }


def _ratios(results: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many times as fast as the first row; by CPU time too, which other load on the machine disturbs least."""
    pairs = list(zip(results, first, strict=True))
    found = {where: figure([a[where] / b[where] for a, b in pairs]).as_json() for where in (ALONE, TO_API)}
    return found | {CPU: figure([b[CPU] / a[CPU] for a, b in pairs]).as_json()}


def _checks(taken: Mapping[str, Sequence[Mapping[str, Any]]], first: str) -> dict[str, Any]:
    checks = {}
    for name, target in WANTED.items():
        for where in (ALONE, TO_API) if name in taken else ():
            measured = figure([a[where] / b[where] for a, b in zip(taken[name], taken[first], strict=True)])
            checks[f"{name}, {where}"] = {
                "target": target,
                "value": measured.as_json(),
                "verdict": verdict(measured, target, at_least=True),
            }
    return checks
