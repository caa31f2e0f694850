"""The cluster as Ray shows it: connects, asks every node, opens the sessions; what the pipeline is given for a run."""

import asyncio
import logging
import mmap
import os
import re
import socket
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import ray
from ray import exceptions as ray_errors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engine.cluster.check import Checked, ModelFiles, check, keep_model, model_files, storage_trouble, versions
from engine.cluster.dispatch import Dispatcher, Figures, Meters
from engine.cluster.loading import READERS, load_block
from engine.cluster.messages import (
    Item,
    Loaded,
    NodeLost,
    OpenSession,
    Scored,
    SessionLost,
    StorageRoot,
    Work,
    WorkerLost,
)
from engine.cluster.nodes import Node, Nodes, RunningSession
from engine.cluster.scoring import OpenModelSession, SessionWorker
from engine.config import WAITS, RunConfig, Waits, parse_range
from engine.errors import ConfigError, EngineError, first_line
from engine.flow.channels import Channel, Stop
from engine.flow.stage import Stage
from engine.model.folder import Model
from engine.model.session import SessionConfig
from engine.report.summary import counted
from engine.stages.infer import Scored as Batch
from engine.stages.ticket import InFlight, Ticket
from engine.storage import Access, Storage
from engine.types import Preprocessing

log = logging.getLogger(__name__)
LOCAL = "local"
"""In place of an address: a cluster of this machine alone, for the length of the run."""
LARGEST_BLOCK = 16
"""Media a block at most: 25 MB of rows at 512 x 512."""
KNOCK_S = 5.0
SECRETS = ("ENGINE_API_TOKEN", "ENGINE_PAGE_PASSWORD")
CHECK_S = 300.0
"""Seconds that a node has for its check, in which it may read or write the model."""
OF_GPUS = ("cuda", "tensorrt")
"""Devices that Ray counts as GPUs; the others have no number there, and their sessions are counted as CPUs."""
LOADERS_SETTINGS = {"read_threads", "read_ahead", "read_timeout", "max_file_size", "max_pixels"}
SESSIONS_AT_ONCE = 64
"""Blocks that an actor may hold; `RunningSession.most` are given to it."""


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Take part in a cluster, or start one of this machine alone. Raises `EngineError`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports home unless it is told not to
    if address.startswith("ray://"):
        raise ConfigError(
            f"--ray {address} is the address of Ray's client, which takes no part in the cluster: run "
            "`ray start --address=HOST:6379` on this machine, then give --ray HOST:6379"
        )
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if address == LOCAL:
            with _without_secrets():
                ray.init(address="local", include_dashboard=False, **quiet)
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises whatever its parts raise
        raise EngineError(
            f"there is no cluster for --ray {address} ({first_line(error)}): run `ray start --head` on one machine and "
            "`ray start --address=HOST:6379` on the others and on this one, all with the same versions of Ray and "
            "Python; where the cluster has a token, set RAY_AUTH_MODE=token here too; or give --ray local"
        ) from None
    with suppress(AttributeError):  # Ray prints what befalls nodes to stdout, which is for results; we say it ourselves
        ray._private.worker.print_to_stdstream = _to_log
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _without_secrets() -> Iterator[None]:
    """Processes that are started here need no token: what a node is to know is sent to it."""
    kept = {name: os.environ.pop(name) for name in SECRETS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _knock(address: str) -> None:
    """Raise `OSError` where nothing listens: Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()


def _to_log(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    for line in data["lines"]:
        log.info("%s", line)


@contextmanager
def open_cluster(
    address: str,
    settings: RunConfig,
    model: Model,
    precision: str,
    session: SessionConfig,
    storage: str,
    access: Access,
    say: Callable[[str], None],
) -> Iterator["Cluster"]:
    """The cluster at an address, ready for a run. Raises `EngineError`."""
    url = "://" in storage
    token = access.token.value if access.token and storage.startswith(("http://", "https://")) else ""
    root = StorageRoot(
        storage if url else str(Path(storage).absolute()), access.timeout_s, access.ca_file, token, access.token_url
    )
    plan = Plan(
        new_work(root, model.preprocessing, settings, hashes=session.features),
        model_files(model, precision),
        OpenModelSession(precision, session),
        session.device,
        parse_range(settings.ray_actors) if settings.ray_actors else None,
    )
    with connected(address):
        yield Cluster(plan, say)


@dataclass(frozen=True)
class Plan:
    """What the nodes are to do.

    Attributes:
        work: for the loaders.
        files: the model that every node with a session needs; None for a session without one.
        open_session: opens the session on a node, from the model folder there.
        device: as `--device` has it.
        actors: the least and the most sessions; None for as many as the cluster takes.
    """

    work: Work
    files: ModelFiles | None
    open_session: OpenSession
    device: str
    actors: tuple[int, int] | None = None


def new_work(
    storage: Callable[[], Storage], preprocessing: Preprocessing, config: RunConfig, *, hashes: bool = False
) -> Work:
    """Work for a run that begins now."""
    # Only what a loader needs: the settings as they were read are of a class that cannot travel.
    plain = RunConfig(**config.model_dump(include=LOADERS_SETTINGS))
    return Work(uuid.uuid4().hex, storage, preprocessing, plain, hashes)


class Cluster:
    """The nodes of a cluster and the sessions on them, for one run: `engine.pipeline.Cluster`.

    Attributes:
        device, precision, batch_size: of the sessions; where they differ, of one of them.
        figures: what crossed the network, and what was lost.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None], waits: Waits = WAITS) -> None:
        """Ask every node, and open the sessions. Raises `EngineError`, which names each node that cannot take part."""
        self._plan, self._say, self._waits = plan, say, waits
        self._versions = versions()
        self._work = ray.put(plan.work)
        self._sent: list[Any] | None = None  # the model in the object store, when a node needs it
        found = _living()
        gpu = plan.device in OF_GPUS or (plan.device == "auto" and any(_gpus(one) for one in found.values()))
        if gpu and not any(_gpus(one) for one in found.values()):
            raise EngineError(
                f"no node of the cluster has a GPU for --device {plan.device}: start Ray with --num-gpus=1 where there "
                "is one, or give --device cpu"
            )
        self.nodes = Nodes(gpu=gpu)
        self.figures = Figures()
        self._load = ray.remote(num_returns=2, num_cpus=1, max_retries=0)(load_block)
        self._ask = {
            name: ray.remote(num_cpus=0, max_retries=1)(call)
            for name, call in {"check": check, "storage": storage_trouble, "keep": keep_model}.items()
        }
        self._session = ray.remote(SessionWorker)
        asyncio.run(self._begin(list(found)))
        sessions = self.nodes.sessions
        self._opened = opened = sessions[0].opened
        self.device, self.precision, self.batch_size = opened.device, opened.precision, opened.batch_size
        # A slow session gets small blocks: the last ones of a run end together then.
        self.block = min(LARGEST_BLOCK, 2 * min(session.opened.batch_size for session in sessions))
        for session in sessions:
            session.block = self.block
        self.ahead = 2 * self.nodes.window * self.block
        shape = plan.work.preprocessing
        row_bytes = shape.height * shape.width * 3 * np.dtype(shape.dtype).itemsize
        self._meters = Meters(row_bytes, plan.work.config.read_threads or READERS)
        self.meters = self._meters.all

    @property
    def why(self) -> str:
        """One line: the device, and how large the cluster is."""
        return (
            f"{self._opened.why}; a cluster of {counted(len(self.nodes.all), 'node')} with "
            f"{counted(len(self.nodes.sessions), 'session')} and {counted(self.nodes.slots, 'CPU')} for reading and "
            "decoding"
        )

    peak_vram_of = "of one session"

    @property
    def peak_vram_mb(self) -> float | None:
        """The most that a session's device had in use."""
        return self._meters.peak_vram_mb

    def stage(
        self,
        todo: Channel[Ticket],
        scored: Channel[Batch],
        in_flight: InFlight,
        storage: Storage,
        stop: Stop,
    ) -> Stage:
        """The stage that hands blocks out and takes scores back."""
        dispatcher = Dispatcher(
            self,
            self.nodes,
            self._meters,
            block=self.block,
            sessions=self._plan.actors,
            todo=todo,
            scored=scored,
            in_flight=in_flight,
            storage=storage,
            stop=stop,
            say=self._say,
            figures=self.figures,
            storage_wait_s=self._waits.root_away,
            silence_s=self._waits.silence,
        )
        return Stage(self._meters.dispatch, 1, dispatcher.run, stop, at_end=scored.close)

    def summary(self) -> Mapping[str, int]:
        """The cluster in figures, for the end of the run."""
        living = [node for node in self.nodes.all.values() if not node.gone]
        return {"nodes": len(living), "sessions": len(self.nodes.sessions), **self.figures}

    # Before the work.

    async def _begin(self, ids: Sequence[str]) -> None:
        answers = await asyncio.gather(*(self.admit(one) for one in ids))
        self._refuse([(node, trouble) for node, troubles in answers for trouble in troubles])
        self.nodes.all = {node.id: node for node, _ in answers}
        asked = self._plan.actors[0] if self._plan.actors else self.nodes.most_sessions()
        places: list[Node] = []
        while len(places) < asked and (node := self.nodes.place_for_session()):
            node.opening += 1
            places.append(node)
        if len(places) < asked or not places:
            what = "GPUs" if self.nodes.gpu else "CPUs"
            raise EngineError(
                f"the cluster has {what} for {len(places)} sessions, not for {max(1, asked)}: lower --ray-actors, or "
                "add nodes with `ray start --address=HOST:6379`"
            )
        results = await asyncio.gather(*map(self.open_session, places), return_exceptions=True)
        troubles = []
        for node, result in zip(places, results, strict=True):
            node.opening -= 1
            if isinstance(result, RunningSession):
                node.sessions.append(result)
            elif isinstance(result, EngineError):
                troubles.append((node, str(result)))
            else:
                raise result
        self._refuse(troubles)
        if not self.nodes.slots:
            raise EngineError(
                "the sessions take every CPU of the cluster, and none is left for reading and decoding: lower "
                "--ray-actors, or start Ray with more --num-cpus"
            )

    def _refuse(self, troubles: Sequence[tuple[Node, str]]) -> None:
        if troubles:
            raise EngineError("; ".join(dict.fromkeys(f"{node.name}: {trouble}" for node, trouble in troubles)))

    async def admit(self, node_id: str) -> tuple[Node, list[str]]:
        """Ask a node whether all is there that it needs, and send it the model if need be; what is wrong with it."""
        described = _living().get(node_id)
        if described is None:
            return Node(node_id, node_id[:8], 0, 0, gone=True), []
        resources = described["Resources"]
        node = Node(node_id, _name(described), int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))
        has_session = node.gpus > 0 if self.nodes.gpu else node.cpus > 0
        files = self._plan.files if has_session else None
        try:
            checked: Checked = await self._on(node, "check", self._versions, self._plan.work, files)
            if files and checked.model is None and not checked.troubles:
                checked = replace(checked, model=await self._on(node, "keep", files, *self._contents(files)))
        except (NodeLost, WorkerLost, EngineError, TimeoutError) as error:
            return node, [_unusable(error)]
        for warning in checked.warnings:
            self._say(f"warning: {node.name}: {warning}")
        node.model = checked.model
        node.ready = not checked.troubles
        return node, list(checked.troubles)

    def _contents(self, files: ModelFiles) -> list[Any]:
        """The model's files in the object store, from where each node fetches them once."""
        if self._sent is None:
            self._sent = [ray.put(_content(files.folder / name)) for name in files.sha256]
        return self._sent

    async def _on(self, node: Node, what: str, *arguments: object) -> Any:  # noqa: ANN401 - the answer of any task
        task = self._ask[what].options(scheduling_strategy=_only(node)).remote(*arguments)
        return await asyncio.wait_for(_answer(task), CHECK_S)

    # `engine.cluster.dispatch.Machines`

    def load(self, node: Node, items: Sequence[Item]) -> tuple[Awaitable[Loaded], object]:
        answer, rows = self._load.options(scheduling_strategy=_only(node)).remote(self._work, items)
        return _answer(answer), rows

    def score(self, session: RunningSession, rows: object) -> Awaitable[Scored]:
        return _answer(session.actor.score.remote(rows))

    def look(self) -> list[tuple[str, bool]]:
        return [(str(one["NodeID"]), bool(one["Alive"])) for one in ray.nodes()]

    async def storage_trouble(self, node: Node) -> list[str]:
        try:
            return cast(list[str], await self._on(node, "storage", self._plan.work))
        except (NodeLost, WorkerLost, EngineError, TimeoutError) as error:
            return [_unusable(error)]

    async def open_session(self, node: Node) -> RunningSession:
        actor = self._session.options(
            num_cpus=node.session_cpus(gpu=self.nodes.gpu),
            num_gpus=1 if self.nodes.gpu else 0,
            max_restarts=0,
            max_concurrency=SESSIONS_AT_ONCE,
            scheduling_strategy=_only(node),
        ).remote(self._plan.open_session, node.model)
        try:
            opened = await _answer(actor.open.remote())
        except (NodeLost, SessionLost) as error:
            raise EngineError(f"no session can be opened there ({error})") from None
        except EngineError:
            ray.kill(actor)
            raise
        if self.nodes.gpu and opened.device == "cpu":  # `auto` takes it where nothing else works
            self._say(f"warning: {node.name}: a session there uses no GPU: {opened.why}")
        return RunningSession(node, actor, opened, getattr(self, "block", LARGEST_BLOCK))

    def close_session(self, session: RunningSession) -> None:
        with suppress(Exception):  # it may be dead already, and its node too
            ray.kill(session.actor)


