"""What README.md says about installing: its extras, and its lines, on a machine that has nothing."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Page
from tests.docs.program import commands

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FIRST = {"cpu", "cuda", "cuda12"}
"""Those that the README's lines install; docs/devices.md names the others."""
RUNTIMES = {*FIRST, "openvino", "tensorrt", "directml"}


def test_all_brings_every_extra_but_the_runtimes_tensorflow_and_ray() -> None:
    (line,) = PROJECT["optional-dependencies"]["all"]
    brought = set(line.partition("[")[2].rstrip("]").split(","))
    assert brought == set(PROJECT["optional-dependencies"]) - RUNTIMES - {"all", "keras", "ray"}


def test_the_readme_installs_exactly_one_runtime_and_all() -> None:
    lines = [line for line in Page.read(ROOT / "README.md").lines if line.startswith("pip install")]
    asked = [set(re.findall(r"\[([\w,]+)\]", line)[0].split(",")) for line in lines]
    assert sorted(map(sorted, asked)) == [sorted({"all", runtime}) for runtime in sorted(FIRST)]


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_readmes_lines_work_on_a_fresh_machine(tmp_path: Path) -> None:
    """A clone, an environment with nothing in it, the line for a machine without a GPU; then every command's help."""
    made = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    clone = Path(shutil.copytree(ROOT, tmp_path / "clone", ignore=made))
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    (line,) = [line for line in Page.read(ROOT / "README.md").lines if "[cpu,all]" in line and "whl" not in line]
    extras = re.findall(r'"(.*)"', line)[0]

    def run(*words: str | Path, cwd: Path = tmp_path) -> str:
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(list(map(str, words)), cwd=cwd, env=clean, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python = programs / Path(sys.executable).name
    run(python, "-m", "pip", "install", extras, cwd=clone)
    assert run(programs / "engine", "--version").strip().endswith(PROJECT["version"])
    for words in commands():
        run(programs / "engine", *words.split(), "-h")
    run(programs / "engine", "doctor")
    run(programs / "engine", "demo", "--pictures", "12")
    run(python, "-m", "pip", "wheel", ".", "--no-deps", "-w", "dist", cwd=clone)
    assert list((clone / "dist").glob("deepdanbooru_engine-*.whl"))
