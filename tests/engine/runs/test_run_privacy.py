"""Nothing phones home: which files our processes leave in a user's home, and which addresses they contact."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.media_server import MediaServer
from tests.support.runs import ENGINE, TOKEN, command

CI = (
    "CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TRAVIS", "JENKINS_URL", "CODEBUILD_BUILD_ID",
    "BUILDKITE", "TEAMCITY_VERSION", "APPVEYOR", "BITBUCKET_BUILD_NUMBER", "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI",
    "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY",
)  # fmt: skip
"""Where one of these is set, ONNX Runtime reports nothing by itself: a test would prove nothing."""
CALLS = "connect,sendto,sendmsg,sendmmsg"
CONTACT = re.compile(
    r"sa_family=AF_INET6?, sin6?_port=htons\((\d+)\),[^}]*?inet_(?:addr|pton)\((?:AF_INET6, )?\"([^\"]+)\""
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="homes and system calls of Linux and macOS")


def home(folder: Path) -> dict[str, str]:
    """The environment of a user whose home is the empty folder `folder`."""
    folder.mkdir()
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ENGINE_")) and k not in CI}
    return ours | {"HOME": str(folder), "ENGINE_API_TOKEN": TOKEN}


def foreign(folder: Path) -> set[str]:
    """The files below a home that are neither the engine's nor the fonts that matplotlib has found."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {file.as_posix() for file in files if not {"deepdanbooru-engine", "matplotlib"} & set(file.parts)}


def contacts(trace: Path) -> set[tuple[str, int]]:
    """The Internet addresses in a trace of system calls: (address, port)."""
    return {(address, int(port)) for port, address in CONTACT.findall(trace.read_text(encoding="utf-8"))}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 256, (60, 80, 3), np.uint8)
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return folder


@pytest.fixture
def traced(tmp_path: Path) -> list[str]:
    """The words before a command that write its system calls, and those of its children, to the file `trace`."""
    if not shutil.which("strace") or subprocess.run(["strace", "-f", "true"], capture_output=True).returncode:
        pytest.skip("strace is not here or may not trace: who is contacted was not looked at")
    return ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(tmp_path / "trace")]


def ended(arguments: list[str], env: dict[str, str], cwd: Path) -> None:
    done = subprocess.run(arguments, env=env, cwd=cwd, capture_output=True, encoding="utf-8", timeout=110)
    assert done.returncode == 0, done.stderr


def test_a_run_writes_its_own_files_only(tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    with MediaServer([(number, f"{number}.png") for number in range(3)]) as server:
        ended(command(server, tiny_model, pictures, tmp_path / "s.db"), home(tmp_path / "home"), tmp_path)
    assert foreign(tmp_path / "home") == set()


def commands(model: Path, pictures: Path) -> dict[str, list[str]]:
    project = Path(__file__).parents[3] / "demo" / "model"
    convert = ["convert", str(project), "made"]
    return {
        "run": ["run", "--model", str(model), "--library", str(pictures)],
        "tag": ["tag", "--model", str(model), str(pictures)],
        "convert": [*convert, "--precision", "int8", "--calibrate", str(pictures)],
        "verify": [*convert, "--precision", "fp32", "--precision", "fp16", "--verify", str(pictures)],
        "tune": ["tune", "--model", str(model), "--seconds", "0", "--rounds", "1", "--pictures", str(pictures)],
        "bench": ["bench", "sweep", "--model", str(model), "--seconds", "0", "--rounds", "1", "--batch", "1"],
        "demo": ["demo", "--pictures", "12"],
    }


@pytest.mark.parametrize("name", ["run", "tag", "convert", "verify", "tune", "bench", "demo"])
def test_no_command_contacts_anyone(
    name: str, tiny_model: Path, pictures: Path, tmp_path: Path, traced: list[str]
) -> None:
    words = commands(tiny_model, pictures)[name]
    ended([*traced, *ENGINE, *words], home(tmp_path / "home"), tmp_path)
    assert foreign(tmp_path / "home") == set()
    assert {address for address, _ in contacts(tmp_path / "trace")} <= {"127.0.0.1", "::1"}


def test_a_run_contacts_the_service_that_it_was_given(
    tiny_model: Path, pictures: Path, tmp_path: Path, traced: list[str]
) -> None:
    with MediaServer([(number, f"{number}.png") for number in range(3)]) as server:
        words = command(server, tiny_model, pictures, tmp_path / "s.db")
        ended([*traced, *words], home(tmp_path / "home"), tmp_path)
        assert contacts(tmp_path / "trace") == {("127.0.0.1", int(server.url.rpartition(":")[2]))}


def test_a_contact_is_seen(tmp_path: Path, traced: list[str]) -> None:
    """Of a datagram socket, so nothing is sent: 192.0.2.1 and 2001:db8::1 are nobody's, by RFC 5737 and 3849."""
    code = """
from contextlib import suppress
from socket import AF_INET, AF_INET6, SOCK_DGRAM, socket
for family, address in ((AF_INET, "192.0.2.1"), (AF_INET6, "2001:db8::1")):
    with suppress(OSError):
        socket(family, SOCK_DGRAM).connect((address, 53))
"""
    subprocess.run([*traced, sys.executable, "-c", code], check=True)
    assert contacts(tmp_path / "trace") == {("192.0.2.1", 53), ("2001:db8::1", 53)}


def test_what_onnxruntime_reads_is_set_before_it_can_be_imported() -> None:
    code = "import os, sys, engine; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    env = {name: value for name, value in os.environ.items() if name not in CI} | {"ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "1 False\n"


def test_every_package_imports_engine_before_anything_can_import_onnxruntime() -> None:
    """The modules that import ONNX Runtime, or start a process that does, are imported with `engine` before them."""
    code = """
import sys
from importlib import import_module
for name in ("convert.cli", "service.cli", "bench.cli", "demo.cli", "bench.new_process", "bench.one_by_one"):
    import_module(name)
    order = list(sys.modules)
    assert "engine" in order and "onnxruntime" not in order, name
"""
    subprocess.run([sys.executable, "-c", code], check=True)
