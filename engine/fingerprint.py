"""What must not change between runs on one ledger: a half-tagged catalogue of two models would be neither."""

from typing import NamedTuple

from engine.errors import LedgerError
from engine.ledger import Ledger
from engine.model import Model, Precision

THRESHOLD = 0.5
"""The original's."""


class Fixed(NamedTuple):
    """What a ledger was made with, and every run on it uses."""

    precision: Precision
    threshold: float


def fix(ledger: Ledger, model: Model, precision: str | None, threshold: float | None) -> Fixed:
    """Write the fingerprint into a new ledger, or hold the run against that of an old one.

    What the user leaves open (None) is what the ledger says. Raises `LedgerError` that names what differs.
    """
    recorded = ledger.meta("precision"), ledger.meta("threshold")
    chosen = Fixed(
        model.precision(precision or recorded[0]),
        threshold if threshold is not None else float(recorded[1] or THRESHOLD),
    )
    shape = model.preprocessing
    wanted = {
        "model": model.sha256,
        "precision": chosen.precision.name,
        "preprocessing": f"{shape.kind} {shape.height}x{shape.width}",
        "threshold": repr(chosen.threshold),
    }
    found = {key: ledger.meta(key) for key in wanted}
    if not any(found.values()):
        ledger.set_meta(wanted)
        return chosen
    differing = [
        f"{key} {_short(found[key])}, not {_short(value)}" for key, value in wanted.items() if found[key] != value
    ]
    if differing:
        raise LedgerError(
            f"the state file {ledger.path} was made with {' and '.join(differing)}: give the new settings a file "
            "of their own with --state, or use `engine retag` to tag all media again"
        )
    return chosen


def _short(value: str | None) -> str:
    text = value or "nothing"
    return text if len(text) < 40 else text[:12] + "…"
