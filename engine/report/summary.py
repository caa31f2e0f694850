"""What a run did: the counts that the stages add to, and the summary at its end."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.flow.channels import Meter
from engine.report.bottleneck import TOO_SHORT, advice, find_bottleneck, utilisation
from engine.types import Outcome

SHORTEST_ADVISED_S = 2.0
"""A run that took less says nothing of what limits a long one."""


@dataclass
class Tally:
    """Counts of this run, added to by the stages. Thread-safe."""

    images: int = 0  # media that went through the model
    done: int = 0  # known at the end: `Ledger.ended`, as a medium is done when the last sink has it
    failed: int = 0
    rejected: int = 0  # as `done`
    skipped: int = 0
    refused: int = 0  # single records that the API gave up on
    records: int = 0
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        """Add to the counts of these names."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


@dataclass(frozen=True)
class Summary:
    """A run in figures.

    Attributes:
        device: where the model ran: `cpu`, `cuda`.
        peak_vram_mb: the most GPU memory seen in use, in MB (10^6 bytes); None without a GPU.
        peak_vram_of: whose use that is, in words.
        ledger: how many media the ledger holds now, by outcome; those of earlier runs too.
        refused_records: how many single records in the ledger the API gave up on, in this run and earlier ones.
        follows: whether the run waited for new media.
        cluster: with --ray, its nodes and sessions, what crossed the network and what was lost.
    """

    tally: Tally
    meters: Sequence[Meter]
    seconds: float
    device: str
    precision: str
    batch_size: int
    peak_rss_mb: float
    peak_vram_mb: float | None
    peak_vram_of: str | None
    ledger: Mapping[Outcome, int]
    refused_records: int = 0
    interrupted: bool = False
    follows: bool = False
    cluster: Mapping[str, int] | None = None

    @property
    def rate(self) -> float:
        """Images/s."""
        return self.tally.images / self.seconds if self.seconds else 0.0

    @property
    def bottleneck(self) -> str:
        """The name of the stage that the others waited for."""
        return find_bottleneck(self.meters, self.seconds).name

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints. Users' scripts read its keys."""
        t = self.tally
        counts = {name: getattr(t, name) for name in ("images", "done", "failed", "rejected", "skipped")}
        return {
            **counts,
            "records": t.records,
            "refused": t.refused,
            "requests": t.requests,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.rate, 3),
            "device": self.device,
            "precision": self.precision,
            "batch_size": self.batch_size,
            "bottleneck": self.bottleneck,
            "stages": {
                m.name: {k: round(getattr(m, k), 3) for k in ("busy", "waiting_in", "waiting_out")}
                | {"threads": m.threads, "items": m.items, "queued": round(m.queued, 1)}
                for m in self.meters
            },
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "peak_vram_mb": self.peak_vram_mb,
            "peak_vram_of": self.peak_vram_of,
            "ledger": {outcome.value: count for outcome, count in self.ledger.items()},
            "interrupted": self.interrupted,
        } | ({} if self.cluster is None else {"cluster": dict(self.cluster)})

    def lines(self) -> list[str]:
        """The lines that `engine run` prints at its end."""
        t = self.tally
        idle = not (t.images or t.failed or t.skipped or t.done or t.rejected)
        if idle and not (self.interrupted or self.ledger[Outcome.PENDING] or self.ledger[Outcome.OUTBOX]):
            known = sum(self.ledger.values())
            if not known:
                return ["nothing to do: the catalogue lists no media"]
            which = "the only medium" if known == 1 else f"each of the {known:,} media"
            return [f"nothing to do: {which} of the catalogue is done, failed, rejected or skipped"]
        not_done = [f"{getattr(t, name)} {name}" for name in ("failed", "rejected", "skipped") if getattr(t, name)]
        waiting = self.ledger[Outcome.OUTBOX]
        shares = "  ".join(
            f"{m.name} {utilisation(m, self.seconds):.0%}" + (f" ({m.threads} at once)" if m.adapts else "")
            for m in self.meters
        )
        return [
            f"{counted(t.images, 'image')} in {duration(self.seconds)}: {self.rate:.1f} images/s "
            f"({self.device}, {self.precision}, batches of {self.batch_size})",
            f"{counted(t.records, 'record')} in {counted(t.requests, 'request')}"
            + "".join(f", {part}" for part in not_done)
            + (f", {t.refused:,} refused by the API (engine status)" if t.refused else "")
            + (f"; {waiting:,} {'medium waits' if waiting == 1 else 'media wait'} in the outbox" if waiting else ""),
            f"at most {self.peak_rss_mb:,.0f} MB of memory"
            + ("" if self.peak_vram_mb is None else f", {self.peak_vram_mb:,.0f} MB of VRAM ({self.peak_vram_of})"),
            *self._of_cluster(),
            f"busy: {shares}",
            *self._advice(),
        ]

    def _of_cluster(self) -> list[str]:
        if self.cluster is None:
            return []
        count = self.cluster.get
        moved, rows = count("bytes_of_rows_between_nodes", 0), count("bytes_of_rows", 0)
        losses = {what: count(f"lost_{what}s", 0) for what in ("node", "worker", "session")}
        lost = [counted(number, what) for what, number in losses.items() if number]
        return [
            f"on {counted(count('nodes', 0), 'node')} with {counted(count('sessions', 0), 'session')}; "
            f"{moved / 1e6:,.0f} of {rows / 1e6:,.0f} MB of rows went from node to node"
            + (f"; lost and made up for: {', '.join(lost)}" if lost else "")
        ]

    def _advice(self) -> list[str]:
        """What limited the run; nothing where it did too little to tell, or mostly waited for new media."""
        meters = [m for m in self.meters if not (self.follows and m.name == "source")]  # it lists all the time
        if not self.tally.images or self.seconds < SHORTEST_ADVISED_S:
            return []
        if self.follows and utilisation(find_bottleneck(meters, self.seconds), self.seconds) < TOO_SHORT:
            return []
        return [advice(meters, self.seconds, self.device, cluster=self.cluster is not None)]


def counted(number: int, what: str) -> str:
    """`1 image`, `1,200 images`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds as people read them: `4.2 s`, `42 s`, `5 min 12 s`, `4 h 19 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
