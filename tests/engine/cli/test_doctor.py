"""`engine doctor` as a user runs it: what it calls good, what not, and that it leaves nothing behind."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

import engine.cli.doctor as doctor_module
from engine.config import DeviceName
from engine.errors import StorageError
from engine.ledger.ledger import Ledger
from engine.machine import cores
from engine.storage.speed import Speed
from tests.support.media_server import MediaServer
from tests.support.pictures import encoded, smooth
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
    assert len(good(found.stdout)) == 7 and "3 of the first 3 media can be read" in found.stdout
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
    assert len(good(found.stdout)) == 6 and "FAIL  state: the state file" in found.stdout, found.stderr


def test_each_failure_has_its_own_line(tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    with MediaServer([(0, "0.jpg")]) as server, Ledger(state):
        found = doctor(server, tmp_path / "no-model", pictures, state, token="a-wrong-one")
    assert found.returncode == 1
    failed = [line.split(":")[0] for line in found.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["FAIL  model and device", "FAIL  media API and token", "FAIL  state"]
    assert "another run works on the state file" in found.stdout
    assert "a-wrong-one" not in found.stdout + found.stderr


def test_the_storage_is_measured(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encoded("PNG", Image.fromarray(smooth(150, 200))))
    with MediaServer([(number, f"{number}.png") for number in range(3)]) as server:
        found = doctor(server, tiny_model, folder, tmp_path / "s.db")
    lines = found.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("ok    storage speed: "))
    assert re.search(r"files/s with \d+ readers? \(--read-threads \d+\); .* decode about [\d,]+ pictures/s", lines[at])
    assert "so without the model" in lines[at] and lines[at].endswith("is the limit")
    assert lines[at + 1].split() == ["readers", "files/s", "MB/s"]
    assert [line.split()[0] for line in lines[at + 2 : at + 6]] == ["1", "4", "16", "32"]


def test_the_fewest_readers_that_are_as_good_are_advised() -> None:
    speeds = {1: Speed(50.0, 5e6), 4: Speed(195.0, 2e7), 16: Speed(200.0, 2e7)}
    said = doctor_module._advice(speeds, decoded=1e6)
    assert "195 files/s with 4 readers (--read-threads 4)" in said and "the storage is the limit" in said
    assert "decoding is the limit" in doctor_module._advice(speeds, decoded=10.0 / cores())


def test_a_storage_that_gives_nothing_or_hangs_is_told() -> None:
    with pytest.raises(StorageError, match=r"no file could be read within 0.5 s: the storage hangs"):
        doctor_module._advice({1: Speed(0.0, 0.0, hanging=1)}, 0.0)
    said = doctor_module._advice({1: Speed(9.0, 9.0), 4: Speed(2.0, 2.0, hanging=3)}, 0.0)
    assert "3 readers still waited for a file when the time was over" in said


def test_a_check_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor_module, "LIMIT", 0.2)
    hangs = threading.Event()
    assert not doctor_module._check("storage", lambda: str(hangs.wait()))
    assert capsys.readouterr().out.startswith("FAIL  storage: no end within 0.2 s, given up")
    hangs.set()


@pytest.mark.skipif(os.name == "nt", reason="a pipe is a file that opens when somebody writes to it")
def test_a_process_ends_beside_a_check_that_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code = (
        "import engine.cli.doctor as d, sys; d.LIMIT = 0.5; "
        "sys.exit(0 if not d._check('storage', lambda: open(sys.argv[1]).read()) else 3)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pipe")], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0 and "FAIL  storage: no end within 0.5 s" in found.stdout, found.stderr


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
