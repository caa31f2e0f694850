"""A Ray cluster of several nodes on this machine, each with processes and an object store of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

STORE = 200 * 10**6
"""Bytes of a node's object store."""


UNSHARE = ["unshare", "-m"] if os.name == "posix" and os.geteuid() == 0 else ["unshare", "-rm"]


def may_hide() -> bool:
    """Whether this machine lets the tests mount something that only they see."""
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


class Hidden:
    """A node that sees other folders than the rest."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def mount(self, *command: str) -> None:
        """Run a command in the node's namespace, such as `umount FOLDER`."""
        subprocess.run(["nsenter", "-t", str(self._process.pid), "-m", *command], check=True)


class Nodes:
    """The nodes by name; the first one is where the run's own machine is."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._nodes: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def start(self, name: str, *, cpus: int = 1, environment: Mapping[str, str] = {}, **more: Any) -> None:
        before = dict(os.environ)
        os.environ.update(environment)
        try:
            self._nodes[name] = self._cluster.add_node(
                num_cpus=cpus, object_store_memory=STORE, node_name=name, include_dashboard=False, **more
            )
        finally:
            os.environ.clear()
            os.environ.update(before)

    @contextmanager
    def hiding(self, name: str, *folders: Path, cpus: int = 1, **environment: str) -> Iterator["Hidden"]:
        """A node that sees empty folders in place of these: it is in a mount namespace of its own."""
        mounts = " && ".join(f"mount -t tmpfs none '{folder}'" for folder in folders)
        ray = f"{sys.executable} -c 'from ray.scripts.scripts import main; main()'"
        start = f"{ray} start --address={self.address} --num-cpus={cpus} --node-name={name} --block"
        process = subprocess.Popen(
            [*UNSHARE, "sh", "-c", f"{mounts} && exec {start} --object-store-memory={STORE}"],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.wait(len(self._nodes) + 1)
            yield Hidden(process)
        finally:
            for one in psutil.Process(process.pid).children(recursive=True):
                one.kill()
            process.kill()
            process.wait()

    def wait(self, count: int) -> None:
        """Until so many nodes are there."""
        script = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = subprocess.run(
                [sys.executable, "-c", script + "print(sum(one['Alive'] for one in ray.nodes()))", self.address],
                capture_output=True,
                text=True,
            )
            if found.stdout.strip().endswith(str(count)):
                return
        raise AssertionError(f"there are not {count} nodes: {found.stdout}{found.stderr}")

    def kill(self, name: str) -> None:
        """As if the plug was pulled."""
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)


@contextmanager
def ray_cluster(**cpus: int) -> Iterator[Nodes]:
    """A cluster of nodes with these names."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        nodes = Nodes(cluster)
        for name, count in cpus.items():
            nodes.start(name, cpus=count)
        yield nodes
    finally:
        cluster.shutdown()
