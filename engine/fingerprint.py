"""The settings that must stay the same for all runs on one ledger, else its tags would come from different models.

The media service must stay the same too, because a ledger's media ids are those of one service.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.errors import ConfigError, LedgerError
from engine.ledger.ledger import Ledger
from engine.ledger.schema import damaged
from engine.model.folder import Model, Precision
from engine.thresholds import parse_table, read_table, table_text

TABLE = "tag thresholds"
"""The name of the thresholds of single tags in a ledger."""
LIBRARY = "library "
"""How the name of an embedded library's database begins; its identity follows, which no move changes."""


class Fixed(NamedTuple):
    """The settings that a ledger is made with and that every run on it uses.

    Attributes:
        precision: of the model.
        threshold: which scores count, for all of the model's categories, as `engine.thresholds` reads it.
        table: the thresholds of single tags, as `engine.thresholds.table_text` writes them.
    """

    precision: Precision
    threshold: str
    table: str = ""


def choose(
    ledger: Ledger, model: Model, precision: str | None, threshold: str | None, table: Path | None = None
) -> Fixed:
    """The settings that the user asks for. Where that is None they come from the ledger, or else from the defaults."""
    recorded = ledger.meta("precision"), ledger.meta("threshold")
    return Fixed(
        model.precision(precision or recorded[0]),
        _threshold(ledger, model, threshold, recorded[1]),
        table_text(read_table(table)) if table else _recorded_table(ledger, model.tags),
    )


def _recorded_table(ledger: Ledger, tags: Sequence[str]) -> str:
    """The ledger's thresholds of single tags; none where they are of another model's tags."""
    text = ledger.meta(TABLE) or ""
    try:
        return text if parse_table(text).keys() <= set(tags) else ""
    except (ValueError, AttributeError):
        raise damaged(ledger.path, f"{text!r} are no thresholds of tags") from None


def _threshold(ledger: Ledger, model: Model, given: str | None, recorded: str | None) -> str:
    from engine.families import family_of  # here, because `engine status` needs this module and no decoders

    family = family_of(model.preprocessing)
    kind = (ledger.meta("preprocessing") or "").partition(" ")[0]
    if given is not None or recorded is None or kind not in ("", model.preprocessing.kind):
        return family.threshold(model.categories, given)  # what suits one family says nothing of another's scores
    try:
        return family.threshold(model.categories, recorded)
    except ValueError:
        raise damaged(ledger.path, f"{recorded!r} is no threshold") from None
    except ConfigError:  # another model, with other categories
        return family.threshold(model.categories)


def fingerprint(model: Model, fixed: Fixed) -> dict[str, str]:
    """The fingerprint as the ledger stores it: text by name."""
    shape = model.preprocessing
    rows = "" if shape.dtype == "uint8" else f" {shape.dtype}"  # uint8 was the only one once, and went without saying
    changes = "".join(f" {name}={value}" for name, value in shape.changes)
    return {
        "model": model.sha256,
        "tags": model.tags_sha256,
        "precision": fixed.precision.name,
        "preprocessing": f"{shape.kind} {shape.height}x{shape.width}{rows}{changes}",
        "threshold": fixed.threshold,
        TABLE: fixed.table,
    }


def hold(ledger: Ledger, wanted: dict[str, str]) -> None:
    """Write the fingerprint into a new ledger; compare it with that of an old one.

    What an old ledger does not know yet, because its version did not ask, it learns now.
    Raises `LedgerError`, which names what differs and the way out.
    """
    known = {key: value for key in wanted if (value := ledger.meta(key)) is not None}
    differing = [f"{key} {_short(known[key])}, not {_short(wanted[key])}" for key in known if known[key] != wanted[key]]
    if differing:
        raise LedgerError(
            f"the state file {ledger.path} was made with {' and '.join(differing)}: give the new settings a file "
            "of their own with --state, or use `engine retag` to tag all media again"
        )
    if len(known) < len(wanted):
        ledger.set_meta(wanted)


def hold_service(ledger: Ledger, service: str, *, moved: bool, formerly: str | None = None) -> None:
    """The same for the address of the media service. `moved`: it has a new one, which is written into the ledger.

    `formerly`: how the name began that an older engine gave the service.
    """
    known = ledger.meta("service")
    moved = moved or (known is not None and formerly is not None and known.startswith(formerly))
    if known and known != service and known.startswith(LIBRARY) and service.startswith(LIBRARY):
        raise LedgerError(
            f"the state file {ledger.path} belongs to another database of tags than the one that is there now: has the "
            "old one been deleted or replaced? Put it back; or move the state file away, then all is tagged anew"
        )
    if known is not None and known != service and not moved:
        raise LedgerError(
            f"the state file {ledger.path} belongs to {known}, not to {service}: give this one a file of its own with "
            "--state; if it is the same service at a new address, say --moved once"
        )
    if known != service:
        ledger.set_meta({"service": service})


def _short(text: str) -> str:
    return text[:12] + "…" if len(text) >= 40 else text or "none"
