"""Settings that do not exist, and where they were meant: flags, variables, engine.toml."""

from pathlib import Path

import pytest

from engine.cli.settings import load
from engine.config import RunConfig
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "meant"),
    [("modle", "model"), ("batch-size", "batch_size"), ("Threshhold", "threshold"), ("json-output", "json_output")],
)
def test_a_mistyped_key_is_told_with_the_one_that_was_meant(tmp_path: Path, key: str, meant: str) -> None:
    file = tmp_path / "engine.toml"
    file.write_text(f"{key} = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(RunConfig, {}, file)
    assert str(caught.value) == f"{file} sets {key}, which is no setting of the engine: did you mean {meant}?"


def test_a_key_that_is_like_none_is_told_where_all_are(tmp_path: Path) -> None:
    file = tmp_path / "engine.toml"
    file.write_text("colour = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no setting of the engine: `engine run --help` lists them$"):
        load(RunConfig, {}, file)


def test_a_mistyped_variable_is_told_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_BATCHSIZE", "4")
    with pytest.raises(ConfigError, match=r"ENGINE_BATCHSIZE is no setting .*: did you mean ENGINE_BATCH_SIZE\?$"):
        load(RunConfig, {}, None)


@pytest.mark.parametrize(("given", "kept"), [("4", "4,4"), (" 2 , 8", "2,8")])
def test_a_number_of_sessions_is_one_or_the_least_and_the_most(given: str, kept: str) -> None:
    assert load(RunConfig, {"ray_actors": given}, None).ray_actors == kept


@pytest.mark.parametrize("given", ["0", "8,2", "many", "1,2,3", ""])
def test_another_number_of_sessions_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ConfigError, match=r"--ray-actors: .* is no number of sessions: write for example 4, or 2,8"):
        load(RunConfig, {"ray_actors": given}, None)