async def _answer(reference: Any) -> Any:  # noqa: ANN401 - whatever the task gives
    """Ray's errors as those that `Machines` may raise."""
    try:
        return await reference
    except ray_errors.RayTaskError as error:  # what the task itself raised
        _refuse_missing_module(str(error))
        cause = getattr(error, "cause", None) or error
        bug = "" if isinstance(cause, EngineError) else f"the engine has a bug: {type(cause).__name__}: "
        raise EngineError(bug + first_line(cause, 2000)) from None
    except (ray_errors.WorkerCrashedError, ray_errors.OutOfMemoryError) as error:
        raise WorkerLost(first_line(error)) from None
    except ray_errors.RayActorError:
        raise SessionLost("its process died") from None
    except ray_errors.RayError as error:
        _refuse_missing_module(str(error))
        raise NodeLost(first_line(error)) from None


def _refuse_missing_module(text: str) -> None:
    """Raise `EngineError` if a task could not even be loaded, for want of a package."""
    if missing := re.search(r"ModuleNotFoundError: (.*)|(No module named .*)", text):
        what = missing[1] or missing[2]
        raise EngineError(f"the engine does not load there ({what}): install it as it is installed here") from None


def _only(node: Node) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def _living() -> dict[str, Mapping[str, Any]]:
    return {str(one["NodeID"]): one for one in ray.nodes() if one["Alive"]}


def _gpus(described: Mapping[str, Any]) -> int:
    return int(described["Resources"].get("GPU", 0))


def _name(described: Mapping[str, Any]) -> str:
    """The node's name, if it was started with one; else its host and the beginning of Ray's own name."""
    name, address = described.get("NodeName") or "", described["NodeManagerAddress"]
    shown = name if name and name != address else f"{described['NodeManagerHostname']} {str(described['NodeID'])[:8]}"
    return f"node {shown}"


def _unusable(error: BaseException) -> str:
    """Why a node could not even be asked."""
    return str(error) if isinstance(error, EngineError) else f"it does not answer ({first_line(error)})"


def _content(file: Path) -> npt.NDArray[np.uint8]:
    """Mapped, so that Ray copies it into the object store without another copy in between."""
    with file.open("rb") as opened:
        if not file.stat().st_size:
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
