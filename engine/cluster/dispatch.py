"""The stage between `todo` and `scored`: blocks of media go to the nodes, scores and outcomes come back.

A block lives in a coroutine of its own: it waits for a free CPU, is loaded there, waits for a session, is scored. At
most two windows of blocks are under way; a window is what occupies every CPU and every session once. So memory depends
neither on the catalogue nor on a slow node, which holds up no more than what it was given.

What a failure leads to:

    a picture cannot be read or decoded   its outcome, as on one machine: the node says it, the ticket is settled here
    a node dies, or its rows are lost     the block is loaded again elsewhere
    a worker dies                         its media are done again one by one; one that died so three times has failed
    a session ends or fails               its blocks are loaded again for another; the node gets a new one, a few times
    a node's storage is away              it gets no blocks until it can be read there again; what it had, others do
    an `EngineError` on a node            ends the run, with the node's name
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from engine.cluster.messages import (
    Again,
    Failure,
    Fitted,
    Item,
    Loaded,
    LookedAt,
    NodeLost,
    Scored,
    SessionLost,
    Skipped,
    WorkerLost,
)
from engine.cluster.nodes import Node, Nodes, RunningSession
from engine.errors import EngineError, Stopped
from engine.flow.channels import Channel, Closed, Meter, Stop
from engine.ledger.deaths import GIVEN_UP_AT
from engine.stages.infer import Scored as Batch
from engine.stages.storage_watch import state_within
from engine.stages.ticket import InFlight, Ticket
from engine.storage import Storage

T = TypeVar("T")
GIVEN_UP = (
    f"the worker died {GIVEN_UP_AT} times while this picture was read or decoded, the last times with nothing beside "
    "it; --retry-failed, or another file, gives it one more try"
)
LOOK_S = 1.0
"""How often the list of nodes, and the number of sessions, are looked at."""
IDLE_S = 30.0
"""A session above the least number ends when it had nothing to do for so long."""


class Machines(Protocol):
    """What the dispatcher asks of the cluster, in its event loop.

    Whatever is awaited raises `EngineError` where the node says that the run cannot go on, and `NodeLost`.
    """

    def load(self, node: Node, items: Sequence[Item]) -> tuple[Awaitable[Loaded], object]:
        """Load a block on this node: what became of it, and a reference to its rows. Raises `WorkerLost` too."""
        ...

    def score(self, session: RunningSession, rows: object) -> Awaitable[Scored]:
        """Score a block's rows. Raises `SessionLost` too."""
        ...

    def look(self) -> list[tuple[str, bool]]:
        """All nodes by id, and whether each lives. May take a moment: to be called in a thread."""
        ...

    async def admit(self, node_id: str) -> tuple[Node, list[str]]:
        """A new node, and what is wrong with it."""
        ...

    async def storage_trouble(self, node: Node) -> list[str]:
        """What is wrong with the storage as seen from this node."""
        ...

    async def open_session(self, node: Node) -> RunningSession:
        """Raises `EngineError`."""
        ...

    def close_session(self, session: RunningSession) -> None:
        """End its process."""
        ...


class Figures(Counter[str]):
    """Counts of a run: blocks, bytes_of_rows, bytes_of_rows_between_nodes, bytes_of_scores, lost_nodes, lost_workers,
    lost_sessions."""


