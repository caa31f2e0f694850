"""The run's account of the cluster: which nodes there are, what each does at the moment, which sessions run where.

All of it belongs to one thread, the dispatcher's event loop; before that to the thread that builds the cluster.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.cluster.messages import Opened


@dataclass(eq=False)
class Node:
    """A machine of the cluster.

    Attributes:
        id: Ray's, in hex.
        name: for people.
        cpus, gpus: as Ray counts them.
        ready: it passed its check, and its storage is well as far as is known.
        gone: Ray calls it dead.
        model: the model folder there.
        loading: blocks that are read and decoded there now.
        sessions: that run there.
        opening: sessions that are being opened.
        failures: of its sessions, in a row.
    """

    id: str
    name: str
    cpus: int
    gpus: int
    ready: bool = False
    gone: bool = False
    model: Path | None = None
    loading: int = 0
    sessions: "list[RunningSession]" = field(default_factory=list)
    opening: int = 0
    failures: int = 0

    def session_cpus(self, *, gpu: bool) -> int:
        """CPUs that a session takes of Ray's account. A GPU's session hardly computes; a node of one CPU does both."""
        return 0 if gpu or self.cpus < 2 else 1

    def session_places(self, *, gpu: bool) -> int:
        """How many sessions it may have. Where a session computes on all cores, one for a node is right."""
        if not self.ready or self.gone or self.failures > MOST_FAILURES:
            return 0
        return self.gpus if gpu else max(0, self.cpus - self.session_cpus(gpu=False))

    def slots(self, *, gpu: bool) -> int:
        """Blocks that it may read and decode at once: one for each CPU."""
        if not self.ready or self.gone:
            return 0
        return self.cpus - (len(self.sessions) + self.opening) * self.session_cpus(gpu=gpu)


MOST_FAILURES = 2
"""Sessions of a node that may end with an error in a row; then it gets no other."""


@dataclass(eq=False)
class RunningSession:
    """A session in an actor.

    Attributes:
        under_way: blocks that it was given and has not answered.
        most: of them, at once: enough that a batch waits while another is computed.
        idle_since: when it had nothing to do, by `time.monotonic`; None while it has.
        busy, items, peak_vram_mb: as it said last.
    """

    node: Node
    actor: Any
    opened: Opened
    block: int
    under_way: int = 0
    idle_since: float | None = None
    busy: float = 0.0
    items: int = 0

    @property
    def most(self) -> int:
        return math.ceil(2 * self.opened.batch_size / self.block) + 1

    @property
    def has_room(self) -> bool:
        return self.under_way < self.most


class Nodes:
    """Where the next block is loaded, and which session scores it."""

    def __init__(self, *, gpu: bool) -> None:
        """`gpu`: each session takes one GPU; else it computes on the CPUs."""
        self.gpu = gpu
        self.all: dict[str, Node] = {}

    @property
    def sessions(self) -> list[RunningSession]:
        return [session for node in self.all.values() for session in node.sessions]

    @property
    def opening(self) -> int:
        return sum(node.opening for node in self.all.values())

    @property
    def slots(self) -> int:
        return sum(node.slots(gpu=self.gpu) for node in self.all.values())

    @property
    def window(self) -> int:
        """Blocks that occupy every CPU and every session once."""
        return max(1, self.slots + sum(session.most for session in self.sessions))

    def loader(self) -> Node | None:
        """A node with a free CPU: one with a session, the least supplied first, so that its rows need not travel."""
        free = [node for node in self.all.values() if node.loading < node.slots(gpu=self.gpu)]
        return min(free, key=_supply, default=None)

    def scorer(self, node: Node) -> RunningSession | None:
        """A session for the rows that lie on `node`: there if it has room, else one that has nothing to do."""
        free = [session for session in node.sessions if session.has_room]
        if not free:
            elsewhere = [session for session in self.sessions if session.node is not node and session.has_room]
            free = elsewhere if not node.sessions else [one for one in elsewhere if not one.under_way]
        return min(free, key=lambda one: one.under_way, default=None)

    def place_for_session(self) -> Node | None:
        """A node that may have one session more: the one with the fewest."""
        places = [
            node for node in self.all.values() if len(node.sessions) + node.opening < node.session_places(gpu=self.gpu)
        ]
        return min(places, key=lambda node: len(node.sessions) + node.opening, default=None)

    def most_sessions(self) -> int:
        """Sessions that the cluster takes where nobody says how many: one for each GPU, or for each node."""
        places = [node.session_places(gpu=self.gpu) for node in self.all.values()]
        return sum(places) if self.gpu else sum(min(1, count) for count in places)


def _supply(node: Node) -> tuple[bool, float]:
    most = sum(session.most for session in node.sessions)
    under_way = node.loading + sum(session.under_way for session in node.sessions)
    return not most, under_way / max(1, most)
