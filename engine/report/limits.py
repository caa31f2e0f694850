"""What limits a run, told from its meters, and the setting that would help."""

from collections.abc import Sequence

from engine.flow.channels import Meter
from engine.machine import cores

NAMES = {
    "source": "listing the catalogue",
    "read": "reading",
    "decode": "decoding",
    "infer": "the model",
    "record": "the ledger",
    "deliver": "the media API",
}
BUSY = 0.9
"""A stage that is busy for so much of the run has none before it to wait for."""
TOO_SHORT = 0.5
"""Where even the busiest stage is below this, the run was mostly start and end."""


def share(meter: Meter, seconds: float) -> float:
    """How much of the run the stage's threads were busy, 0..1; of the delivery, how long requests were under way."""
    return meter.busy / (max(1, meter.threads) * seconds) if seconds else 0.0


def limiting(meters: Sequence[Meter], seconds: float) -> Meter:
    """The stage that the others waited for: the busiest.

    The delivery may always have a request under way and yet keep up; it limits only where no stage of the tagging is
    busy throughout.
    """
    tagging = max((m for m in meters if m.name != "deliver"), key=lambda m: share(m, seconds))
    return tagging if share(tagging, seconds) >= BUSY else max(meters, key=lambda m: share(m, seconds))


def sentence(meters: Sequence[Meter], seconds: float, device: str) -> str:
    """`decoding limits: 2 threads busy 98 %, session idle 40 %: --decode-threads 4`."""
    worst = limiting(meters, seconds)
    if share(worst, seconds) < TOO_SHORT:
        return f"no stage was busy for long (the busiest, {worst.name}, {_percent(worst, seconds)}): a short run"
    idle = [f"session idle {1 - share(m, seconds):.0%}" for m in meters if m.name == "infer" and m is not worst]
    busy = f"{_who(worst)} busy {_percent(worst, seconds)}"
    return f"{NAMES[worst.name]} limits: {', '.join([busy, *idle])}: {_cure(worst, device)}"


def _who(meter: Meter) -> str:
    if meter.name == "deliver":
        return "requests"
    return "session" if meter.name == "infer" else f"{meter.threads} thread{'s' if meter.threads > 1 else ''}"


def _percent(meter: Meter, seconds: float) -> str:
    return f"{share(meter, seconds):.0%}"


def _cure(meter: Meter, device: str) -> str:
    if meter.name == "decode":
        more = cores() > meter.threads
        return f"--decode-threads {cores()}" if more else "every core decodes, only more cores would help"
    return {
        "source": "a larger --segment-size asks the API less often",
        "read": f"--read-threads {2 * meter.threads}",
        "infer": "as it should; a GPU, or --precision int8 from the first run on, would be faster"
        if device == "cpu"
        else "as it should; a faster GPU, or --precision fp16 from the first run on, would be faster",
        "record": "--state on a faster local disk",
        "deliver": "--recognition-bulk-url if the service has it, else more --connections",
    }[meter.name]
