"""What people see of a run: progress on stderr while it lasts, a summary that names the bottleneck when it ends."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from engine.flow.channels import Meter
from engine.report.limits import limiting, sentence, share
from engine.types import Outcome, Position


@dataclass
class Tally:
    """What this run did, counted by the stages. Thread-safe."""

    images: int = 0  # media that went through the model
    done: int = 0
    failed: int = 0
    rejected: int = 0
    skipped: int = 0
    refused: int = 0  # single records that the API gave up on
    records: int = 0
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


@dataclass(frozen=True)
class Summary:
    """A run in figures; `as_json` has the keys that `--json` promises."""

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
    refused_records: int = 0  # in the ledger: of this run and earlier ones
    interrupted: bool = False

    @property
    def rate(self) -> float:
        return self.tally.images / self.seconds if self.seconds else 0.0

    @property
    def bottleneck(self) -> str:
        """The stage that the others waited for."""
        return limiting(self.meters, self.seconds).name

    def as_json(self) -> dict[str, Any]:
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
        }

    def lines(self) -> list[str]:
        """The summary for people."""
        t = self.tally
        idle = not (t.images or t.failed or t.skipped or t.done or t.rejected)
        if idle and not (self.interrupted or self.ledger[Outcome.PENDING] or self.ledger[Outcome.OUTBOX]):
            return [f"nothing to do: all {sum(self.ledger.values()):,} media of the catalogue are settled"]
        refused = [f"{getattr(t, name)} {name}" for name in ("failed", "rejected", "skipped") if getattr(t, name)]
        waiting = self.ledger[Outcome.OUTBOX]
        shares = "  ".join(f"{m.name} {share(m, self.seconds):.0%}" for m in self.meters)
        return [
            f"{t.images:,} images in {duration(self.seconds)}: {self.rate:.1f} images/s "
            f"({self.device}, {self.precision}, batches of {self.batch_size})",
            f"{t.records:,} records in {t.requests:,} requests"
            + "".join(f", {part}" for part in refused)
            + (f", {t.refused:,} refused by the API (engine status)" if t.refused else "")
            + (f"; {waiting:,} media wait in the outbox" if waiting else ""),
            f"at most {self.peak_rss_mb:,.0f} MB of memory"
            + ("" if self.peak_vram_mb is None else f", {self.peak_vram_mb:,.0f} MB of VRAM ({self.peak_vram_of})"),
            f"busy: {shares}",
            sentence(self.meters, self.seconds, self.device),
        ]


class ProgressLine:
    """Images, rate, time left, failures, the limiting stage: live on a terminal, else a line every ten seconds."""

    INTERVAL_S = 10.0
    ASK_AFTER_S = 5.0

    def __init__(
        self,
        stream: TextIO,
        tally: Tally,
        meters: Sequence[Meter],
        position: Callable[[], Position],
        last_id: Callable[[], int | None],
    ) -> None:
        self._tally, self._meters, self._position, self._last_id = tally, meters, position, last_id
        self._highest: int | None = None
        self._asking: threading.Thread | None = None
        self._console = Console(file=stream, highlight=False)
        self._began = self._printed = time.monotonic()
        self._live: Progress | None = None
        if self._console.is_terminal:
            self._live = Progress(
                SpinnerColumn(), BarColumn(30), TextColumn("{task.description}"), console=self._console, transient=True
            )
            self._task = self._live.add_task("starting", total=None)
            self._live.start()

    def tick(self) -> None:
        """Called a few times a second by the main thread."""
        now = time.monotonic()
        if now - self._began > self.ASK_AFTER_S and not self._asking:  # short runs need no estimate
            self._asking = threading.Thread(target=self._ask, name="last-id", daemon=True)
            self._asking.start()
        if self._live:
            done, left = self._tally.images, self._left(now)
            total = None if left is None else done + left[0]
            self._live.update(self._task, description=self._line(now), completed=done, total=total)
        elif now - self._printed >= self.INTERVAL_S:
            self._printed = now
            self._console.print(self._line(now), soft_wrap=True)

    def close(self) -> None:
        if self._live:
            self._live.stop()

    def _ask(self) -> None:
        with suppress(Exception):  # an estimate is not worth an error; the source says what is wrong
            self._highest = self._last_id()

    def _line(self, now: float) -> str:
        t, elapsed = self._tally, now - self._began
        left = self._left(now)
        parts = [f"{t.images:,} images", f"{t.images / elapsed:.1f}/s" if elapsed else ""]
        parts.append(f"about {duration(left[1])} left" if left else "")
        parts.append(f"{t.failed:,} failed" if t.failed else "")
        parts.append(f"{max(self._meters, key=lambda m: m.busy / max(1, m.threads)).name} limits" if t.images else "")
        return "  ".join(part for part in parts if part)

    def _left(self, now: float) -> tuple[int, float] | None:
        """Media and seconds still to go, from how densely the ids seen so far lie; None where that is not known yet."""
        position, last = self._position(), self._highest
        if position.ended or last is None or position.first_id is None or not self._tally.images:
            return None
        density = position.seen / (position.id - position.first_id + 1)
        media = int(max(0, last - position.id) * density)
        return media, media * (now - self._began) / self._tally.images


def duration(seconds: float) -> str:
    """`42 s`, `5 min 12 s`, `4 h 19 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
