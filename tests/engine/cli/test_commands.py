"""How the command line starts: quickly, and with a sentence where a command's package is missing or somebody else's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.commands import COMMANDS, import_function
from engine.errors import EngineError
from tests.support.runs import ENGINE, run

HEAVY = {
    "anyio", "cv2", "fastapi", "httpx", "matplotlib", "numpy", "obstore", "onnx", "onnxruntime", "PIL", "platformdirs",
    "psutil", "pydantic", "pydantic_settings", "rich", "simplejpeg", "sqlalchemy", "tomlkit", "uvicorn",
    "asyncio", "importlib.metadata", "multiprocessing", "sqlite3", "ssl",
}  # fmt: skip
MODULES = "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr)); "


def loaded(*arguments: str) -> set[str]:
    """The modules that a call of `engine` has imported when it ends."""
    ended = run([sys.executable, "-c", MODULES + ENGINE[-1], *arguments])
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_the_list_of_commands_loads_none_of_them(arguments: list[str]) -> None:
    modules = loaded(*arguments)
    assert modules & HEAVY == set()
    assert {name for name in modules if name.startswith("engine.")} == {
        "engine.cli", "engine.cli.commands", "engine.cli.console", "engine.cli.group", "engine.cli.interrupts",
        "engine.errors",
    }  # fmt: skip


def test_a_commands_help_loads_that_command() -> None:
    modules = loaded("status", "--help")
    assert "engine.cli.status" in modules and not modules & {"cv2", "onnxruntime", "engine.cli.run"}


def test_every_command_is_listed_and_has_a_help_of_its_own() -> None:
    listed = run([*ENGINE, "--help"]).stdout
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in listed and command.help.split()[0] in listed
        shown = run([*ENGINE, name, "--help"])
        assert shown.returncode == 0, shown.stderr
        assert f"engine {name}" in shown.stdout and "--help" in shown.stdout


def test_an_unknown_command_is_told_with_the_nearest() -> None:
    ended = run([*ENGINE, "statsu"])
    assert ended.returncode == 2
    assert "No such command 'statsu'. Did you mean 'status'" in ended.stderr


def test_an_unknown_flag_names_the_command() -> None:
    ended = run([*ENGINE, "status", "--nonsense"])
    assert ended.returncode == 2
    assert "Usage: engine status" in ended.stderr and "--nonsense" in ended.stderr


def test_a_file_whose_name_begins_like_a_flag_can_be_named() -> None:
    ended = run([*ENGINE, "tag", "--model", "none", "--", "--odd.jpg"])
    assert ended.returncode == 1
    assert ended.stderr == "error: there is no file or folder --odd.jpg\n"


# Packages that are missing, broken or somebody else's.


def test_a_missing_package_is_told_with_the_extra_that_brings_it() -> None:
    with pytest.raises(EngineError, match=r"needs no_such_package, which is not installed: .*engine\[convert\]`"):
        import_function("no_such_package.cli", "main", "convert")


def test_a_package_that_does_not_load_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_for_tests.py").write_text("raise ImportError('libGL.so.1: cannot open\\nmore', name='cv2')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError) as caught:
        import_function("broken_for_tests", "main")
    assert str(caught.value) == (
        "this needs cv2, which does not load (libGL.so.1: cannot open): `pip install deepdanbooru-engine`"
    )


@pytest.fixture
def others_service(tmp_path: Path) -> Path:
    """A folder in which another distribution has installed a package `service`."""
    (tmp_path / "service").mkdir()
    for name in ("__init__.py", "cli.py"):
        (tmp_path / "service" / name).write_text("")
    return tmp_path


def serve_beside(folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[3])])
    return run([ENGINE[0], "-P", *ENGINE[1:], "serve", "--help"], PYTHONPATH=path)


def installed(folder: Path) -> None:
    info = folder / "someone_elses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someone-elses\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("service\n")


def test_a_package_of_the_same_name_is_named_when_an_import_fails(others_service: Path) -> None:
    installed(others_service)
    ended = serve_beside(others_service)
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: the package someone-elses also brings a module named 'service': use a virtual environment of its own\n"
    )


def test_a_folder_of_the_same_name_is_named_when_an_import_fails(others_service: Path) -> None:
    ended = serve_beside(others_service)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: service.cli cannot be imported") and ended.stderr.count("\n") == 1
    assert str(others_service / "service" / "__init__.py") in ended.stderr
