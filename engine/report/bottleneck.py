"""Finds the bottleneck of a run from the meters of its stages, and the setting that would help."""

from collections.abc import Sequence

from engine.flow.channels import Meter
from engine.machine import cores

NAMES = {
    "source": "listing the catalogue",
    "read": "reading",
    "decode": "decoding",
    "dispatch": "the run's own machine",
    "infer": "the model",
    "record": "the ledger",
    "deliver": "the media API",
}
"""What a user calls the stages, and the sink that is always there."""
BUSY = 0.9
"""A stage that is busy for at least this share of the run hardly ever waits for another."""
TOO_SHORT = 0.5
"""If even the busiest stage is busy for less than this share, starting and ending took most of the run."""


def utilisation(meter: Meter, seconds: float) -> float:
    """The share of the run that the stage's threads were busy, 0..1.

    The delivery counts as busy while a request is under way. A sink that does not say how many threads it has counts
    as one.
    """
    return meter.busy / (max(1.0, meter.mean_threads) * seconds) if seconds else 0.0


def find_bottleneck(meters: Sequence[Meter], seconds: float) -> Meter:
    """The stage that the others waited for, which is the busiest.

    A sink that keeps up may be busy all the time too: a delivery always has some request under way. So a sink is the
    bottleneck only if no stage is busy throughout.
    """
    busiest = max((m for m in meters if not m.of_sink), key=lambda m: utilisation(m, seconds))
    if utilisation(busiest, seconds) >= BUSY:
        return busiest
    return max(meters, key=lambda m: utilisation(m, seconds))


def advice(
    meters: Sequence[Meter], seconds: float, device: str, usable_cores: int | None = None, *, cluster: bool = False
) -> str:
    """One line, such as `decoding limits: 2 threads busy 98%, session idle 40%: --decode-threads 4`.

    `usable_cores`: those of this machine unless given. `cluster`: reading, decoding and the model are on its nodes.
    """
    slowest = find_bottleneck(meters, seconds)
    if utilisation(slowest, seconds) < TOO_SHORT:
        return (
            f"too short to tell what limits it: starting and ending took most of the time, and even "
            f"{_what(slowest)} was busy for only {_percent(slowest, seconds)} of it"
        )
    idle = [f"session idle {1 - utilisation(m, seconds):.0%}" for m in meters if m.name == "infer" and m is not slowest]
    busy = f"{_who(slowest)}busy {_percent(slowest, seconds)}"
    in_cluster = _IN_CLUSTER.get(slowest.name) if cluster else None
    cure = in_cluster or _cure(slowest, device, usable_cores or cores())
    return f"{_what(slowest)} limits: {', '.join([busy, *idle])}: {cure}"


_IN_CLUSTER = {
    "read": "faster is a faster storage, or a faster network to it; more nodes would not help",
    "decode": "more CPUs in the cluster: `ray start --address=HOST:6379` on another machine",
    "infer": "as it should be; faster are more sessions in the cluster: more GPUs, or more nodes",
    "dispatch": "handing blocks out takes all of a core: a run for each half of the catalogue, on two machines",
}


def _what(meter: Meter) -> str:
    return NAMES.get(meter.name, f"the sink {meter.name}")


def _who(meter: Meter) -> str:
    """What is busy, and a space; nothing where a sink does not say how many threads it has."""
    if meter.name in ("deliver", "infer"):
        return "requests " if meter.name == "deliver" else "session "
    return f"{meter.threads} thread{'s' if meter.threads > 1 else ''} " if meter.threads else ""


def _percent(meter: Meter, seconds: float) -> str:
    return f"{utilisation(meter, seconds):.0%}"


def _cure(meter: Meter, device: str, usable_cores: int) -> str:
    if meter.name == "decode":
        more = usable_cores > meter.threads
        return f"--decode-threads {usable_cores}" if more else "every core decodes, only more cores would help"
    cures = {
        "source": "a larger --segment-size asks the API less often",
        "read": _cure_of_reading(meter),
        "infer": "as it should be; faster is a GPU, or int8 (`engine retag --precision int8` tags all again)"
        if device in ("cpu", "openvino")
        else "as it should be; faster is a better GPU, or fp16 (`engine retag --precision fp16` tags all again)",
        "record": "--state on a faster local disk",
        "deliver": "--recognition-bulk-url if the service has it, else more --connections",
    }
    return cures.get(meter.name, "only the place where its results go can make it faster")


def _cure_of_reading(meter: Meter) -> str:
    """More readers only where their number is fixed and the storage never said that it is too much."""
    if meter.setbacks:
        return (
            f"the storage failed for the moment, or was too slow to answer, {meter.setbacks:,} times; "
            "reading more files at once would make that worse"
        )
    if meter.adapts:
        return "as it should be: the number of files read at once follows what pays; faster is a faster storage"
    return "leave --read-threads out, and the engine finds how many pay"
