"""A cluster whose nodes are threads of this process: the engine's own loaders and sessions, and failures on command."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from engine.cluster.dispatch import Dispatcher, Figures, Meters
from engine.cluster.loading import Loading
from engine.cluster.messages import Item, NodeLost, SessionLost, StorageRoot, Work, WorkerLost
from engine.cluster.nodes import Node, Nodes, RunningSession
from engine.cluster.scoring import SessionWorker
from engine.config import RunConfig, Waits
from engine.flow.stage import Stage
from engine.storage import Storage
from tests.support.pipelines import QUICK, SHAPE
from tests.support.sessions import ColourSession


class Padded(ColourSession):
    """Takes any number of pictures up to a batch, as a model does."""

    def run(self, pixels):
        assert 1 <= len(pixels) <= self.batch_size
        self.batches.append(len(pixels))
        whole = ColourSession(len(pixels))
        return whole.run(pixels)


class Machines:
    """Nodes `a`, `b`, ... with one session each; `engine.pipeline.Cluster` as well.

    Attributes:
        kills: storage keys whose loading kills the worker.
        before_load, before_score: called with a node's name before each block; may raise what a node raises.
        loaded: (node, keys) of each block that was begun.
    """

    def __init__(
        self,
        root: Path | Callable[[], Storage],
        names: str = "ab",
        *,
        block: int = 8,
        sessions: tuple[int, int] | None = None,
        waits: Waits = QUICK,
        say: Callable[[str], None] = lambda _: None,
        **settings,
    ) -> None:
        storage = StorageRoot(str(root), 10.0) if isinstance(root, Path) else root
        self.work = Work("run", storage, SHAPE, RunConfig(**settings))
        self.waits, self.block, self.sessions, self.say = waits, block, sessions, say
        self.kills: set[str] = set()
        self.before_load: Callable[[str], object] = lambda _: None
        self.before_score: Callable[[str], object] = lambda _: None
        self.loaded: list[tuple[str, list[str]]] = []
        self.closed: list[str] = []
        self.troubles: dict[str, list[str]] = {}
        self.dead: set[str] = set()
        self.nodes = Nodes(gpu=False)
        for name in names:
            node = self.nodes.all[name] = Node(name, f"node {name}", 2, 0, ready=True)
            node.sessions.append(self._session(node))
        self.figures = Figures()
        self._meters = Meters(16 * 16 * 6, 4)
        self.meters = self._meters.all
        self.ahead = 2 * self.nodes.window * block
        self._loaders: dict[str, Loading] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(16)

    def stage(self, todo, scored, in_flight, storage, stop) -> Stage:
        dispatcher = Dispatcher(
            self,
            self.nodes,
            self._meters,
            block=self.block,
            sessions=self.sessions,
            todo=todo,
            scored=scored,
            in_flight=in_flight,
            storage=storage,
            stop=stop,
            say=self.say,
            figures=self.figures,
            storage_wait_s=self.waits.root_away,
            silence_s=self.waits.silence,
        )
        stop.on_stop(lambda: [loader.stop.set() for loader in self._loaders.values()])
        return Stage(self._meters.dispatch, 1, dispatcher.run, stop, at_end=scored.close)

    # `engine.cluster.dispatch.Machines`

    def load(self, node: Node, items: Sequence[Item]):
        rows = asyncio.get_running_loop().create_future()
        return self._load(node, items, rows), rows

    async def _load(self, node, items, rows):
        loaded, its_rows = await self._in_pool(self._load_here, node.id, items)
        rows.set_result(its_rows)
        return loaded

    def _load_here(self, name: str, items: Sequence[Item]):
        keys = [item.media.storage_url for item in items]
        self.loaded.append((name, keys))
        self.before_load(name)
        if name in self.dead:
            raise NodeLost(name)
        if self.kills & set(keys):
            raise WorkerLost("it was killed")
        with self._lock:  # one block at a time, as in a worker's process
            loader = self._loaders.get(name) or Loading(self.work, self.waits)
            self._loaders[name] = loader
            return loader.load(items)

    async def score(self, session: RunningSession, rows):
        its_rows = await rows
        return await self._in_pool(self._score_here, session, its_rows)

    def _score_here(self, session: RunningSession, rows):
        self.before_score(session.node.id)
        if session.node.id in self.dead:
            raise SessionLost("its process died")
        return session.actor.score(rows)

    def look(self):
        return [(name, name not in self.dead) for name in self.nodes.all]

    async def admit(self, node_id: str):
        raise AssertionError("no node is new here")

    async def storage_trouble(self, node: Node):
        return self.troubles.get(node.id, [])

    async def open_session(self, node: Node) -> RunningSession:
        return self._session(node)

    def close_session(self, session: RunningSession) -> None:
        self.closed.append(session.node.id)

    def _session(self, node: Node) -> RunningSession:
        worker = SessionWorker(lambda model: Padded(), None)
        return RunningSession(node, worker, replace(worker.open(), batch_size=4), self.block)

    async def _in_pool(self, call, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)
