"""How the command line starts: quickly, and with a sentence where a command's package is missing or somebody else's."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from engine.cli.commands import COMMANDS, PACKAGES, import_function
from engine.config import GROUPS, RARE, RunConfig
from engine.errors import EngineError
from tests.docs.program import commands
from tests.support.runs import ENGINE, run

ROOT = Path(__file__).parents[3]
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
        "engine.cli.plain_help", "engine.errors",
    }  # fmt: skip


def test_a_commands_help_loads_that_command() -> None:
    modules = loaded("status", "--help")
    assert "engine.cli.status" in modules and not modules & {"cv2", "onnxruntime", "engine.cli.run"}


def test_every_command_is_listed() -> None:
    listed = run([*ENGINE, "--help"]).stdout
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in listed and command.help.split()[0] in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_of_its_own(name: str) -> None:
    shown = run([*ENGINE, name, "-h"])
    assert shown.returncode == 0, shown.stderr
    assert f"engine {name}" in shown.stdout and "--help" in shown.stdout


@pytest.mark.parametrize("words", [[], ["status"], ["tags"]])
def test_the_short_flag_for_help(words: list[str]) -> None:
    assert run([*ENGINE, *words, "-h"]).stdout == run([*ENGINE, *words, "--help"]).stdout != ""


SUBCOMMANDS = ["compare", "sweep", "pipeline", "fit", "estimate", "table"]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_short_flag_for_the_help_of_a_measurement(name: str) -> None:
    assert f"engine bench {name}" in run([*ENGINE, "bench", name, "-h"]).stdout


def test_the_version() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert run([*ENGINE, "--version"]).stdout == f"deepdanbooru-engine {declared}\n"


def test_the_package_is_the_command() -> None:
    assert run([sys.executable, "-m", "engine", "--help"]).stdout == run([*ENGINE, "--help"]).stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("st", {"status"}), ("run --seg", {"--segment-url", "--segment-start", "--segment-size"})],
)
def test_a_shell_completes_commands_and_flags(typed: str, offered: set[str]) -> None:
    words = f"engine {typed}"
    asked = {"_ENGINE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert set(run(ENGINE, None, None, **asked).stdout.split()) == offered


@pytest.mark.parametrize("name", ["run", "retag", "doctor"])
def test_a_help_fits_on_two_screens(name: str) -> None:
    """Of 30 lines, which is what Windows opens a terminal with; its 120 columns are not needed."""
    shown = run([*ENGINE, name, "--help"], COLUMNS="100").stdout
    assert len(shown.splitlines()) <= 60
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_the_help_of_run_has_groups_and_defaults() -> None:
    shown = run([*ENGINE, "run", "--help"], COLUMNS="120").stdout
    for heading in GROUPS.values():
        assert f"\n{heading}:\n" in shown
    assert re.search(r"--device <[a-z|-]*>\s.* \[default: auto\]\n", shown)
    flags = {flag for flag in commands()["run"].names if not flag.startswith("--no-")}
    assert flags == set(re.findall(r"(?<!\S)--[a-z-]+", shown)) - {"--no-workspace"}
    assert set(GROUPS) | RARE <= set(RunConfig.model_fields)


def brought_by_extras() -> list[str]:
    """Every module that can be imported here and that the engine without extras does not bring."""
    base, open_names = set(), {"deepdanbooru-engine"}
    while open_names:
        base |= open_names
        lines = [line for name in open_names for line in needs(name) if "extra ==" not in line]
        open_names = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines} - base
    found = metadata.packages_distributions()
    owners = {module: {name.lower().replace("_", "-") for name in names} for module, names in found.items()}
    return sorted(module for module, names in owners.items() if not names & base and module not in PACKAGES)


def needs(distribution: str) -> list[str]:
    try:
        return metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:  # of another platform
        return []


@pytest.mark.full
def test_help_needs_no_extra() -> None:
    hidden = brought_by_extras()
    assert {"h5py", "onnx", "onnxruntime", "fastapi", "starlette", "sqlalchemy", "matplotlib"} <= set(hidden)
    assert not {"numpy", "cv2", "typer", "rich", "pydantic"} & set(hidden)
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden})); " + ENGINE[-1]
    for words in [[], *([name] for name in COMMANDS), *(["bench", name] for name in SUBCOMMANDS)]:
        shown = run([sys.executable, "-c", code, *words, "--help"])
        assert shown.returncode == 0 and "--help" in shown.stdout, (words, shown.stderr)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["convert", "project", "model"], "convert"),
        (["fetch", "deepdanbooru"], "convert"),
        (["serve", "--library", "."], "service"),
        (["export", "--library", "."], "service"),
        (["bench", "estimate", "--model", "model"], "bench"),
        (["bench", "sweep", "--model", "model", "--html", "page.html"], "bench"),
        (["demo"], "convert,service"),
    ],
)
def test_a_command_without_its_extra_names_it(words: list[str], extra: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({brought_by_extras()})); " + ENGINE[-1]
    ended = run([sys.executable, "-c", code, *words], cwd=tmp_path)
    assert ended.returncode == 1
    assert f"deepdanbooru-engine[{extra}]" in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr


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
    with pytest.raises(EngineError, match=r'needs no_such_package, which is not installed: .*engine\[convert\]"`'):
        import_function("no_such_package.cli", "main", "convert")


def test_a_package_that_does_not_load_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_for_tests.py").write_text("raise ImportError('libGL.so.1: cannot open\\nmore', name='cv2')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError) as caught:
        import_function("broken_for_tests", "main")
    assert str(caught.value) == (
        'this needs cv2, which does not load (libGL.so.1: cannot open): `pip install "deepdanbooru-engine"`'
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full, as Linux has one")
def test_a_full_disk_below_the_output_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*ENGINE, "tags", "show", "smile"], stdout=full, stderr=subprocess.PIPE, encoding="utf-8")
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")
