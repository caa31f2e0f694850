"""`engine doctor` as a user runs it: what it calls good, what not, and that it leaves nothing behind."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from engine.config import DeviceName
from engine.ledger.ledger import Ledger
from tests.support.media_server import MediaServer
from tests.support.runs import ENGINE, TOKEN, run, urls


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(b"not looked into")
    return folder


def doctor(
    server: MediaServer, model: Path, storage: Path, state: Path, token: str = TOKEN, path: str = ""
) -> subprocess.CompletedProcess[str]:
    named = ["--storage", str(storage), "--state", str(state)]
    arguments = [*ENGINE, "doctor", "--model", str(model), *urls(server), *named]
    return run(arguments, ENGINE_API_TOKEN=token, PYTHONPATH=path)


def test_all_is_well_and_no_state_file_is_made(tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    with MediaServer([(number, f"{number}.jpg") for number in range(3)]) as server:
        found = doctor(server, tiny_model, pictures, tmp_path / "s.db")
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(good(found.stdout)) == 6 and "3 of the first 3 media can be read" in found.stdout
    assert not (tmp_path / "s.db").exists()


def test_a_package_of_the_same_name_is_told(tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    info = tmp_path / "someone_elses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someone-elses\nVersion: 1.0\n", encoding="utf-8")
    (info / "top_level.txt").write_text("bench\n", encoding="utf-8")
    with MediaServer([(number, f"{number}.jpg") for number in range(3)]) as server:
        found = doctor(server, tiny_model, pictures, tmp_path / "s.db", path=str(tmp_path))
    assert found.returncode == 0  # as long as it is ours that is found
    assert "warning: the package someone-elses also brings a module named 'bench'" in found.stderr


def test_a_missing_file_is_told_and_no_failure(tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    with MediaServer([(number, f"{number}.jpg") for number in range(4)]) as server:
        found = doctor(server, tiny_model, pictures, tmp_path / "s.db")
    assert found.returncode == 0
    assert "3 of the first 4 media can be read from the storage, not all: no such file: '3.jpg'" in found.stdout


def test_a_storage_that_is_not_the_catalogues(tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    with MediaServer([(number, f"bucket/{number}.jpg") for number in range(3)]) as server:
        found = doctor(server, tiny_model, pictures, tmp_path / "s.db")
    assert found.returncode == 1
    assert "FAIL  media API and token: none of the first 3 media can be read from" in found.stdout
    assert "is it the folder that their keys start from? no such file: 'bucket/0.jpg'" in found.stdout


def good(stdout: str) -> list[str]:
    """What is well, without the list of devices."""
    names = [line.split(":")[0] for line in stdout.splitlines()]
    return [name for name in names if name.startswith("ok ") and not name.startswith("ok    device ")]


@pytest.mark.parametrize("name", ["a-file/s.db", f"{'long' * 100}.db"])
def test_a_state_file_that_no_run_could_make(tiny_model: Path, pictures: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "a-file").write_bytes(b"")
    with MediaServer([(0, "0.jpg")]) as server:
        found = doctor(server, tiny_model, pictures, tmp_path / name)
    assert found.returncode == 1
    assert len(good(found.stdout)) == 5 and "FAIL  state: the state file" in found.stdout, found.stderr


def test_each_failure_has_its_own_line(tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    with MediaServer([(0, "0.jpg")]) as server, Ledger(state):
        found = doctor(server, tmp_path / "no-model", pictures, state, token="a-wrong-one")
    assert found.returncode == 1
    failed = [line.split(":")[0] for line in found.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["FAIL  model and device", "FAIL  media API and token", "FAIL  state"]
    assert "another run works on the state file" in found.stdout
    assert "a-wrong-one" not in found.stdout + found.stderr


def test_without_flags_the_machine_is_checked(tmp_path: Path) -> None:
    found = run([*ENGINE, "doctor"], cwd=tmp_path, HOME=str(tmp_path), XDG_DATA_HOME=str(tmp_path / "data"))
    assert found.returncode == 0, found.stdout + found.stderr
    assert good(found.stdout) == ["ok    this machine", "ok    ONNX Runtime"]
    assert "were not named, so not checked: add the flags" in found.stderr


@pytest.mark.skipif(os.name == "nt", reason="the folder is named by a variable of Linux")
def test_a_machine_whose_data_folder_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_bytes(b"")
    found = run([*ENGINE, "doctor"], cwd=tmp_path, XDG_DATA_HOME=str(tmp_path / "a-file"))
    assert found.returncode == 1
    assert "FAIL  this machine: the user's data folder" in found.stdout and "--state" in found.stdout


def test_a_gpu_that_is_asked_for_and_not_there(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    found = run([*ENGINE, "doctor", "--device", "cuda"], cwd=tmp_path)
    assert found.returncode == 1 and "FAIL  device cuda: " in found.stdout


def test_each_device_is_listed_with_what_is_missing(tmp_path: Path) -> None:
    found = run([*ENGINE, "doctor"], cwd=tmp_path)
    lines = {line.split()[2].rstrip(":"): line for line in found.stdout.splitlines() if "  device " in line}
    assert list(lines) == list(get_args(DeviceName))
    assert found.returncode == 0  # none of them was asked for
    assert lines["cpu"].startswith("ok    device cpu: by ONNX Runtime ")
    for name, system in {"directml": "win32", "coreml": "darwin"}.items():
        if sys.platform != system:
            assert re.match(rf"--    device {name}: {name} exists on \w+ only: ", lines[name])
    assert all(line.startswith("ok ") or line.count(": ") >= 2 for line in lines.values())  # the reason: the cure


def test_a_model_alone_is_checked(tiny_model: Path, tmp_path: Path) -> None:
    found = run([*ENGINE, "doctor", "--model", str(tiny_model)], cwd=tmp_path)
    assert found.returncode == 0 and "ok    model and device: project, 50 tags, fp32 on cpu" in found.stdout