class Dispatcher:
    """Runs in a thread of its own, in an event loop."""

    def __init__(
        self,
        machines: Machines,
        nodes: Nodes,
        meters: "Meters",
        *,
        block: int,
        sessions: tuple[int, int] | None,
        todo: Channel[Ticket],
        scored: Channel[Batch],
        in_flight: InFlight,
        storage: Storage,
        stop: Stop,
        say: Callable[[str], None],
        figures: Figures,
        storage_wait_s: float,
        silence_s: float,
    ) -> None:
        """
        Args:
            block: media a block at most.
            sessions: the least and the most there shall be; None for as many as the cluster takes.
            storage: this machine's, for the state of files.
            storage_wait_s: how often a node is asked whether its storage can be read again.
            silence_s: how long the state of a file may take.
        """
        self._machines, self._nodes, self._meters = machines, nodes, meters
        self._block, self._sessions = block, sessions
        self._todo, self._scored, self._in_flight = todo, scored, in_flight
        self._storage, self._stop, self._say = storage, stop, say
        self._figures = figures
        self._storage_wait_s, self._silence_s = storage_wait_s, silence_s
        self._deaths: Counter[int] = Counter()  # of workers, by the id of a medium that was there
        self._under_way = 0  # blocks
        self._for_session = 0  # of these, loaded ones that wait for a session
        self._waiting: list[asyncio.Future[None]] = []
        self._known: set[str] = set(nodes.all)
        meters.infer.depth = lambda: self._for_session * block
        meters.read.depth = todo.__len__

    def run(self) -> None:
        """The thread of the stage. Raises `Stopped`, and what ends the run."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def end() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(task.cancel)  # type: ignore[union-attr]

        self._stop.on_stop(end)
        try:
            async with asyncio.TaskGroup() as group:
                keeper = self._begin(group, self._keep(group))
                await self._begin(group, self._feed(group))
                await self._until(lambda: self._under_way == 0)
                keeper.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        except asyncio.CancelledError:
            raise Stopped from None

    def _begin(self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return group.create_task(self._watched(work))

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """An error stops the run before anything is dropped for it: threads here wait for the stop, and a ticket that
        is dropped in a run that goes on would pass for forgotten."""
        try:
            await work
        except Exception as error:
            if not isinstance(error, Stopped):
                self._stop.set(error)
            raise

    async def _feed(self, group: asyncio.TaskGroup) -> None:
        """Make blocks of what comes. One begins when there is a CPU for it: by then more has come to fill it."""
        while True:
            await self._until(lambda: self._under_way < 2 * self._nodes.window)
            try:
                first = await asyncio.to_thread(self._todo.get)
            except Closed:
                return
            node = await self._until(self._nodes.loader)
            tickets = [first]
            del first
            while len(tickets) < self._block and len(self._todo):
                tickets.append(self._todo.get())
            self._under_way += 1
            node.loading += 1
            self._begin(group, self._do(tickets, node))
            del tickets

    async def _do(self, tickets: list[Ticket], node: Node) -> None:
        """A block to its end, whatever happens to nodes and workers."""
        left = deque(await self._try(tickets, node))
        while left:
            node = await self._until(self._nodes.loader)
            node.loading += 1
            left.extend(await self._try(left.popleft(), node))
        self._under_way -= 1
        self._wake()

    async def _try(self, tickets: list[Ticket], node: Node) -> list[list[Ticket]]:
        """Load and score a block; those of its media that are to be done again, in new blocks."""
        items = [Item(ticket.media, ticket.last_chance, ticket.failed) for ticket in tickets]
        try:
            answer, rows = self._machines.load(node, items)
            loaded = await answer
        except (NodeLost, WorkerLost, EngineError) as error:
            return await self._lost(error, node, tickets)
        finally:
            node.loading -= 1
            self._wake()
        self._count(loaded)
        for sentence in loaded.said:
            self._say(f"{node.name}: {sentence}")
        if loaded.trouble and node.ready:
            node.ready = False  # `_keep` asks it how it is
            self._say(f"{node.name}: {loaded.trouble}")
        pairs = zip(loaded.found, tickets, strict=True)
        fitted = [(found, ticket) for found, ticket in pairs if isinstance(found, Fitted)]
        again = await asyncio.to_thread(self._settle, loaded, tickets)
        if fitted:
            fitted.sort(key=lambda pair: pair[0].row)
            again += await self._score([(found.hash, ticket) for found, ticket in fitted], rows, node)
        return again

    def _settle(self, loaded: Loaded, tickets: Sequence[Ticket]) -> list[list[Ticket]]:
        """The outcomes of those without a row; the ones that are to be loaded again."""
        left: list[Ticket] = []
        for found, ticket in zip(loaded.found, tickets, strict=True):
            match found:
                case Failure(reason, file):
                    ticket.fail(reason, file)
                case Skipped(reason, file):
                    ticket.skip(reason, file)
                case LookedAt(replaced):
                    ticket.looked_at(replaced=replaced)
                case Again():
                    if not ticket.wait_for_second_chance():
                        ticket.last_chance = True  # too many wait: it has its last chance now
                        left.append(ticket)
                case None:
                    left.append(ticket)
        return [left] if left else []

    async def _score(self, pairs: Sequence[tuple[int | None, Ticket]], rows: object, node: Node) -> list[list[Ticket]]:
        """The scores of fitted pictures, in the order of their rows; those to be done again."""
        self._for_session += 1
        try:
            session = await self._until(lambda: self._nodes.scorer(node) or (True if node.gone else None))
        finally:
            self._for_session -= 1
        tickets = [ticket for _, ticket in pairs]
        if not isinstance(session, RunningSession):  # its rows are gone with it
            return [tickets]
        session.under_way += 1
        session.idle_since = None
        try:
            scored = await self._machines.score(session, rows)
        except (NodeLost, SessionLost, EngineError) as error:
            return await self._lost_with_session(error, session, tickets)
        finally:
            session.under_way -= 1
            session.idle_since = None if session.under_way else time.monotonic()
            self._wake()
        session.node.failures = 0
        self._meters.infer.add(busy=scored.busy - session.busy, items=scored.items - session.items)
        session.busy, session.items = scored.busy, scored.items
        self._meters.peak_vram(scored.peak_vram_mb)
        size = len(pairs) * self._meters.row_bytes
        self._figures.update(blocks=1, bytes_of_rows=size, bytes_of_scores=scored.scores.nbytes)
        if session.node is not node:
            self._figures.update(bytes_of_rows_between_nodes=size)
        await asyncio.to_thread(self._hand_on, pairs, scored)
        return []

    def _hand_on(self, pairs: Sequence[tuple[int | None, Ticket]], scored: Scored) -> None:
        for its_hash, ticket in pairs:
            ticket.hash = its_hash
            ticket.in_batch()
        self._scored.put(Batch(tuple(ticket for _, ticket in pairs), scored.scores), self._meters.infer)

    # What is lost.

    async def _lost(self, error: Exception, node: Node, tickets: list[Ticket]) -> list[list[Ticket]]:
        """A block was not loaded: what is to be done again. Raises `EngineError` where that is of no use."""
        if isinstance(error, WorkerLost):
            await self._look_at_nodes()
            if node.gone:
                return [tickets]
            self._figures.update(lost_workers=1)
            return await asyncio.to_thread(self._worker_died, tickets)
        if isinstance(error, NodeLost):
            return await self._with_node(node, tickets)
        raise EngineError(f"{node.name}: {error}") from None

    async def _with_node(self, node: Node, tickets: list[Ticket]) -> list[list[Ticket]]:
        """A block went with its node: all of it is to be done again."""
        await self._look_at_nodes()
        if not node.gone:
            await asyncio.sleep(LOOK_S)  # whatever it is, it need not be tried as fast as can be
        return [tickets]

    async def _lost_with_session(
        self, error: Exception, session: RunningSession, tickets: list[Ticket]
    ) -> list[list[Ticket]]:
        """A block was not scored: what is to be done again."""
        if isinstance(error, NodeLost):
            return await self._with_node(session.node, tickets)
        await self._look_at_nodes()
        died = isinstance(error, SessionLost) and not session.node.gone
        self._lost_session(session, error)
        return await asyncio.to_thread(self._worker_died, tickets) if died else [tickets]

    def _worker_died(self, tickets: list[Ticket]) -> list[list[Ticket]]:
        """One of these may have killed it: each is done again alone, unless it was there too often."""
        left = []
        for ticket in tickets:
            self._deaths[ticket.media.id] += 1
            if self._deaths[ticket.media.id] < GIVEN_UP_AT:
                left.append([ticket])
            else:
                ticket.fail(GIVEN_UP, state_within(self._storage, ticket.media.storage_url, self._silence_s))
        return left

    def _lost_session(self, session: RunningSession, error: Exception) -> None:
        """It ended, or it failed and may fail again: it is closed, and the node may get another."""
        node = session.node
        if session not in node.sessions:
            return  # several blocks were under way there
        node.sessions.remove(session)
        node.failures += 1
        self._figures.update(lost_sessions=1)
        self._machines.close_session(session)
        if not node.gone:
            self._say(f"{node.name}: its session ended, its pictures are done again ({error})")
        self._need_session(f"{node.name}: {error}")

    def _need_session(self, why: str) -> None:
        """Raises `EngineError` where no session is left and none can be opened."""
        if not (self._nodes.sessions or self._nodes.opening or self._nodes.place_for_session()):
            raise EngineError(f"no session is left in the cluster: {why}; the same command goes on later")

    # The nodes.

    async def _keep(self, group: asyncio.TaskGroup) -> None:
        """Look at nodes, their storage and the number of sessions, again and again."""
        asked = cpu = 0.0
        starved = 0
        while True:
            self._meters.at_once(self._nodes.slots, len(self._nodes.sessions))
            self._meters.dispatch.add(busy=time.thread_time() - cpu)
            cpu = time.thread_time()
            await asyncio.sleep(LOOK_S)
            await self._look_at_nodes(group)
            if time.monotonic() - asked > self._storage_wait_s:
                asked = time.monotonic()
                for node in self._nodes.all.values():
                    if not node.ready and not node.gone:
                        self._begin(group, self._ask_storage(node))
            starved = starved + 1 if self._for_session else 0
            self._adapt_sessions(group, starved=starved >= 3)

    async def _look_at_nodes(self, group: asyncio.TaskGroup | None = None) -> None:
        """See which nodes died, and which are new."""
        for node_id, lives in await asyncio.to_thread(self._machines.look):
            node = self._nodes.all.get(node_id)
            if node and not lives and not node.gone:
                self._gone(node)
            elif lives and node_id not in self._known and group:
                self._known.add(node_id)
                self._begin(group, self._admit(node_id))

    def _gone(self, node: Node) -> None:
        node.gone = True
        node.sessions.clear()
        self._figures.update(lost_nodes=1)
        self._say(f"{node.name}: the node is gone; what it had is done elsewhere")
        self._wake()
        self._need_session(f"{node.name} is gone")

    async def _admit(self, node_id: str) -> None:
        node, troubles = await self._machines.admit(node_id)
        for trouble in troubles:
            self._say(f"{node.name} takes no part: {trouble}")
        if not troubles:
            self._say(f"{node.name}: a new node takes part")
            self._nodes.all[node.id] = node
            self._wake()

    async def _ask_storage(self, node: Node) -> None:
        if not await self._machines.storage_trouble(node) and not node.ready:
            node.ready = True
            self._say(f"{node.name}: the storage can be read there")
            self._wake()

    def _adapt_sessions(self, group: asyncio.TaskGroup, *, starved: bool) -> None:
        """One session more where blocks wait for one, or a node has none; one less where it has nothing to do."""
        least, most = self._sessions or (self._nodes.most_sessions(),) * 2
        running = self._nodes.sessions
        wanted = len(running) + self._nodes.opening
        if (wanted < least or (starved and wanted < most)) and (node := self._nodes.place_for_session()):
            node.opening += 1
            self._begin(group, self._open(node))
        elif len(running) > least:
            for session in running:
                if session.idle_since and time.monotonic() - session.idle_since > IDLE_S:
                    session.node.sessions.remove(session)
                    self._machines.close_session(session)
                    break

    async def _open(self, node: Node) -> None:
        try:
            session = await self._machines.open_session(node)
        except EngineError as error:
            node.failures += 1
            if not node.gone:
                self._say(f"{node.name}: {error}")
        else:
            if not node.gone:
                node.sessions.append(session)
        finally:
            node.opening -= 1
            self._wake()
        self._need_session(f"{node.name} opens none")

    # Waiting.

    async def _until(self, find: Callable[[], T | None]) -> T:
        """What `find` finds, as soon as it finds something. Something has changed at each `_wake`."""
        while not (found := find()):
            changed = asyncio.get_running_loop().create_future()
            self._waiting.append(changed)
            await changed
        return found

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for changed in waiting:
            if not changed.done():
                changed.set_result(None)

    def _count(self, loaded: Loaded) -> None:
        self._meters.dispatch.add(items=1)
        for meter, span in ((self._meters.read, loaded.reading), (self._meters.decode, loaded.decoding)):
            meter.add(**span._asdict())


class Meters:
    """Where the cluster's time goes; `dispatch` is the CPU time of the run's own part in it."""

    def __init__(self, row_bytes: int, readers: int) -> None:
        """`readers`: files that a worker reads at once."""
        self.dispatch, self.read, self.decode, self.infer = (
            Meter(name) for name in ("dispatch", "read", "decode", "infer")
        )
        self.row_bytes, self._readers = row_bytes, readers
        self.peak_vram_mb: float | None = None
        self.dispatch.threads = 1

    @property
    def all(self) -> list[Meter]:
        return [self.dispatch, self.read, self.decode, self.infer]

    def at_once(self, slots: int, sessions: int) -> None:
        """So many work now."""
        self.read.threads, self.decode.threads, self.infer.threads = slots * self._readers, slots, sessions

    def peak_vram(self, mb: float | None) -> None:
        if mb is not None:
            self.peak_vram_mb = max(mb, self.peak_vram_mb or 0.0)
