"""`engine tune`: how winners are chosen, how they are written, and the whole command on a real model."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from engine.cli.trials import Measurer, Trial, race, rendered_pictures, winner
from engine.cli.tune import Found, around, compare_devices, keep, places, splits, take_or_tell, write
from engine.config import RunConfig
from engine.errors import ConfigError, EngineError
from engine.model.devices.device import Unavailable
from engine.model.folder import Model, open_model

ENGINE = [sys.executable, "-c", "from engine.cli import main; main()"]


def trial(*rates: float | None) -> Trial:
    return Trial({}, list(rates))


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return open_model(tiny_model)


# Races


def test_a_race_measures_in_turns_there_and_back() -> None:
    order: list[str] = []

    def measure(it: Trial) -> float:
        order.append(it.settings["name"])
        return float(len(order))

    trials = race([{"name": "a"}, {"name": "b"}], measure, rounds=3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [it.rates for it in trials] == [[1.0, 4.0, 5.0], [2.0, 3.0, 6.0]]


@pytest.mark.parametrize(
    ("trials", "index"),
    [
        ([trial(10, 10, 10), trial(11, 11, 11), trial(12, 12, 12)], 2),
        ([trial(10, 10, 10), trial(10.4, 10.4, 10.4)], 0),  # within the margin: the default
        ([trial(10, 5, 20), trial(12, 6, 24)], 1),  # a machine that changes its speed: the ratios count
        ([trial(10, 10, 10), trial(30, 10, 10)], 0),  # once is chance
        ([trial(10, 10), trial(None, None)], 0),  # does not fit
        ([trial(10, 10), trial(20, None)], 0),  # does not always fit
        ([trial(None, None), trial(3, 3), trial(4, 4)], 2),  # the default does not
    ],
)
def test_the_winner(trials: list[Trial], index: int) -> None:
    assert winner(trials) is trials[index]


def test_what_is_tried() -> None:
    assert around(4, 8) == [{"batch_size": 4}, {"batch_size": 1}, {"batch_size": 2}, {"batch_size": 8}]
    assert splits(8) == [(8, 8), (8, 4), (8, 1), (7, 8), (7, 1)]
    assert splits(1) == [(1, 1)]


def test_the_model_alone_and_end_to_end(model: Model, pictures: Path) -> None:
    measurer = Measurer(model, RunConfig(device="cpu"), seconds=0.0)
    alone = measurer.model_alone(Trial({"batch_size": 2, "submitters": 2}))
    assert alone and alone > 0
    files = [str(path) for path in sorted(pictures.iterdir())]
    assert measurer.end_to_end(Trial({"batch_size": 2, "decode_threads": 1}), files) > 0


def test_pictures_that_cannot_be_decoded(model: Model, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    with pytest.raises(EngineError, match="give others with --pictures"):
        Measurer(model, RunConfig(device="cpu"), 0.0).end_to_end(Trial({"batch_size": 2}), [str(broken)])


def test_rendered_pictures_are_pictures() -> None:
    with rendered_pictures() as files:
        pixels = [cv2.imread(file) for file in files]
        assert all(one is not None and one.shape == (1800, 1200, 3) for one in pixels)
    assert not Path(files[0]).exists()


# engine.toml


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "batch_size = 8\nworkspace = false\n"),
        ("# mine\nthreshold = 0.4  # less\n", "# mine\nthreshold = 0.4  # less\nbatch_size = 8\nworkspace = false\n"),
        ("workspace=true\nbatch_size = 1  # a guess\n", "workspace=false\nbatch_size = 8  # a guess\n"),
        ('ok_codes = [\n"0",\n"ä"]', 'ok_codes = [\n"0",\n"ä"]\nbatch_size = 8\nworkspace = false\n'),
        ('"batch_size" = 1\r\nquiet = true\r\n', '"batch_size" = 8\r\nquiet = true\r\nworkspace = false\n'),
        (
            "limit = 1\n\n[mine]\nbatch_size = 1\n",
            "limit = 1\nbatch_size = 8\nworkspace = false\n\n[mine]\nbatch_size = 1\n",
        ),
        (
            'storage = """\nbatch_size = 3\n"""\n',
            'storage = """\nbatch_size = 3\n"""\nbatch_size = 8\nworkspace = false\n',
        ),
    ],
)
def test_keys_are_written_and_the_rest_is_left(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "engine.toml"
    if before:
        file.write_bytes(before.encode())
    write(file, {"batch_size": 8, "workspace": False})
    assert file.read_bytes().decode() == after
    assert tomllib.loads(after) == {**tomllib.loads(before), "batch_size": 8, "workspace": False}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"batch_size = \n", b"x = 1\nx = 2\n", b"storage = '\xe4'\n"])
def test_a_file_that_is_no_toml_is_left(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "engine.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot be written .*set {'batch_size': 8} there yourself") as caught:
        write(file, {"batch_size": 8})
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.name == "nt", reason="a file that is open cannot be replaced there")
def test_who_reads_the_file_meanwhile_has_it_whole(tmp_path: Path) -> None:
    file = tmp_path / "engine.toml"
    file.write_text("threshold = 0.4\n", encoding="utf-8")
    with file.open(encoding="utf-8") as reader:
        write(file, {"batch_size": 8})
        assert reader.read() == "threshold = 0.4\n"
    assert "batch_size = 8" in file.read_text(encoding="utf-8")


def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written \(.+\): set {'batch_size': 8} there yourself"):
        write(tmp_path / "gone" / "engine.toml", {"batch_size": 8})


# What is kept


def raced(*settings: dict[str, Any], fastest: int) -> list[Trial]:
    return [Trial(one, [20.0 if number == fastest else 10.0] * 3) for number, one in enumerate(settings)]


def test_only_what_beat_its_default_is_kept(tmp_path: Path) -> None:
    found = Found({}, {}).then(raced({"batch_size": 4}, {"batch_size": 8}, fastest=0))
    shares = [{"batch_size": 4, "intra_op_threads": 2, "decode_threads": decode} for decode in (2, 1)]
    found = found.then(raced(*shares, fastest=1))
    assert found.settings == {"batch_size": 4, "intra_op_threads": 2, "decode_threads": 1}
    assert found.better == {"decode_threads": 1}
    file = tmp_path / "engine.toml"
    assert keep(file, found) == f"{file}: decode_threads = 1"
    assert file.read_text(encoding="utf-8") == "decode_threads = 1\n"


def test_where_the_defaults_are_best_no_file_is_made(tmp_path: Path) -> None:
    file = tmp_path / "engine.toml"
    said = keep(file, Found({"batch_size": 4}, {}))
    assert said == f"the defaults are best here: nothing is written into {file}" and not file.exists()


def test_what_was_tuned_elsewhere_does_not_outlive_a_default_that_won(tmp_path: Path) -> None:
    file = tmp_path / "engine.toml"
    file.write_text("# mine\nbatch_size = 7\nsubmitters = 2\nthreshold = 0.4\n", encoding="utf-8")
    said = keep(file, Found({"batch_size": 4, "decode_threads": 1}, {"decode_threads": 1}))
    assert said == f"{file}: decode_threads = 1, batch_size taken out, for the default is as fast"
    left = "# mine\nsubmitters = 2\nthreshold = 0.4\ndecode_threads = 1\n"  # submitters were not measured
    assert file.read_text(encoding="utf-8") == left


# Devices and precisions


def named(places: list[Any]) -> list[tuple[str, str]]:
    return [(place["device"], place["precision"]) for place in places]


class Here:
    """A device that is there, or is not."""

    hardware = "a device"
    auto: frozenset[str] = frozenset()

    def __init__(self, name: str, *precisions: str, there: bool = True) -> None:
        self.name, self.precisions, self._there = name, frozenset(precisions), there

    def check(self, ort: Any) -> str:
        if not self._there:
            raise Unavailable("it is missing", "buy one")
        return "there"

    def place(self, request: Any) -> Any:
        raise NotImplementedError


def test_places(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [
        Here("cuda", "fp32", "fp16", there=False),
        Here("openvino", "fp32", "bf16", "int8"),
        Here("cpu", "fp32", "fp16", "int8"),
    ]
    monkeypatch.setattr("engine.cli.tune.all_devices", lambda: devices)
    fp32 = model.precision("fp32")
    folder = replace(
        model,
        precisions={"fp32": fp32, "int8": replace(fp32, verdict="pass"), "fp16": replace(fp32, verdict="fail")},
    )
    wanted = [("cpu", "fp32"), ("openvino", "fp32"), ("openvino", "int8"), ("openvino", "bf16"), ("cpu", "int8")]
    assert named(places(folder, None, "cpu", None)) == wanted
    assert named(places(folder, None, "cpu", "cpu")) == [("cpu", "fp32"), ("cpu", "int8")]
    assert named(places(model, None, "cpu", "cpu")) == [("cpu", "fp32")]


def measured(rates: dict[str, float | None]) -> Any:
    """A measurer whose devices are so fast, whatever else is set."""
    return SimpleNamespace(model_alone=lambda trial: rates[f"{trial.settings['device']} {trial.settings['precision']}"])


@pytest.mark.parametrize(
    ("openvino", "fastest"), [(20.0, {"device": "openvino", "precision": "bf16"}), (10.2, None), (None, None)]
)
def test_the_fastest_device_and_precision(openvino: float | None, fastest: Any, capsys: Any) -> None:
    candidates = [{"device": "cpu", "precision": "fp32"}, {"device": "openvino", "precision": "bf16"}]
    rates = {"cpu fp32": 10.0, "openvino bf16": openvino}
    assert compare_devices(measured(rates), candidates, {"batch_size": 4}, 3) == fastest


def test_a_device_that_refuses_says_why(model: Model, capsys: Any) -> None:
    trial = Trial({"device": "cuda", "precision": "bf16"})
    assert Measurer(model, RunConfig(), 0.0).model_alone(trial) is None
    assert trial.why == "--device cuda does not compute bf16, only fp16, fp32, int8: give another --precision, or " + (
        "another --device"
    )


def test_only_the_user_changes_device_and_precision(tmp_path: Path) -> None:
    file, fastest = tmp_path / "engine.toml", {"device": "openvino", "precision": "bf16"}
    said = take_or_tell(file, fastest, take=False)
    assert 'device = "openvino" and precision = "bf16"' in said and "give --write" in said and not file.exists()
    assert "engine retag" in take_or_tell(file, fastest, take=True)
    assert tomllib.loads(file.read_text(encoding="utf-8")) == fastest


# The command


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        picture = np.random.default_rng(number).integers(0, 256, (60, 80, 3), np.uint8)
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    yield folder


def tune(model: Path, cwd: Path, *more: str, **env: str) -> Any:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ENGINE_")}
    arguments = [*ENGINE, "tune", "--model", str(model), "--seconds", "0", "--rounds", "2", *more]
    return subprocess.run(
        arguments, cwd=cwd, env=clean | env, capture_output=True, text=True, encoding="utf-8", timeout=60
    )


def test_the_command(tiny_model: Path, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "engine.toml").write_text("threshold = 0.4\nbatch_size = 7\n", encoding="utf-8")
    result = tune(tiny_model, tmp_path, "--device", "cpu", "--pictures", str(pictures))
    assert result.returncode == 0, result.stderr
    assert "images/s" in result.stdout and "against default" in result.stdout.replace("\n", " ")
    written = tomllib.loads((tmp_path / "engine.toml").read_text(encoding="utf-8"))
    assert written["threshold"] == 0.4
    assert set(written) <= {"threshold", "batch_size", "intra_op_threads", "decode_threads"}
    assert written.get("batch_size") in (None, 1, 2, 8)  # neither the 7 it was nor the default, which is 4
    assert "measuring: batch: 8 steps\n" in result.stderr


def test_a_terminal_gets_a_bar(tiny_model: Path, tmp_path: Path, pictures: Path) -> None:
    result = tune(tiny_model, tmp_path, "--device", "cpu", "--pictures", str(pictures), TTY_COMPATIBLE="1")
    assert result.returncode == 0, result.stderr
    assert "━" in result.stderr and "measuring: batch" in result.stderr and "8 steps" not in result.stderr


def test_the_file_that_runs_read_is_the_one_written(tiny_model: Path, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "mine.toml").write_text("threshold = 0.4\n", encoding="utf-8")
    result = tune(tiny_model, tmp_path, "--device", "cpu", "--pictures", str(pictures), ENGINE_CONFIG="mine.toml")
    assert result.returncode == 0, result.stderr
    assert "mine.toml" in result.stdout
    assert not (tmp_path / "engine.toml").exists()


def test_an_explicit_device_that_is_not_there(tiny_model: Path, tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    result = tune(tiny_model, tmp_path, "--device", "cuda")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "Traceback" not in result.stderr
    assert not (tmp_path / "engine.toml").exists()
