"""`engine run` as a user runs it, for tests: a process of its own, its flags, its environment."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.media_server import BULK, SEGMENT, SINGLE, MediaServer

ENGINE = [sys.executable, "-c", "from engine.cli import main; main()"]
TOKEN = "a-token-for-tests"
KILLER = Path(__file__).parent / "killer"
"""On a child's PYTHONPATH: pictures that end with `KILLS` kill the process that decodes them."""
WITHOUT = Path(__file__).parent / "without"
"""On a child's PYTHONPATH: the packages that its variable WITHOUT names are not installed."""
KILLS = b"kills the process"
KILLED = -9 if os.name == "posix" else 137


def environment(**more: str) -> dict[str, str]:
    """This process's, without settings of the engine but the token."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ENGINE_")}
    return clean | {"ENGINE_API_TOKEN": TOKEN} | more


def urls(server: MediaServer, *, bulk: bool = True) -> list[str]:
    given = ["--segment-url", server.url + SEGMENT, "--recognition-url", server.url + SINGLE]
    return given + (["--recognition-bulk-url", server.url + BULK] if bulk else [])


def command(
    server: MediaServer, model: Path, storage: Path | str, state: Path, *more: str, bulk: bool = True
) -> list[str]:
    """`engine run` against a service."""
    named = ["--storage", str(storage), "--state", str(state)]
    return [*ENGINE, "run", "--model", str(model), *urls(server, bulk=bulk), *named, *more]


def run(
    arguments: list[str], cwd: Path | None = None, text: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run to the end; `text` goes to its stdin."""
    return subprocess.run(
        arguments, cwd=cwd, env=environment(**env), input=text, capture_output=True, encoding="utf-8", timeout=100
    )


def start(arguments: list[str], **env: str) -> subprocess.Popen[str]:
    """Start; what it says on stderr can be read with `communicate`."""
    return subprocess.Popen(
        arguments, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
