"""The texts in deploy/: they parse, what they name exists; where there is a builder, a container is made."""

import configparser
import http.server
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from service.embedded import embedded
from tests.docs.pages import FLAG, ROOT
from tests.docs.program import commands
from tests.service.conftest import draw

DEPLOY = ROOT / "deploy"


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, its arguments), with continued lines joined and comments dropped."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return read


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = lambda optionstr: optionstr  # type: ignore[method-assign]  # systemd's names know case
    parser.read(DEPLOY / "deepdanbooru-engine.service", encoding="utf-8")
    return parser


def windows() -> ET.Element:
    return ET.parse(DEPLOY / "deepdanbooru-engine.xml").getroot()


def started() -> dict[str, list[str]]:
    """The command line that each text starts, after the program's name."""
    docker = dict(dockerfile())
    assert yaml.safe_load(docker["ENTRYPOINT"]) == ["engine"]
    return {
        "container": yaml.safe_load(docker["CMD"]),
        "systemd": shlex.split(unit()["Service"]["ExecStart"])[1:],
        "windows": shlex.split(windows().findtext("arguments") or "", posix=False),
    }


@pytest.mark.parametrize("where", ["container", "systemd", "windows"])
def test_each_starts_a_command_that_there_is(where: str) -> None:
    words = started()[where]
    assert words[:2] == ["serve", "--tag"]
    flags = {word for word in words if FLAG.fullmatch(word)}
    assert {"--library", "--model"} <= flags <= commands()["serve"].names


def test_the_container_runs_as_nobody_special_and_is_watched() -> None:
    names = [name for name, _ in dockerfile()]
    last = dict(dockerfile())
    assert last["USER"] not in ("root", "0")
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "useradd" in " ".join(rest for name, rest in dockerfile()[: names.index("USER")] if name == "RUN")
    assert last["HEALTHCHECK"] and last["EXPOSE"] == str(commands_default("--port"))
    images = [rest.split()[0] for name, rest in dockerfile() if name == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", image) for image in images)


def commands_default(flag: str) -> Any:
    return next(one.default for one in commands()["serve"].flags if flag in one.names)


def test_the_container_is_made_of_what_there_is() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [word for name, rest in dockerfile() if name == "COPY" for word in rest.split()[:-1]]
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source.split('/')[0]}" in ignored  # all else is left out of what is sent to the builder
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = {name.rstrip("*") for name in ("engine*", "convert*", "service*", "bench*", "demo*")}
    assert packages <= set(sources)
    extras = set(project["optional-dependencies"])
    install = next(rest for name, rest in dockerfile() if name == "RUN" and "pip install" in rest)
    named = re.search(r"\[\$\{RUNTIME\},([\w,]+)\]", install)
    assert named and set(named[1].split(",")) <= extras
    runtimes = {service["build"]["args"]["RUNTIME"] for service in compose()["services"].values()}
    assert runtimes == {"cpu", "cuda"} <= extras
    assert dict(dockerfile())["ARG"] == "RUNTIME=cpu"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_compose_builds_from_here_and_keeps_what_is_written(name: str) -> None:
    service = compose()["services"][name]
    build = service["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert service["profiles"] == [name] and service["restart"] and service["init"] is True
    mounted = [volume.rsplit(":", 2) for volume in service["volumes"]]
    assert [target for _, target, *mode in mounted if mode == ["ro"]] == ["/pictures", "/model"]
    written = next(one for one in mounted if one[-1] == "/data")
    assert written[-2] in compose()["volumes"]
    assert {"/pictures", "/model"} <= set(started()["container"])
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    assert bool(devices) == (name == "cuda")


def check_health(port: int) -> int:
    """What the container's health check gives, run here, against another port."""
    _, _, command = dict(dockerfile())["HEALTHCHECK"].partition(" CMD ")
    program, *arguments = yaml.safe_load(command)
    assert program == "python"
    arguments = [argument.replace(":8000/", f":{port}/") for argument in arguments]
    return subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60).returncode


def test_the_health_check_tells_a_service_from_none(tmp_path: Path) -> None:
    draw(tmp_path / "library" / "a.jpg")
    with embedded(tmp_path / "library", db=tmp_path / "l.db", host="0.0.0.0", token="x", rescan=0) as running:
        port = httpx.URL(running.url).port
        assert port and check_health(port) == 0
    assert check_health(port) != 0
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as another:
        threading.Thread(target=another.handle_request).start()
        assert check_health(another.server_port) != 0


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    service = unit()["Service"]
    assert service["DynamicUser"] == "yes" and service["Restart"] == "on-failure"
    assert int(service["TimeoutStopSec"]) > 10
    for name in ("XDG_DATA_HOME=%S/", "XDG_CACHE_HOME=%C/"):
        assert name + service["StateDirectory"] in service["Environment"]
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd's own check is not on this machine; the rest was checked")
    text = (DEPLOY / "deepdanbooru-engine.service").read_text(encoding="utf-8")
    there = text.replace(shlex.split(service["ExecStart"])[0], sys.executable)  # it looks whether the program is there
    (tmp_path / "it.service").write_text(there, encoding="utf-8")
    told = subprocess.run([verify, "verify", str(tmp_path / "it.service")], capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stderr) == (0, "")


def test_the_windows_service_is_whole() -> None:
    service = windows()
    for name in ("id", "name", "description", "executable", "logpath"):
        assert service.findtext(name)
    failure = service.find("onfailure")
    assert failure is not None and failure.attrib == {"action": "restart", "delay": "30 sec"}
    assert service.findtext("serviceaccount/username") == r"NT AUTHORITY\LocalService"


def builder() -> str | None:
    """A program that builds containers here and now; a client without its daemon is none."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, timeout=60).returncode == 0:
            return name
    return None


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_container_is_built_tags_and_is_healthy(tmp_path: Path, tiny_model: Path) -> None:
    program = builder()
    if program is None:
        pytest.skip("no builder of containers works here: the texts are checked by the tests above")

    def told(*arguments: str) -> str:
        return subprocess.run(
            [program, *arguments], check=True, capture_output=True, text=True, cwd=ROOT
        ).stdout.strip()

    image = "deepdanbooru-engine-test"
    told("build", "-f", "deploy/Dockerfile", "-t", image, ".")
    draw(tmp_path / "pictures" / "a.jpg")
    model = shutil.copytree(tiny_model, tmp_path / "model")
    for folder in (tmp_path / "pictures", model):
        folder.chmod(0o755)  # the container's user is another one
    mounts = ["-v", f"{tmp_path / 'pictures'}:/pictures:ro", "-v", f"{model}:/model:ro"]
    threshold = ["-e", "ENGINE_THRESHOLD=0.001", "-e", "ENGINE_PAGE_PASSWORD=seen"]
    container = told("run", "-d", "--init", "--read-only", "--tmpfs", "/tmp", "-P", *mounts, *threshold, image)
    try:
        assert told("exec", container, "id", "-u") == "1000"
        port = told("port", container, "8000").splitlines()[0].rpartition(":")[2]
        end = time.monotonic() + 120
        while True:  # until it listens, and until the picture is tagged
            try:
                if httpx.get(f"http://127.0.0.1:{port}/page/summary", auth=("x", "seen")).json()["tagged"] == 1:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, told("logs", container)
        _, _, command = dict(dockerfile())["HEALTHCHECK"].partition(" CMD ")
        told("exec", container, *yaml.safe_load(command))
        told("stop", "-t", "30", container)
        assert told("inspect", "-f", "{{.State.ExitCode}}", container) == "0"
    finally:
        told("rm", "-f", container)
        told("rmi", "-f", image)
