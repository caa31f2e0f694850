"""`engine run` as a user runs it: a process of its own, a media service that is not ours, a real model file."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.media_server import SEGMENT, MediaServer
from tests.support.runs import ENGINE, command, environment, run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "añime pictures"
    noise = np.random.default_rng(0)
    for i in range(40):
        path = folder / f"{i % 4}" / f"{i:03} ü.{'jpg' if i % 2 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = cv2.resize(
            noise.integers(0, 256, (4, 4, 3), np.uint8), (40 + i, 90 - i), interpolation=cv2.INTER_CUBIC
        )
        path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    return folder


def catalogue(pictures: Path) -> list[tuple[int, str]]:
    files = sorted(p.relative_to(pictures).as_posix() for p in pictures.rglob("*") if p.is_file())
    return [(5 + 7 * i, name) for i, name in enumerate(files)]


@pytest.fixture(scope="module")
def expected(pictures: Path, tiny_model: Path) -> dict[tuple[str, str], str]:
    """Every record the model gives, by way of `engine tag`."""
    result = run([*ENGINE, "tag", "--model", str(tiny_model), "--json", str(pictures)])
    assert result.returncode == 0, result.stderr
    ids = {name: str(number) for number, name in catalogue(pictures)}
    records: dict[tuple[str, str], str] = {}
    for line in result.stdout.splitlines():
        entry = json.loads(line)
        name = Path(entry["path"]).relative_to(pictures).as_posix()
        records |= {(ids[name], tag["tag"]): f"{tag['score']:05.3f}" for tag in entry["tags"]}
    assert len(records) > 500
    return records


@pytest.mark.parametrize("bulk", [False, True])
def test_every_record_and_no_other_in_the_contracts_shape(bulk, pictures, tiny_model, tmp_path, expected) -> None:
    with MediaServer(catalogue(pictures)) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--json", "--segment-size", "9", bulk=bulk)
        first = run(arguments)
        assert first.returncode == 0, first.stderr
        summary = json.loads(first.stdout)
        assert server.violations == []
        assert server.store == expected and server.stored_twice == []
        assert (summary["images"], summary["done"], summary["records"]) == (40, 40, len(expected))
        posts = [request for request in server.requests if request.path != SEGMENT]
        assert summary["requests"] == len(posts)
        assert len(posts) == len(expected) if not bulk else len(posts) < 40
        second = run(arguments)
        assert second.returncode == 0 and "nothing to do" in second.stderr
        assert [request for request in server.requests if request.path != SEGMENT] == posts


def test_killed_half_way_and_run_again_nothing_is_missing(pictures, tiny_model, tmp_path, expected) -> None:
    with MediaServer(catalogue(pictures)) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--batch-size", "2", bulk=False)
        victim = subprocess.Popen(arguments, env=environment(), stderr=subprocess.DEVNULL)
        assert server.wait_until(lambda: len(server.store) > 100, timeout=60)
        victim.kill()
        victim.wait()
        assert len(server.store) < len(expected)
        assert run(arguments).returncode == 0
        assert server.store == expected
        assert len(server.stored_twice) <= 4  # at most what was under way when it died


@pytest.mark.skipif(os.name == "nt", reason="Windows sends console events to a process group, not signals")
def test_ctrl_c_leaves_in_order_and_the_same_command_goes_on(pictures, tiny_model, tmp_path, expected) -> None:
    with MediaServer(catalogue(pictures)) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--batch-size", "2", bulk=False)
        process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True)
        assert server.wait_until(lambda: len(server.store) > 50, timeout=60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 130 and "Traceback" not in said
        assert run(arguments).returncode == 0
        assert server.store == expected and server.stored_twice == []


def test_a_broken_file_is_recorded_and_the_run_ends_with_3(pictures, tiny_model, tmp_path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    with MediaServer([(1, "empty.jpg")]) as server:
        result = run(command(server, tiny_model, tmp_path, tmp_path / "s.db", "--json"))
    assert result.returncode == 3
    assert json.loads(result.stdout)["ledger"]["failed"] == 1
    status = run([*ENGINE, "status", "--state", str(tmp_path / "s.db")])
    assert "empty.jpg" in status.stdout and status.returncode == 0


def test_dry_run_posts_nothing_and_keeps_nothing(pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)) as server:
        result = run(command(server, tiny_model, pictures, tmp_path / "s.db", "--dry-run", "--json"))
        assert json.loads(result.stdout)["images"] == 40
        assert server.store == {} and not (tmp_path / "s.db").exists()


def test_string_ids_go_back_as_strings(pictures, tiny_model, tmp_path, expected) -> None:
    with MediaServer(catalogue(pictures), string_ids=True) as server:
        assert run(command(server, tiny_model, pictures, tmp_path / "s.db")).returncode == 0
        assert server.violations == [] and server.store == expected


def test_another_threshold_on_the_same_ledger_is_refused(pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)[:3]) as server:
        assert run(command(server, tiny_model, pictures, tmp_path / "s.db")).returncode == 0
        result = run(command(server, tiny_model, pictures, tmp_path / "s.db", "--threshold", "0.3"))
    assert result.returncode == 1 and "threshold" in result.stderr and "--state" in result.stderr


def test_a_library_needs_no_service(pictures, tiny_model, tmp_path) -> None:
    data: dict[str, Any] = {"XDG_DATA_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path), "HOME": str(tmp_path)}
    arguments = [*ENGINE, "run", "--library", str(pictures), "--model", str(tiny_model), "--json"]
    first = run(arguments, **data)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["done"] == 40
    assert json.loads(run(arguments, **data).stdout)["images"] == 0
    exported = run([*ENGINE, "export", "--library", str(pictures)], **data)
    assert len(exported.stdout.splitlines()) == 40


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "--segment-url", "http://127.0.0.1:1/s", "--model", "MODEL"], 1, "--storage"),
        (["run", "--library", "nowhere", "--model", "MODEL"], 1, "nowhere"),
        (["run", "--library", ".", "--model", "no-model"], 1, "no-model"),
        (["run", "--no-such-flag"], 2, "no-such-flag"),
        (["run", "--batch-size", "0", "--library", ".", "--model", "MODEL"], 1, "--batch-size"),
        (["run", "--max-pixels", "many", "--library", ".", "--model", "MODEL"], 1, "--max-pixels"),
        (["tag", "--model", "MODEL", "no-such-file.png"], 1, "no-such-file.png"),
        (["status", "--state", "none.db"], 1, "none.db"),
    ],
)
def test_mistakes_are_one_sentence(arguments, code, words, tiny_model, tmp_path) -> None:
    filled = [str(tiny_model) if a == "MODEL" else a for a in arguments]
    result = subprocess.run(
        [*ENGINE, *filled],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert result.returncode == code, result.stderr
    assert words in result.stderr and "Traceback" not in result.stderr
    assert code == 2 or len(result.stderr.strip().splitlines()) == 1


def test_a_wrong_token_is_one_sentence_without_the_token(pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)) as server:
        result = run(command(server, tiny_model, pictures, tmp_path / "s.db"), ENGINE_API_TOKEN="a-wrong-secret")
    assert result.returncode == 1
    assert "token" in result.stderr and "a-wrong-secret" not in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_settings_come_from_flags_then_environment_then_file(pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)) as server:
        file = tmp_path / "my.toml"
        file.write_text("limit = 3\nbatch_size = 2\nsegment_size = 9\n", encoding="utf-8")
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--json", "--config", str(file))
        summary = json.loads(run([*arguments, "--batch-size", "4"], ENGINE_LIMIT="5", ENGINE_BATCH_SIZE="3").stdout)
        assert (summary["images"], summary["batch_size"]) == (5, 4)
        assert json.loads(server.requests[0].body)["limit"] == 9


@pytest.mark.parametrize("named", [["--config", "engine.toml"], []])
def test_a_settings_file_that_is_named_must_be_there(named, tmp_path) -> None:
    result = run([*ENGINE, "run", *named], cwd=tmp_path, **({} if named else {"ENGINE_CONFIG": "engine.toml"}))
    assert result.returncode == 1
    assert result.stderr == "error: there is no settings file engine.toml\n"


@pytest.mark.parametrize("where", ["file", "environment"])
def test_an_unknown_setting_is_an_error(where, tiny_model, tmp_path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("bach_size = 2\n" if where == "file" else "", encoding="utf-8")
    env: dict[str, Any] = {"ENGINE_BACH_SIZE": "2"} if where == "environment" else {}
    result = run([*ENGINE, "run", "--library", str(tmp_path), "--model", str(tiny_model), "--config", str(file)], **env)
    assert result.returncode == 1 and "bach_size" in result.stderr.lower()
