"""Where results go. The delivery to the media API is one sink; a run may have several, each settled on its own."""

from collections.abc import Mapping
from typing import Protocol

from engine.flow.channels import Meter
from engine.types import Entry, Tagged


class Sink(Protocol):
    """Takes the results of a run, by way of the ledger's outbox.

    For each tagged medium the recorder asks every sink for its `entry`. The entries enter the outbox in the
    transaction that ends the medium's tagging, each under its sink's name. From there the sink works at its own pace,
    on no thread of the stages: it reads its part of the outbox (`Ledger.outbox`), and takes an entry off when it has
    arrived (`Ledger.delivered`). A medium is done when no sink has an entry of it left. So a kill loses nothing, and a
    sink that is slow or away holds up no other one until the outbox is full.

    All methods may be called from any thread and only `join` waits. A run calls `start`; `drain` when the stages have
    ended; and `join` until it is True. When the run is stopped, `stop` is called at every tick from then on, a few
    times a second, and `drain` comes all the same, after the first of these. An error that ends the sink stops the run;
    the sink passes it on itself.

    Attributes:
        name: of its entries in the outbox: it must stay the same, for the next run finds them by it.
        meter: where its time goes. What it calls itself stands in the summary.
    """

    name: str
    meter: Meter

    def entry(self, tagged: Tagged) -> Entry | None:
        """What of this result goes here; None if nothing does."""
        ...

    def figures(self) -> Mapping[str, int]:
        """What it did in this run, by the names of `Tally`: records, refused, requests. The ledger counts the media."""
        ...

    def start(self) -> None:
        """Begin; what an earlier run left in the outbox goes first."""
        ...

    def wake(self) -> None:
        """There may be more in the outbox: called after each commit of the ledger, on its writer's thread."""
        ...

    def drain(self) -> None:
        """Nothing more will enter the outbox: end when this sink's part of it is empty."""
        ...

    def stop(self) -> None:
        """End within seconds; what has not arrived stays in the outbox. Called many times."""
        ...

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end after `drain`, `stop` or an error; False if it has not come in time."""
        ...
