"""What must not change between runs on one ledger: half a catalogue from each of two models would be neither.

The service is part of it: a ledger that says "done" of one service's media says nothing about another's.
"""

from typing import NamedTuple

from engine.errors import LedgerError
from engine.ledger.ledger import Ledger
from engine.model.folder import Model, Precision

THRESHOLD = 0.5
"""The original's."""


class Fixed(NamedTuple):
    """What a ledger was made with, and every run on it uses."""

    precision: Precision
    threshold: float


def choose(ledger: Ledger, model: Model, precision: str | None, threshold: float | None) -> Fixed:
    """What the user asks for; what is left open (None) is what the ledger says, or the default."""
    recorded = ledger.meta("precision"), ledger.meta("threshold")
    return Fixed(
        model.precision(precision or recorded[0]),
        threshold if threshold is not None else float(recorded[1] or THRESHOLD),
    )


def fingerprint(model: Model, fixed: Fixed) -> dict[str, str]:
    """As the ledger keeps it."""
    shape = model.preprocessing
    return {
        "model": model.sha256,
        "precision": fixed.precision.name,
        "preprocessing": f"{shape.kind} {shape.height}x{shape.width}",
        "threshold": repr(fixed.threshold),
    }


def hold(ledger: Ledger, wanted: dict[str, str]) -> None:
    """Write the fingerprint into a new ledger, or hold the run against that of an old one.

    Raises `LedgerError` that names what differs, and the way out.
    """
    found = {key: ledger.meta(key) for key in wanted}
    if not any(found.values()):
        ledger.set_meta(wanted)
        return
    differing = [
        f"{key} {_short(found[key])}, not {_short(wanted[key])}" for key in wanted if found[key] != wanted[key]
    ]
    if differing:
        raise LedgerError(
            f"the state file {ledger.path} was made with {' and '.join(differing)}: give the new settings a file "
            "of their own with --state, or use `engine retag` to tag all media again"
        )


def hold_service(ledger: Ledger, service: str, *, moved: bool) -> None:
    """The same for the service whose media these are; `moved` takes its new address in."""
    known = ledger.meta("service")
    if known is not None and known != service and not moved:
        raise LedgerError(
            f"the state file {ledger.path} belongs to {known}, not to {service}: give this one a file of its own with "
            "--state; if it is the same service at a new address, say --moved once"
        )
    if known != service:
        ledger.set_meta({"service": service})


def _short(value: str | None) -> str:
    text = value or "nothing"
    return text if len(text) < 40 else text[:12] + "…"
